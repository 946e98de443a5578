//! Any text is read as a pairing code: no panic, and what is read is written and read again as the same code.
#![no_main]

use hearth_protocol::pairing::{ScanCode, TypedCode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(code) = TypedCode::parse(text) {
        assert_eq!(TypedCode::parse(&code.to_string()).as_ref(), Ok(&code));
    }
    if let Ok(code) = ScanCode::parse(text) {
        assert_eq!(ScanCode::parse(&code.to_text()), Ok(code));
    }
});
