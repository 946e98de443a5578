//! Any bytes at all are verified as a certificate: no panic, and nothing is believed that its issuer didn't sign. A changed
//! part of a real one gets behind the signatures too: without its own, the body alone is decoded and written again.
#![no_main]

use hearth_protocol::certificate::verify;
use hearth_protocol::codec::Wire;
use hearth_protocol::erasure::{CERTIFICATE_MAGIC, Certificate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let file = [CERTIFICATE_MAGIC.as_slice(), bytes].concat();
    let _ = verify(bytes);
    if let Ok(report) = verify(&file) {
        let certificate = Certificate::decode(bytes).expect("what verifies decodes");
        assert_eq!(report.erasures.first(), Some(&report.subject));
        assert_eq!(certificate.encode(), bytes);
    }
});
