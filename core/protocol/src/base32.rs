//! Text that people read to each other: Crockford's base 32, most significant bit first.

use crate::codec::DecodeError;

/// The digits: no I, L, O or U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Bytes as digits; spare bits of the last one are 0.
pub fn encode(bytes: &[u8]) -> String {
    let mut digits = Vec::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut held, mut bits) = (0u32, 0);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            digits.push((held >> bits) as u8 & 31);
        }
    }
    if bits > 0 {
        digits.push((held << (5 - bits)) as u8 & 31);
    }
    text_of(&digits)
}

/// The bytes of [`encode`], as somebody typed them: any case, dashes and spaces anywhere, O for 0, I and L for 1.
pub fn decode(text: &str) -> Result<Vec<u8>, DecodeError> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for digit in digits_of(text)? {
        held = (held << 5) | u32::from(digit);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
        held &= 0xff;
    }
    if bits >= 5 || held & ((1 << bits) - 1) != 0 {
        return Err(DecodeError::NotCanonical);
    }
    Ok(bytes)
}

/// Values below 32 as digits.
pub(crate) fn text_of(digits: &[u8]) -> String {
    digits
        .iter()
        .map(|digit| char::from(ALPHABET[usize::from(digit & 31)]))
        .collect()
}

/// The values of typed digits.
pub(crate) fn digits_of(text: &str) -> Result<Vec<u8>, DecodeError> {
    text.bytes()
        .filter(|byte| !matches!(byte, b'-' | b' '))
        .map(|byte| {
            let byte = match byte.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            ALPHABET
                .iter()
                .position(|letter| *letter == byte)
                .map(|index| index as u8)
                .ok_or(DecodeError::BadText)
        })
        .collect()
}
