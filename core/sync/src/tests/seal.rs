use hearth_protocol::codec::{Map, Wire};
use hearth_protocol::envelope::{Envelope, Kind, Nothing, next_link};
use hearth_protocol::id::{AccountId, Handle, Hash, Link, LogId, TimeMs};
use proptest::prelude::*;

use super::{Counting, secret};
use crate::content::{Content, DocumentKind, MAX_CONTENT_BYTES};
use crate::keys::{EpochKey, SigningKey};
use crate::seal::{Draft, OpenError, new_document_key, open, pad, seal, unpad};
use crate::secret::Secret;

struct Scene {
    account: AccountId,
    signer: SigningKey,
    key: Secret,
    epoch: EpochKey,
    previous: Link,
    random: Counting,
}

impl Scene {
    fn new() -> Self {
        Self {
            account: AccountId([1; 32]),
            signer: SigningKey::from_seed(&secret(2)).unwrap(),
            key: secret(3),
            epoch: EpochKey {
                number: 1,
                key: secret(4),
            },
            previous: Link([5; 32]),
            random: Counting::default(),
        }
    }

    fn seal(&mut self, content: &[u8], bring_in: bool) -> (Envelope, Hash) {
        let draft = Draft {
            account: &self.account,
            log: LogId([6; 16]),
            seq: 9,
            previous: &self.previous,
            kind: Kind::Changes(Nothing {}),
            handle: Handle([7; 16]),
            generation: 2,
            key: &self.key,
            bring_in: bring_in.then_some((Hash([8; 32]), &self.epoch)),
            erased: Map::default(),
            depends: Map::default(),
            content,
        };
        seal(&draft, &self.signer, &mut self.random).unwrap()
    }

    fn open(&self, envelope: &Envelope) -> Result<(Hash, Vec<u8>), OpenError> {
        open(
            &self.account,
            &self.previous,
            &self.signer.public(),
            envelope,
            &self.key,
        )
    }
}

#[test]
fn what_was_sealed_opens_at_its_place_alone() {
    let mut scene = Scene::new();
    let (envelope, header_hash) = scene.seal(b"content", true);
    assert_eq!(scene.open(&envelope), Ok((header_hash, b"content".to_vec())));
    let brought = new_document_key(&scene.account, &envelope, &scene.epoch)
        .unwrap()
        .unwrap();
    assert_eq!(brought.expose(), scene.key.expose());
    assert!(new_document_key(&AccountId([2; 32]), &envelope, &scene.epoch).is_err());
    let other_epoch = EpochKey {
        number: 1,
        key: secret(40),
    };
    assert!(new_document_key(&scene.account, &envelope, &other_epoch).is_err());

    // Moved to another place of the log, another log or document: the signature says no.
    for change in [
        (|envelope: &mut Envelope| envelope.seq += 1) as fn(&mut Envelope),
        |envelope| envelope.log = LogId([60; 16]),
        |envelope| envelope.sealed.fields.handle = Handle([70; 16]),
        |envelope| envelope.sealed.fields.generation += 1,
    ] {
        let mut moved = envelope.clone();
        change(&mut moved);
        assert!(matches!(scene.open(&moved), Err(OpenError::Signature(_))));
    }
    scene.key = secret(30);
    assert_eq!(scene.open(&envelope), Err(OpenError::OtherKey));
}

#[test]
fn two_sealings_of_one_content_have_nothing_in_common() {
    let mut scene = Scene::new();
    let (one, first) = scene.seal(b"content", false);
    let (two, second) = scene.seal(b"content", false);
    assert_ne!(one.sealed.ciphertext, two.sealed.ciphertext);
    assert_ne!(
        next_link(&scene.previous, &first),
        next_link(&scene.previous, &second)
    );
}

#[test]
fn a_body_that_its_author_padded_otherwise_is_refused() {
    assert_eq!(unpad(pad(b"content")), Some(b"content".to_vec()));
    assert_eq!(unpad(pad(b"")), Some(Vec::new()));
    assert_eq!(unpad(pad(&[0x80, 0, 0])), Some(vec![0x80, 0, 0]));
    assert_eq!(unpad(Vec::new()), None);
    assert_eq!(unpad(vec![0; 64]), None);
    let mut longer = pad(b"content");
    longer.push(0);
    assert_eq!(unpad(longer), None);
    let mut other = pad(b"content");
    other[7] = 0x81;
    assert_eq!(unpad(other), None);
}

#[test]
fn the_largest_content_fits_and_one_byte_more_does_not() {
    let mut scene = Scene::new();
    let (envelope, _) = scene.seal(&vec![1; MAX_CONTENT_BYTES], false);
    assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
    let account = scene.account;
    let draft = Draft {
        account: &account,
        log: LogId([6; 16]),
        seq: 9,
        previous: &scene.previous,
        kind: Kind::Changes(Nothing {}),
        handle: Handle([7; 16]),
        generation: 2,
        key: &scene.key,
        bring_in: None,
        erased: Map::default(),
        depends: Map::default(),
        content: &vec![1; MAX_CONTENT_BYTES + 1],
    };
    assert!(seal(&draft, &scene.signer, &mut scene.random).is_err());
}

#[test]
fn a_small_edit_costs_what_the_page_says() {
    let (envelope, _) = Scene::new().seal(&[1; 150], false);
    let padded = envelope.sealed.ciphertext.len() - 16;
    // On a stream the version, the log and the number are said once for the run.
    let on_the_wire = envelope.sealed.encode().len() + 1;
    assert!(
        on_the_wire - padded + 150 <= 400,
        "{on_the_wire} bytes, {padded} of them padded content"
    );
    let stored = envelope.encode().len() - padded;
    assert!(stored <= 170, "{stored} bytes beside the content");
}

#[test]
fn content_comes_back() {
    let bytes = |text: &[u8]| text.to_vec().try_into().unwrap();
    for content in [
        Content::Changes {
            kind: DocumentKind::Chat,
            at: TimeMs { ms: 5 },
            changes: vec![bytes(b"one"), bytes(b"two")].try_into().unwrap(),
        },
        Content::Snapshot {
            kind: DocumentKind::Memory,
            at: TimeMs { ms: 6 },
            document: bytes(b"document"),
        },
        Content::Chunk {
            index: 1,
            count: 2,
            bytes: bytes(b"chunk"),
        },
    ] {
        assert_eq!(Content::decode(&content.encode()), Ok(content));
    }
    let outside = Content::Chunk {
        index: 2,
        count: 2,
        bytes: bytes(b"chunk"),
    };
    assert!(Content::decode(&outside.encode()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn any_changed_byte_is_noticed(
        content in proptest::collection::vec(any::<u8>(), 0..300),
        place in any::<usize>(),
        flip in 1u8..,
    ) {
        let mut scene = Scene::new();
        let (envelope, header_hash) = scene.seal(&content, place.is_multiple_of(2));
        prop_assert_eq!(scene.open(&envelope), Ok((header_hash, content)));
        let mut bytes = envelope.encode();
        let place = place % bytes.len();
        bytes[place] ^= flip;
        if let Ok(changed) = Envelope::decode(&bytes) {
            prop_assert!(matches!(scene.open(&changed), Err(OpenError::Signature(_))));
        }
    }

    #[test]
    fn content_has_one_spelling(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(content) = Content::decode(&bytes) {
            prop_assert_eq!(content.encode(), bytes);
        }
    }
}
