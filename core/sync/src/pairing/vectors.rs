//! The committed vectors of pairing, which `core/protocol/vectors/check.py` computes a second time; and a new device that
//! has the code's key and lies.

use hearth_protocol::codec::Wire;
use hearth_protocol::control::{ControlEntry, device_proof_id};
use hearth_protocol::hash::Statement as _;
use hearth_protocol::id::{AgreementKey, DeviceKeys, Hash};
use hearth_protocol::pairing::{
    Introduction, MailboxMessage, Offer, PairingMessage, Reveal, ScanCode, TypedCode, commitment,
    short_string, transcript,
};

use super::spake2::{Side, Start, password};
use super::{Admitted, Admitting, Channel, Code, Output, PairingError, Sponsor, scan_key};
use crate::keys::SigningKey;
use crate::tests::{Counting, hex, secret, unhex};

const COMMITTED: &str = include_str!("../../vectors/pairing.txt");
const WIRE: &str = include_str!("../../../protocol/vectors/wire.txt");

fn device(n: u8) -> DeviceKeys {
    let key = |seed| SigningKey::from_seed(&secret(seed)).unwrap().public();
    DeviceKeys {
        log: key(n),
        transport: key(n + 100),
        agreement: AgreementKey([n; 32]),
    }
}

fn computed() -> String {
    let mut lines = Vec::new();
    let mut add = |name: &str, value: String| lines.push(format!("{name} = {value}"));
    let password = password(&TypedCode::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    let mut number = password.to_bytes();
    number.reverse();
    add("w", hex(number));
    let mut random = Counting::default();
    let new = Start::new(Side::A, password.clone(), &mut random);
    let old = Start::new(Side::B, password, &mut random);
    add("share of the new device", hex(new.share));
    add("share of the enrolled device", hex(old.share));
    let Ok(agreed) = new.finish(&old.share) else {
        panic!("the share is a point");
    };
    let Ok(at_old) = old.finish(&new.share) else {
        panic!("the share is a point");
    };
    add("confirmation of the new device", hex(agreed.confirmation));
    add("confirmation of the enrolled device", hex(at_old.confirmation));
    add("pairing key, typed", hex(agreed.pairing_key().expose()));
    let code = ScanCode {
        version: 1,
        device: device(2),
        secret: [0x50; 16],
        endpoint: "a:1".to_owned().try_into().unwrap(),
    };
    let key = scan_key(&code);
    add("pairing key, scanned", hex(key.expose()));

    let nonce = [0x51; 16];
    let introduction = Introduction {
        version: 1,
        device: device(2),
        commitment: commitment(&nonce),
    };
    let sealed = Channel { key }.seal(
        0,
        &PairingMessage::Introduction(introduction.clone()),
        &mut Counting::default(),
    );
    add("introduction, in the mailbox", hex(sealed.encode()));
    let genesis = committed_genesis();
    let account = genesis.opens().unwrap();
    let offer = Offer {
        version: 1,
        device: device(1),
        control: genesis.statement.id(&hearth_protocol::id::AccountId([0; 32])),
        genesis: Box::new(genesis),
        checkpoint: Hash([0x52; 32]),
        nonce: [0x53; 16],
    };
    assert_eq!(offer.control.0, account.0);
    let transcript = transcript(&introduction, &offer, &nonce);
    add("transcript", hex(transcript));
    add("short string", short_string(&transcript));
    lines.join("\n") + "\n"
}

/// A new device that has the code's key and says what it likes: what the enrolled one answers to its reveal.
fn revealed(nonce: [u8; 16], prover: u8) -> Result<Vec<Output<Admitted>>, PairingError> {
    let mut random = Counting::default();
    let code = ScanCode {
        version: 1,
        device: device(2),
        secret: [0x50; 16],
        endpoint: String::new().try_into().unwrap(),
    };
    let channel = Channel { key: scan_key(&code) };
    let genesis = committed_genesis();
    let account = genesis.opens().unwrap();
    let sponsor = Sponsor {
        device: device(1),
        genesis,
        control: Hash(account.0),
        checkpoint: Hash::ZERO,
        min_version: 1,
    };
    let mut admitting = Admitting::begin(&Code::Scanned(code), sponsor, 1).unwrap();
    let introduction = Introduction {
        version: 1,
        device: device(2),
        commitment: commitment(&[0x51; 16]),
    };
    let first = PairingMessage::Introduction(introduction.clone());
    let sent = admitting
        .receive(&channel.seal(0, &first, &mut random), 1, &mut random)
        .unwrap();
    let [Output::Send(MailboxMessage::Sealed(bytes))] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    let Ok(PairingMessage::Offer(offer)) = channel.open(1, bytes) else {
        panic!("no offer");
    };
    let transcript = transcript(&introduction, &offer, &nonce);
    let signer = SigningKey::from_seed(&secret(prover)).unwrap();
    let proof = signer.sign(&device_proof_id(&account, &device(2), &transcript));
    let reveal = channel.seal(2, &PairingMessage::Reveal(Reveal { nonce, proof }), &mut random);
    admitting.receive(&reveal, 1, &mut random)
}

#[test]
fn a_nonce_that_was_not_committed_to_and_a_foreign_proof_are_refused() {
    assert!(matches!(
        revealed([0x51; 16], 2).as_deref(),
        Ok([Output::Compare(_)])
    ));
    assert_eq!(revealed([0x52; 16], 2), Err(PairingError::BadProof));
    assert_eq!(revealed([0x51; 16], 3), Err(PairingError::BadProof));
}

fn committed_genesis() -> ControlEntry {
    let line = WIRE.lines().find_map(|line| line.strip_prefix("genesis = "));
    ControlEntry::decode(&unhex(line.unwrap())).unwrap()
}

#[test]
fn the_vectors_are_reproduced() {
    let computed = computed();
    let committed = COMMITTED.lines().filter(|line| !line.starts_with('#'));
    assert!(
        committed.eq(computed.lines()),
        "vectors/pairing.txt doesn't hold what is computed:\n{computed}"
    );
}
