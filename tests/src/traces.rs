//! What is left of a text where nothing of it may be: in files and packets, spelled as programs spell it, and whether bytes
//! look like chance.

use std::fmt::Write as _;

use crate::pages::{holds, holds_text};

/// How a program may write a text down: each with its name.
///
/// Plain and UTF-16, both of them reversed, hexadecimal, and base 64 (both alphabets) at the three places where it can
/// begin. Of base 64 the letters are left out that depend on what stands beside the text.
pub fn spellings(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let utf8 = text.as_bytes().to_vec();
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let mut hexadecimal = String::new();
    for byte in &utf8 {
        let _ = write!(hexadecimal, "{byte:02x}");
    }
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<u8>>();
    let mut all = vec![
        ("reversed UTF-8", reversed(&utf8)),
        ("reversed UTF-16", reversed(&little)),
        ("UTF-16, little end first", little),
        ("UTF-16, big end first", big),
        ("HEXADECIMAL", hexadecimal.to_uppercase().into_bytes()),
        ("hexadecimal", hexadecimal.into_bytes()),
    ];
    for alphabet in [*b"+/", *b"-_"] {
        for before in 0..3 {
            let mut padded = vec![0; before];
            padded.extend_from_slice(&utf8);
            let whole = padded.len() / 3 * 4;
            let first = [0, 2, 3][before];
            all.push(("base 64", base64(&padded, alphabet)[first..whole].to_vec()));
        }
    }
    all.push(("UTF-8", utf8));
    all
}

fn base64(bytes: &[u8], last_two: [u8; 2]) -> Vec<u8> {
    let letters: Vec<u8> = (b'A'..=b'Z')
        .chain(b'a'..=b'z')
        .chain(b'0'..=b'9')
        .chain(last_two)
        .collect();
    let mut text = Vec::new();
    for three in bytes.chunks(3) {
        let mut bits = 0u32;
        for place in 0..3 {
            bits = (bits << 8) | u32::from(three.get(place).copied().unwrap_or(0));
        }
        for place in (0..4).rev() {
            text.push(letters[(bits >> (6 * place)) as usize & 63]);
        }
    }
    text
}

/// The texts that `bytes` hold in some spelling, with its name; letters count as the same in either case.
pub fn found<'a>(bytes: &[u8], texts: &[&'a str]) -> Vec<(&'a str, &'static str)> {
    let lower = bytes.to_ascii_lowercase();
    let mut found = Vec::new();
    for text in texts {
        for (name, spelled) in spellings(text) {
            let there = if name == "base 64" {
                holds(bytes, &spelled)
            } else {
                holds(&lower, &spelled.to_ascii_lowercase())
            };
            if there {
                found.push((*text, name));
            }
        }
    }
    found
}

/// The texts that `bytes` hold deflated, beginning at any place, as Automerge deflates long columns.
pub fn found_deflated<'a>(bytes: &[u8], texts: &[&'a str]) -> Vec<&'a str> {
    let shortest = texts.iter().map(|text| text.len()).min().unwrap_or(0);
    let mut inflated = vec![0; 1 << 14];
    let mut inflater = flate2::Decompress::new(false);
    let mut found = std::collections::BTreeSet::new();
    for place in 0..bytes.len() {
        inflater.reset(false);
        // What isn't a stream ends at once, and what it gave until then is looked at all the same.
        let _ = inflater.decompress(&bytes[place..], &mut inflated, flate2::FlushDecompress::None);
        let length = usize::try_from(inflater.total_out()).unwrap_or(inflated.len());
        if length >= shortest {
            let given = &inflated[..length.min(inflated.len())];
            found.extend(texts.iter().filter(|text| holds_text(given, text)));
        }
    }
    found.into_iter().collect()
}

/// Pearson's chi-square of the bytes' frequencies against all 256 being equally likely.
///
/// Of random bytes it has 255 degrees of freedom: mean 255, standard deviation √510 = 22.6. Of text it grows with the length
/// (about 18 for each byte of English).
pub fn chi_square(bytes: &[u8]) -> f64 {
    let mut counts = [0u64; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let expected = bytes.len() as f64 / 256.0;
    counts
        .iter()
        .map(|count| (*count as f64 - expected).powi(2) / expected)
        .sum()
}

/// Shannon's entropy of the bytes' frequencies, bits per byte. Of `n` random bytes it is about 8 − 184 / n.
pub fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u64; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let length = bytes.len() as f64;
    -counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = *count as f64 / length;
            share * share.log2()
        })
        .sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    const TEXT: &str = "Zwiebelkuchen at noon";

    #[test]
    fn every_spelling_is_found_wherever_it_begins_and_nothing_in_chance() {
        let mut dice = Dice::new(1);
        let noise: Vec<u8> = (0..10_000).map(|_| dice.bits() as u8).collect();
        assert_eq!(found(&noise, &[TEXT]), []);
        for (name, spelled) in spellings(TEXT) {
            let mut bytes = noise.clone();
            bytes.splice(777..777, spelled);
            let found = found(&bytes, &[TEXT]);
            assert!(found.iter().any(|(_, other)| *other == name), "{name}: {found:?}");
        }
        // As a program would do it, between other letters, at each place.
        for before in ["", "x", "xy", "xyz"] {
            let whole = base64(format!("{before}{TEXT}, she said").as_bytes(), *b"+/");
            assert!(!found(&whole, &[TEXT]).is_empty(), "{before:?}");
        }
        let mut deflater = flate2::Compress::new(flate2::Compression::default(), false);
        let mut deflated = Vec::with_capacity(1 << 12);
        let long = format!("{TEXT}. {TEXT}. {TEXT}.");
        deflater
            .compress_vec(long.as_bytes(), &mut deflated, flate2::FlushCompress::Finish)
            .unwrap();
        assert_eq!(found(&deflated, &[TEXT]), []);
        assert_eq!(found_deflated(&deflated, &[TEXT]), [TEXT]);
    }

    #[test]
    fn chance_and_text_are_told_apart() {
        let mut dice = Dice::new(2);
        let noise: Vec<u8> = (0..1 << 18).map(|_| dice.bits() as u8).collect();
        let text: Vec<u8> = TEXT.bytes().cycle().take(1 << 18).collect();
        assert!(chi_square(&noise) < 391.0 && entropy(&noise) > 7.99);
        assert!(chi_square(&text) > 1e6 && entropy(&text) < 4.5);
        // A thirtieth of text in what else is chance is seen.
        let mut mixed = noise.clone();
        mixed[..noise.len() / 30].copy_from_slice(&text[..noise.len() / 30]);
        assert!(chi_square(&mixed) > 391.0);
    }
}
