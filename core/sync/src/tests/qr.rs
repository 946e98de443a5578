use std::io::Read as _;

use crate::pairing::qr::{Paint, Qr, TooLong};

/// A code of the length of a real one.
fn code() -> Qr {
    Qr::new(&format!(
        "HEARTH:{}",
        "0123456789ABCDEFGHJKMNPQRSTVWXYZ".repeat(7)
    ))
    .unwrap()
}

#[test]
fn the_quiet_zone_is_light_and_the_finders_are_there() {
    let qr = code();
    let side = qr.side();
    for at in 0..side {
        for edge in [0, 1, 2, 3, side - 4, side - 1] {
            assert!(!qr.is_dark(at, edge) && !qr.is_dark(edge, at));
        }
    }
    // A finder: seven dark, a light ring, three dark in the middle.
    for (x, y) in [(4, 4), (side - 11, 4), (4, side - 11)] {
        let row = |dy: usize| (0..7).map(|dx| qr.is_dark(x + dx, y + dy)).collect::<Vec<_>>();
        assert_eq!(row(0), [true; 7]);
        assert_eq!(row(1), [true, false, false, false, false, false, true]);
        assert_eq!(row(3), [true, false, true, true, true, false, true]);
    }
    assert!(side <= 73, "a phone reads it from a screen: {side} modules");
    assert_eq!(Qr::new(&"A".repeat(5_000)), Err(TooLong));
}

#[test]
fn a_terminal_shows_the_same_modules_whatever_its_background() {
    let qr = code();
    let read = |text: &str, ink_is_dark: bool| {
        let mut dark = Vec::new();
        for line in text.lines() {
            let cells: Vec<char> = line.chars().collect();
            for half in 0..2 {
                dark.extend(cells.iter().map(|cell| {
                    let ink = matches!((cell, half), ('█', _) | ('▀', 0) | ('▄', 1));
                    ink == ink_is_dark
                }));
            }
        }
        dark.truncate(qr.side() * qr.side());
        dark
    };
    let expected: Vec<bool> = (0..qr.side())
        .flat_map(|y| (0..qr.side()).map(move |x| (x, y)))
        .map(|(x, y)| qr.is_dark(x, y))
        .collect();
    assert_eq!(read(&qr.terminal(Paint::LightBackground), true), expected);
    assert_eq!(read(&qr.terminal(Paint::DarkBackground), false), expected);
    let coloured = qr.terminal(Paint::Colours);
    let bare = coloured
        .replace("\x1b[38;5;16;48;5;231m", "")
        .replace("\x1b[0m", "");
    assert_eq!(bare, qr.terminal(Paint::LightBackground));
    assert!(
        coloured.lines().all(|line| line.ends_with("\x1b[0m")),
        "no colour is left over"
    );
}

#[test]
fn the_images_hold_the_same_modules() {
    let qr = code();
    let svg = qr.svg();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"));
    let runs: usize = svg
        .split('h')
        .filter_map(|piece| piece.split_once("v1"))
        .map(|(length, _)| length.parse::<usize>().unwrap())
        .sum();
    let dark = (0..qr.side() * qr.side())
        .filter(|at| qr.is_dark(at % qr.side(), at / qr.side()))
        .count();
    assert_eq!(runs, dark);

    let scale = 3;
    let png = qr.png(scale);
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let mut rest = &png[8..];
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let mut check = flate2::Crc::new();
        check.update(&rest[4..8 + length]);
        let sum = u32::from_be_bytes(rest[8 + length..12 + length].try_into().unwrap());
        assert_eq!(sum, check.sum());
        chunks.push((&rest[4..8], &rest[8..8 + length]));
        rest = &rest[12 + length..];
    }
    let pixels = qr.side() * scale;
    assert_eq!(chunks[0].0, b"IHDR");
    assert_eq!(chunks[0].1[..4], (pixels as u32).to_be_bytes());
    let mut rows = Vec::new();
    flate2::read::ZlibDecoder::new(chunks[1].1)
        .read_to_end(&mut rows)
        .unwrap();
    let stride = 1 + pixels.div_ceil(8);
    assert_eq!(rows.len(), stride * pixels);
    for y in 0..pixels {
        for x in 0..pixels {
            let white = rows[y * stride + 1 + x / 8] >> (7 - x % 8) & 1 == 1;
            assert_eq!(white, !qr.is_dark(x / scale, y / scale), "{x}, {y}");
        }
    }
}
