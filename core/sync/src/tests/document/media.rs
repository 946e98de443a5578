//! Blobs that never change.

use crate::document::media::{Assembly, MAX_MEDIA_BYTES, Media, PIECE_BYTES, pieces};

fn media(size: usize) -> Media {
    Media {
        id: [4; 16],
        media_type: "image/png".into(),
        name: "a picture.png".into(),
        created_at_ms: 5,
        data: (0..size).map(|place| (place * 31 / 8) as u8).collect(),
    }
}

#[test]
fn a_medium_comes_back_from_its_pieces_in_any_order() {
    for size in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 7] {
        let medium = media(size);
        let bytes = medium.encode().unwrap();
        let cut: Vec<&[u8]> = pieces(&bytes).collect();
        let count = cut.len() as u32;
        let mut assembly = Assembly::default();
        let mut whole = None;
        for (index, piece) in cut.iter().enumerate().rev() {
            assert!(whole.is_none());
            whole = assembly.take(index as u32, count, piece).unwrap();
        }
        assert_eq!(Media::decode(&whole.unwrap()).unwrap(), medium);
    }
}

#[test]
fn what_was_changed_or_is_too_large_is_refused() {
    let bytes = media(1000).encode().unwrap();
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        let read = Media::decode(&damaged);
        // The id, the type, the name and the time are covered by the envelope alone.
        assert!(read.is_err() || read.unwrap() != media(1000), "{place}");
        assert!(Media::decode(&bytes[..place]).is_err());
    }
    assert!(media(MAX_MEDIA_BYTES + 1).encode().is_err());
    let mut assembly = Assembly::default();
    assert!(assembly.take(2, 2, b"").is_err());
    assert!(assembly.take(0, u32::MAX, b"").is_err());
    assert!(assembly.take(0, 2, b"short").is_err());
    assert!(assembly.take(1, 2, b"last").unwrap().is_none());
    assert!(assembly.take(1, 2, b"other").is_err());
    assert!(assembly.take(0, 3, &vec![0; PIECE_BYTES]).is_err());
}
