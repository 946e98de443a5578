//! The committed vectors of keys and sealing.

use hearth_protocol::codec::{Map, Wire};
use hearth_protocol::envelope::{Kind, Nothing, next_link};
use hearth_protocol::id::{AccountId, DeviceId, Handle, Hash, Link, LogId};

use super::{Counting, hex, secret};
use crate::hpke;
use crate::keys::{EpochKey, SigningKey};
use crate::recovery::Phrase;
use crate::registry::{KeyEntry, seal_shard};
use crate::seal::{Draft, seal};

const COMMITTED: &str = include_str!("../../vectors/seal.txt");

fn computed() -> String {
    let mut lines = Vec::new();
    let mut add = |name: &str, value: String| lines.push(format!("{name} = {value}"));
    let account = AccountId([1; 32]);
    let signer = SigningKey::from_seed(&secret(2)).unwrap();
    add("signer: public key", hex(signer.public()));

    let phrase = Phrase::from_entropy(secret(0x10));
    add("phrase", phrase.words().to_string());
    add("phrase: signing key", hex(phrase.public().unwrap().signing));
    add("phrase: agreement key", hex(phrase.public().unwrap().agreement));

    let epoch = EpochKey {
        number: 1,
        key: secret(4),
    };
    let membership = Hash([0x11; 32]);
    let device = DeviceId([0x12; 32]);
    let private = hpke::derive_private_key(&[0x13; 32]);
    add("epoch: commitment", hex(epoch.commitment(&account)));
    add(
        "epoch: discovery key",
        hex(epoch.discovery_key(&account).expose()),
    );
    add("device: agreement key", hex(hpke::public_key(&private)));
    let mut random = Counting::default();
    let wrap = epoch
        .wrap(
            &account,
            &membership,
            Some(&device),
            &hpke::public_key(&private),
            &mut random,
        )
        .unwrap();
    add("epoch: wrap", hex(wrap.encode()));

    let key = secret(3);
    let draft = Draft {
        account: &account,
        log: LogId([6; 16]),
        seq: 9,
        previous: &Link([5; 32]),
        kind: Kind::Changes(Nothing {}),
        handle: Handle([7; 16]),
        generation: 2,
        key: &key,
        bring_in: Some((Hash([8; 32]), &epoch)),
        erased: Map::default(),
        depends: Map::default(),
        content: b"content",
    };
    let (envelope, header_hash) = seal(&draft, &signer, &mut Counting::default()).unwrap();
    add("envelope", hex(envelope.encode()));
    add("envelope: header hash", hex(header_hash));
    add("envelope: link", hex(next_link(&Link([5; 32]), &header_hash)));

    let entry = KeyEntry::new(Handle([7; 16]), 2, &key);
    let (shard, shard_key) = seal_shard(&account, 7, [entry], &mut Counting::default()).unwrap();
    add("shard: key", hex(shard_key.expose()));
    add("shard", hex(shard.encode()));
    lines.join("\n") + "\n"
}

#[test]
fn the_vectors_are_reproduced() {
    let computed = computed();
    let committed = COMMITTED.lines().filter(|line| !line.starts_with('#'));
    assert!(
        committed.eq(computed.lines()),
        "vectors/seal.txt doesn't hold what is computed:\n{computed}"
    );
}
