//! The committed vectors: what a second implementation has to reproduce.

use super::accounts::{device, genesis, public, sign};
use crate::codec::{Map, Wire};
use crate::control::Account;
use crate::envelope::{
    Envelope, Fields, HeaderVersion, Item, Kind, Nothing, Run, Sealed, associated_data, next_link,
    position_id,
};
use crate::erasure::{Erase, erased_root};
use crate::hash::{Signed, Statement, context, key_ref, label, log_id, sha256};
use crate::id::{AccountId, Handle, Hash, InstanceToken, Link, LogId, ShortSalt, Signature, TimeMs};
use crate::message::{Hello, Request, RequestFrame, frame};
use crate::pairing::{ScanCode, TypedCode, short_string};
use crate::statement::{Live, LogOpen, live_root};
use crate::vector::{Head, VersionVector, vector_digest};

const COMMITTED: &str = include_str!("../../vectors/wire.txt");

pub(super) fn hex(bytes: impl AsRef<[u8]>) -> String {
    use std::fmt::Write as _;
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn envelope(account: &AccountId, log: LogId, previous: &Link, seq: u64) -> Envelope {
    let mut envelope = Envelope {
        version: HeaderVersion::V1,
        log,
        seq,
        sealed: Sealed {
            fields: Fields {
                kind: Kind::Changes(Nothing {}),
                handle: Handle([0x21; 16]),
                generation: 0,
                key: key_ref(account, &Handle([0x21; 16]), 0, &[0x22; 32]),
                new_key: None,
                erased: Map::new([(LogId([0x23; 16]), 3)]).unwrap(),
                depends: Map::new([(LogId([0x23; 16]), 300)]).unwrap(),
                salt: ShortSalt([0x24; 8]),
            },
            ciphertext: vec![0x25; 80].try_into().unwrap(),
            signature: Signature([0; 64]),
        },
    };
    let header_hash = envelope.header_hash(account, previous);
    let link = next_link(previous, &header_hash);
    envelope.sealed.signature = sign(1, &position_id(account, &log, seq, &link));
    envelope
}

fn computed() -> String {
    let mut lines = Vec::new();
    let mut add = |name: &str, value: String| lines.push(format!("{name} = {value}"));
    add("context(envelope)", hex(context(label::ENVELOPE)));
    let genesis = genesis();
    let account = genesis.opens().unwrap();
    assert_eq!(Account::open(&genesis).unwrap().id(), account);
    add("device 1: log key, seed 01 x 32", hex(public(1)));
    add("device 1: transport key, seed 65 x 32", hex(public(101)));
    add("device 1: id", hex(device(1).device_id()));
    add("genesis", hex(genesis.encode()));
    add("account", hex(account));

    let open = LogOpen {
        device: device(1).device_id(),
        nonce: [0x20; 16],
    };
    let log = open.log(&account);
    assert_eq!(log, log_id(&account, &open.device, &open.nonce));
    let first_link = Link(open.id(&account).0);
    add("log open", hex(open.encode()));
    add("log open: signature", hex(sign(1, &open.id(&account))));
    add("log", hex(log));
    add("link 0", hex(first_link));

    let envelope = envelope(&account, log, &first_link, 1);
    let header_hash = envelope.verify(&account, &first_link, &public(1)).unwrap();
    let link = next_link(&first_link, &header_hash);
    add("envelope 1: header", hex(envelope.header().encode()));
    add(
        "envelope 1: associated data",
        hex(associated_data(&account, &first_link, &envelope.header())),
    );
    add(
        "envelope 1: ciphertext hash",
        hex(sha256(&envelope.sealed.ciphertext)),
    );
    add("envelope 1: header hash", hex(header_hash));
    add(
        "envelope 1: position id",
        hex(position_id(&account, &log, 1, &link)),
    );
    add("envelope 1", hex(envelope.encode()));
    add("link 1", hex(link));
    let run = Run {
        version: HeaderVersion::V1,
        log,
        first_seq: 1,
        items: vec![
            Item::Envelope(envelope.sealed.clone()),
            Item::Hole(Hash([0x26; 32])),
        ]
        .try_into()
        .unwrap(),
    };
    add("batch", hex(crate::envelope::Batch::Run(run).encode()));

    let vector: VersionVector = Map::new([(log, Head { seq: 1, link })]).unwrap();
    add("vector", hex(vector.encode()));
    add("vector digest", hex(vector_digest(&account, &vector)));
    let live = [2, 1, 3].map(|seq| Live {
        log,
        seq,
        header_hash: Hash([seq as u8; 32]),
    });
    add("live root of 1 to 3", hex(live_root(live)));

    let erase = Erase {
        log,
        number: 1,
        nonce: [0x30; 16],
        handles: crate::codec::Set::new([Handle([0x21; 16])]).unwrap(),
        because: None,
        control: Hash(account.0),
        at: TimeMs {
            ms: 1_750_000_000_123,
        },
    };
    let erase_id = erase.id(&account);
    let erase = Signed {
        signature: sign(1, &erase_id),
        statement: erase,
    };
    erase.verify(&account, &public(1)).unwrap();
    add("erase", hex(erase.encode()));
    add("erase: id", hex(erase_id));
    add("erased root of it alone", hex(erased_root([erase_id])));

    let hello = Hello {
        versions: crate::codec::Set::new([1]).unwrap(),
        account,
        device: device(1).device_id(),
        instance: InstanceToken([0x40; 16]),
        log: Some(log),
        vector: vector_digest(&account, &vector),
        control: Hash(account.0),
        control_number: 0,
        erased_cursor: 0,
        erased_root: Hash::ZERO,
        table: Hash::ZERO,
    };
    let hello = RequestFrame {
        id: 1,
        request: Request::Hello(Box::new(hello)),
    };
    add("hello, framed", hex(frame(&hello)));

    let code = TypedCode::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    add("typed code of 00..0a", code.to_string());
    add("typed code: mailbox", hex(code.mailbox()));
    let scan = ScanCode {
        version: 1,
        device: device(2),
        secret: [0x50; 16],
        endpoint: "a:1".to_owned().try_into().unwrap(),
    };
    add("scan code", scan.to_text());
    add("scan code: mailbox", hex(scan.mailbox()));
    add("short string of 00 x 32", short_string(&Hash::ZERO));
    lines.join("\n") + "\n"
}

#[test]
fn the_vectors_are_reproduced() {
    let computed = computed();
    let committed = COMMITTED.lines().filter(|line| !line.starts_with('#'));
    assert!(
        committed.eq(computed.lines()),
        "vectors/wire.txt doesn't hold what is computed:\n{computed}"
    );
}

#[test]
fn a_changed_byte_of_an_envelope_is_noticed() {
    let account = AccountId([1; 32]);
    let (log, previous) = (LogId([2; 16]), Link([3; 32]));
    let good = envelope(&account, log, &previous, 7);
    good.verify(&account, &previous, &public(1)).unwrap();
    let bytes = good.encode();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        if let Ok(other) = Envelope::decode(&changed) {
            assert!(
                other.verify(&account, &previous, &public(1)).is_err(),
                "byte {place}"
            );
        }
    }
    assert!(good.verify(&AccountId([9; 32]), &previous, &public(1)).is_err());
    assert!(good.verify(&account, &Link([9; 32]), &public(1)).is_err());
    assert!(good.verify(&account, &previous, &public(2)).is_err());
}

#[test]
fn a_reconnect_with_nothing_new_fits_in_512_bytes() {
    use crate::message::{Reply, ReplyFrame, Welcome};
    let hello = Hello {
        versions: crate::codec::Set::new([1]).unwrap(),
        account: AccountId([1; 32]),
        device: device(1).device_id(),
        instance: InstanceToken([0x40; 16]),
        log: Some(LogId([1; 16])),
        vector: Hash([1; 32]),
        control: Hash([1; 32]),
        control_number: u64::from(u32::MAX),
        erased_cursor: u64::from(u32::MAX),
        erased_root: Hash([1; 32]),
        table: Hash([1; 32]),
    };
    let welcome = Welcome {
        version: 1,
        proof: Signature([1; 64]),
        instance: InstanceToken([1; 16]),
        own: Some(Head {
            seq: u64::from(u32::MAX),
            link: Link([1; 32]),
        }),
        afresh: false,
        ahead: None,
        used_bytes: 1 << 40,
        quota_bytes: 1 << 40,
        at: TimeMs {
            ms: 1_750_000_000_000,
        },
    };
    let there = frame(&RequestFrame {
        id: 1,
        request: Request::Hello(Box::new(hello)),
    })
    .len();
    let back = frame(&ReplyFrame {
        to: 1,
        reply: Reply::Welcome(Box::new(welcome)),
    })
    .len();
    assert!(there + back <= 512, "{there} + {back} bytes");
}
