use crate::codec::DecodeError;
use crate::hash::merkle_root;
use crate::id::{AgreementKey, DeviceKeys, Hash, VerifyKey};
use crate::pairing::{ScanCode, TypedCode, short_string};

#[test]
fn a_typed_code_is_read_however_it_is_typed() {
    let code = TypedCode::new([0, 1, 2, 31, 30, 255, 17, 18, 19, 20, 21]);
    let text = code.to_string();
    assert_eq!(text.len(), 14);
    let sloppy = text
        .to_lowercase()
        .replace('-', " ")
        .replace('0', "o")
        .replace('1', "l");
    assert_eq!(TypedCode::parse(&sloppy).unwrap(), code);
    assert_eq!(TypedCode::parse(&text[..13]), Err(DecodeError::Truncated));
    assert_eq!(TypedCode::parse("0000-0000-000*"), Err(DecodeError::BadText));
    let mut wrong = 0;
    for digit in "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars() {
        let typed = format!("{digit}{}", &text[1..]);
        wrong += usize::from(TypedCode::parse(&typed).is_ok());
    }
    assert!(wrong <= 3, "the check character catches nearly every slip");
    assert!(
        !format!("{code:?}").contains(&text[5..9]),
        "a log line doesn't tell the code"
    );
}

#[test]
fn a_scanned_code_comes_back_and_any_change_is_noticed_or_harmless() {
    let code = ScanCode {
        version: 1,
        device: DeviceKeys {
            log: VerifyKey([1; 32]),
            transport: VerifyKey([2; 32]),
            agreement: AgreementKey([3; 32]),
        },
        secret: [4; 16],
        endpoint: "sync.example:4433".to_owned().try_into().unwrap(),
    };
    let text = code.to_text();
    assert_eq!(ScanCode::parse(&text).unwrap(), code);
    assert_eq!(ScanCode::parse(&text.to_lowercase()).unwrap(), code);
    assert!(text.len() < 256, "{} characters", text.len());
    for end in 0..text.len() {
        assert!(ScanCode::parse(&text[..end]).is_err());
    }
    assert!(ScanCode::parse(&format!("{text}0")).is_err());
    assert!(ScanCode::parse(&"0".repeat(2_000)).is_err());
    assert!(ScanCode::parse("HEARTH:é").is_err());
    assert!(ScanCode::parse("ééééééé").is_err());
}

#[test]
fn the_short_string_is_six_digits() {
    let text = short_string(&Hash([0; 32]));
    assert!(text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit()));
    assert_ne!(text, short_string(&Hash([1; 32])));
}

#[test]
fn a_merkle_root_depends_on_every_leaf_and_its_place() {
    let roots: Vec<Hash> = (0..9usize)
        .map(|count| {
            let leaves: Vec<[u8; 1]> = (0..count).map(|leaf| [leaf as u8]).collect();
            merkle_root(&leaves.iter().map(<[u8; 1]>::as_slice).collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(roots[0], Hash::ZERO);
    let mut different = roots.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), roots.len());
    assert_ne!(merkle_root(&[b"a", b"b"]), merkle_root(&[b"b", b"a"]));
    assert_ne!(merkle_root(&[b"ab"]), merkle_root(&[b"a", b"b"]));
}
