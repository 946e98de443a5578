//! Padding of a plaintext: the byte 0x80, then zeros up to the padded length (ISO/IEC 7816-4 within Padmé).

use hearth_protocol::padding::padded_length;

/// The content with its padding.
pub(crate) fn pad(content: &[u8]) -> Vec<u8> {
    let length = padded_length(content.len());
    // Room for the tag, so that sealing in place doesn't move the plaintext and leave a copy behind.
    let mut bytes = Vec::with_capacity(length + 16);
    bytes.extend_from_slice(content);
    bytes.push(0x80);
    bytes.resize(length, 0);
    bytes
}

/// The content, if exactly this padding was put on it.
pub(crate) fn unpad(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let end = bytes.iter().rposition(|byte| *byte != 0)?;
    if bytes[end] != 0x80 || padded_length(end) != bytes.len() {
        return None;
    }
    bytes.truncate(end);
    Some(bytes)
}
