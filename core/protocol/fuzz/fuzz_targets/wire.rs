//! Any bytes at all are decoded as every wire type: no panic, no allocation beyond the input's size class, and what
//! decodes has no other spelling. The first byte chooses the type, so that the corpus keeps them apart.
#![no_main]

use hearth_protocol::codec::{Sample, Sampled, Wire};
use hearth_protocol::hash::Signed;
use hearth_protocol::{control, envelope, erasure, message, pairing, registry, statement};
use libfuzzer_sys::fuzz_target;

fn check<T: Wire + Sampled + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert_eq!(value.encode(), bytes);
    }
    let value = T::sample(&mut Sample::new(bytes));
    assert_eq!(T::decode(&value.encode()), Ok(value));
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else { return };
    match choice % 12 {
        0 => check::<envelope::Envelope>(bytes),
        1 => check::<envelope::Batch>(bytes),
        2 => check::<control::ControlEntry>(bytes),
        3 => check::<control::EpochWraps>(bytes),
        4 => check::<Signed<erasure::Erase>>(bytes),
        5 => check::<erasure::Certificate>(bytes),
        6 => check::<statement::AnyStatement>(bytes),
        7 => check::<registry::RegistryUpdate>(bytes),
        8 => check::<pairing::PairingMessage>(bytes),
        9 => check::<pairing::MailboxMessage>(bytes),
        10 => check::<message::RequestFrame>(bytes),
        _ => check::<message::ReplyFrame>(bytes),
    }
});
