use proptest::prelude::*;

use crate::codec::{Blob, DecodeError, List, Map, Reader, Sample, Sampled, Set, Text, Wire};
use crate::padding::{MIN_PADDED_BYTES, padded_length};

/// What holds for a type whatever the bytes are: see each assertion.
fn check<T: Wire + Sampled + PartialEq + std::fmt::Debug>(seed: &[u8], flip: (usize, u8), cut: usize) {
    let value = T::sample(&mut Sample::new(seed));
    let bytes = value.encode();
    assert!(bytes.len() >= T::MIN_BYTES, "{value:?} is shorter than MIN_BYTES");
    assert_eq!(T::decode(&bytes).as_ref(), Ok(&value));

    let mut longer = bytes.clone();
    longer.push(0);
    assert!(T::decode(&longer).is_err(), "{value:?} with a byte more");
    if !bytes.is_empty() {
        assert!(
            T::decode(&bytes[..cut % bytes.len()]).is_err(),
            "{value:?} cut short"
        );
        let mut changed = bytes.clone();
        let place = flip.0 % changed.len();
        changed[place] ^= flip.1;
        if let Ok(other) = T::decode(&changed) {
            assert_eq!(other.encode(), changed, "two spellings of {other:?}");
        }
    }
    if let Ok(other) = T::decode(seed) {
        assert_eq!(other.encode(), seed, "two spellings of {other:?}");
    }
}

macro_rules! every_type {
    ($($name:ident: $type:ty),* $(,)?) => {
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]
            $(#[test]
            fn $name(
                seed in proptest::collection::vec(any::<u8>(), 0..1_500),
                flip in (any::<usize>(), 1u8..),
                cut in any::<usize>(),
            ) {
                check::<$type>(&seed, flip, cut);
            })*
        }
    };
}

every_type! {
    numbers: Map<u64, (u16, u32), 8>,
    sets: Set<u64, 8>,
    texts: List<Text<8>, 4>,
    options: List<Option<Blob<3>>, 4>,
    run: crate::envelope::Batch,
    envelope: crate::envelope::Envelope,
    control_entry: crate::control::ControlEntry,
    epoch_wraps: crate::control::EpochWraps,
    erase: crate::hash::Signed<crate::erasure::Erase>,
    certificate: crate::erasure::Certificate,
    statement: crate::statement::AnyStatement,
    table: crate::registry::RegistryUpdate,
    scan_code: crate::pairing::ScanCode,
    pairing_message: crate::pairing::PairingMessage,
    mailbox_message: crate::pairing::MailboxMessage,
    request: crate::message::RequestFrame,
    reply: crate::message::ReplyFrame,
}

/// Pairs are for tests alone.
impl<A: Wire, B: Wire> Wire for (A, B) {
    const MIN_BYTES: usize = A::MIN_BYTES + B::MIN_BYTES;
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((A::read(reader)?, B::read(reader)?))
    }
}

impl<A: Sampled, B: Sampled> Sampled for (A, B) {
    fn sample(source: &mut Sample<'_>) -> Self {
        (A::sample(source), B::sample(source))
    }
}

#[test]
fn a_number_has_one_spelling() {
    for (bytes, expected) in [
        (&[0x00][..], Ok(0)),
        (&[0x7f], Ok(127)),
        (&[0x80, 0x01], Ok(128)),
        (&[0x80, 0x00], Err(DecodeError::NotCanonical)),
        (&[0xff, 0x80, 0x00], Err(DecodeError::NotCanonical)),
        (
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            Ok(u64::MAX),
        ),
        (
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            Err(DecodeError::TooLarge),
        ),
        (
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00],
            Err(DecodeError::TooLarge),
        ),
        (&[0x80], Err(DecodeError::Truncated)),
    ] {
        assert_eq!(u64::decode(bytes), expected, "{bytes:02x?}");
    }
    assert_eq!(u16::decode(&[0x80, 0x80, 0x04]), Err(DecodeError::TooLarge));
}

#[test]
fn sets_and_maps_are_ascending_without_repetition() {
    assert_eq!(Set::<u64, 4>::decode(&[2, 1, 1]), Err(DecodeError::NotCanonical));
    assert_eq!(Set::<u64, 4>::decode(&[2, 2, 1]), Err(DecodeError::NotCanonical));
    assert_eq!(
        Map::<u64, u64, 4>::decode(&[2, 1, 0, 1, 0]),
        Err(DecodeError::NotCanonical)
    );
    assert_eq!(Set::<u64, 4>::new([3, 1, 3]).unwrap().encode(), [2, 1, 3]);
    assert!(Set::<u64, 1>::new([3, 1]).is_err());
}

#[test]
fn a_count_is_checked_before_anything_is_allocated() {
    // 2^63 items, and nothing behind it.
    let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    assert_eq!(Blob::<{ usize::MAX }>::decode(&huge), Err(DecodeError::Truncated));
    assert_eq!(
        List::<[u8; 32], { usize::MAX }>::decode(&huge),
        Err(DecodeError::Truncated)
    );
    assert_eq!(
        List::<u8, 3>::decode(&[4, 0, 0, 0, 0]),
        Err(DecodeError::TooLarge)
    );
    assert_eq!(Text::<3>::decode(&[1, 0xff]), Err(DecodeError::BadText));
}

#[test]
fn no_two_labels_are_equal_and_none_is_long() {
    let mut labels = crate::hash::label::ALL.to_vec();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), crate::hash::label::ALL.len());
    assert!(labels.iter().all(|label| label.len() < 100));
}

#[test]
fn padded_lengths_grow_and_cost_at_most_an_eighth() {
    let mut last = 0;
    for length in 0..200_000 {
        let padded = padded_length(length);
        assert!(padded > length && padded >= last && padded >= MIN_PADDED_BYTES);
        assert!(
            length < 63 || padded <= length + 1 + (length + 1) / 8,
            "{length} became {padded}"
        );
        last = padded;
    }
    assert_eq!(
        [0, 63, 64, 100, 1_000, 1 << 20].map(padded_length),
        [64, 64, 72, 104, 1_024, 1_081_344]
    );
}
