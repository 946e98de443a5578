//! Reading what was written, and surviving what wasn't.

use proptest::prelude::*;

use super::writer::{GgufWriter, Value};
use super::*;

/// Has every kind of value, two quantised tensors and a vocabulary: some 1,200 bytes.
fn sample() -> GgufWriter {
    let mut writer = GgufWriter::new("llama");
    writer
        .set("general.name", "sample")
        .set("llama.block_count", 2_u32)
        .set("llama.rope.freq_base", 10_000.0_f32)
        .set("a.flag", true)
        .set("a.signed", -7_i32)
        .set("a.large", u64::MAX)
        .set(
            "tokenizer.ggml.tokens",
            vec!["a".to_owned(), "bc".into(), String::new(), "Ġdé".into()],
        )
        .set("tokenizer.ggml.scores", vec![0.5_f32, -1.0, 0.0, f32::NAN])
        .set("tokenizer.ggml.token_type", vec![1_i32, 3, 1, 1])
        .set("a.ids", vec![1_u32, 2, 3])
        .set("a.flags", vec![true, false])
        .tensor_f32("output_norm.weight", &[8], &[1.0; 8])
        .tensor("blk.0.attn_q.weight", &[4, 64], GgmlType::Q4_1, vec![7; 4 * 40])
        .tensor(
            "blk.0.attn_k.weight",
            &[2, 3, 32],
            GgmlType::Q8_0,
            vec![9; 6 * 34],
        );
    writer
}

fn read(writer: &GgufWriter) -> Result<GgufFile, GgufError> {
    GgufFile::from_bytes(writer.to_bytes())
}

/// Opens the bytes and, if that works, reads everything that can be read.
fn exercise(bytes: Vec<u8>) -> bool {
    let Ok(file) = GgufFile::from_bytes(bytes) else {
        return false;
    };
    let keys: Vec<String> = file.metadata_keys().map(|(key, _)| key.to_owned()).collect();
    for key in &keys {
        let value = file.value(key).unwrap();
        if let MetadataValue::Array(array) = value {
            assert!(array.iter().count() <= array.len());
        }
        let _ = file.get::<u32>(key);
        let _ = file.get::<i64>(key);
        let _ = file.get::<f32>(key);
        let _ = file.get::<bool>(key);
        let _ = file.get::<&str>(key);
        let _ = file.get::<Vec<f32>>(key);
        let _ = file.get::<Vec<i32>>(key);
        if let Ok(Some(strings)) = file.get::<StringArray<'_>>(key) {
            assert_eq!(strings.iter().count(), strings.len());
        }
    }
    for tensor in file.tensors() {
        assert_eq!(file.tensor_bytes(tensor).len(), tensor.size_bytes());
        assert_eq!(tensor.rows() * tensor.columns(), tensor.element_count());
    }
    true
}

#[test]
fn reads_what_was_written() {
    let file = read(&sample()).unwrap();
    assert_eq!(file.version(), 3);
    assert_eq!(file.architecture().unwrap(), "llama");
    assert_eq!(file.require::<usize>("llama.block_count").unwrap(), 2);
    assert_eq!(
        file.require::<f32>("llama.rope.freq_base").unwrap().to_bits(),
        10_000.0_f32.to_bits()
    );
    assert!(file.require::<bool>("a.flag").unwrap());
    assert_eq!(file.require::<i32>("a.signed").unwrap(), -7);
    assert_eq!(file.require::<u64>("a.large").unwrap(), u64::MAX);
    assert_eq!(file.require::<Vec<u32>>("a.ids").unwrap(), [1, 2, 3]);
    assert_eq!(file.require::<Vec<bool>>("a.flags").unwrap(), [true, false]);
    let texts: Vec<&[u8]> = file
        .require::<StringArray<'_>>("tokenizer.ggml.tokens")
        .unwrap()
        .iter()
        .collect();
    assert_eq!(texts, ["a".as_bytes(), b"bc", b"", "Ġdé".as_bytes()]);

    let tensor = file.require_tensor("blk.0.attn_k.weight").unwrap();
    assert_eq!(
        (tensor.shape.as_slice(), tensor.ggml_type),
        ([2, 3, 32].as_slice(), GgmlType::Q8_0)
    );
    assert_eq!((tensor.rows(), tensor.columns()), (6, 32));
    assert_eq!(file.tensor_bytes(tensor), [9; 6 * 34]);
    assert!(tensor.byte_range.start.is_multiple_of(file.alignment()));
    assert!(file.tensor("no").is_none());
}

#[test]
fn a_mapped_file_reads_the_same_and_can_be_released() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sample.gguf");
    sample()
        .write_to(&mut std::fs::File::create(&path).unwrap())
        .unwrap();
    let file = GgufFile::open(&path).unwrap();
    let tensor = file.tensor("blk.0.attn_q.weight").unwrap();
    assert_eq!(file.tensor_bytes(tensor), [7; 160]);
    file.release_tensor(tensor);
    assert_eq!(file.tensor_bytes(tensor), [7; 160]);

    assert!(matches!(
        GgufFile::open(&folder.path().join("absent")),
        Err(GgufError::Io { .. })
    ));
    assert!(matches!(GgufFile::open(folder.path()), Err(GgufError::Io { .. })));
    std::fs::write(&path, b"").unwrap();
    assert!(matches!(GgufFile::open(&path), Err(GgufError::NotGguf)));
}

#[test]
fn every_truncation_is_refused() {
    let bytes = sample().to_bytes();
    for length in 0..bytes.len() {
        let outcome = GgufFile::from_bytes(bytes[..length].to_vec());
        let named = matches!(
            outcome,
            Err(GgufError::NotGguf | GgufError::Truncated { .. } | GgufError::TruncatedTensor { .. })
        );
        assert!(named, "{length} of {} bytes: {outcome:?}", bytes.len());
    }
    let message = GgufFile::from_bytes(bytes[..bytes.len() - 1].to_vec())
        .unwrap_err()
        .to_string();
    assert!(message.contains("hearth models verify"), "{message}");
}

#[test]
fn wrong_kinds_and_absent_keys_are_named() {
    let file = read(&sample()).unwrap();
    let message = file.get::<u32>("general.name").unwrap_err().to_string();
    assert!(
        message.contains("`general.name` is a string where an integer in the range of u32"),
        "{message}"
    );
    assert!(
        matches!(file.get::<u32>("a.signed"), Err(GgufError::WrongType { .. })),
        "negative"
    );
    assert!(
        matches!(file.get::<u32>("a.large"), Err(GgufError::WrongType { .. })),
        "out of range"
    );
    assert!(matches!(
        file.get::<Vec<u32>>("a.flags"),
        Err(GgufError::WrongType { .. })
    ));
    assert_eq!(file.get::<u32>("absent").unwrap(), None);
    assert!(matches!(file.require::<u32>("absent"), Err(GgufError::MissingKey { key }) if key == "absent"));
    assert!(matches!(
        file.require_tensor("absent"),
        Err(GgufError::MissingTensor { .. })
    ));
}

#[test]
fn other_files_are_told_apart() {
    let mut bytes = sample().to_bytes();
    bytes[4..8].copy_from_slice(&3_u32.to_be_bytes());
    assert!(matches!(
        GgufFile::from_bytes(bytes.clone()),
        Err(GgufError::BigEndian)
    ));
    bytes[4..8].copy_from_slice(&1_u32.to_le_bytes());
    assert!(matches!(
        GgufFile::from_bytes(bytes.clone()),
        Err(GgufError::UnsupportedVersion { found: 1 })
    ));
    bytes[4..8].copy_from_slice(&2_u32.to_le_bytes());
    assert!(GgufFile::from_bytes(bytes.clone()).is_ok());
    bytes[0] = b'X';
    assert!(matches!(GgufFile::from_bytes(bytes), Err(GgufError::NotGguf)));
}

/// A header that announces counts, followed by `body`.
fn raw(tensors: u64, metadata: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(metadata.to_le_bytes());
    bytes.extend(body);
    bytes
}

fn key(name: &str, value_type: u32) -> Vec<u8> {
    let mut bytes = (name.len() as u64).to_le_bytes().to_vec();
    bytes.extend(name.as_bytes());
    bytes.extend(value_type.to_le_bytes());
    bytes
}

#[test]
fn absurd_numbers_are_refused_before_anything_is_allocated() {
    let truncated = |bytes| matches!(GgufFile::from_bytes(bytes), Err(GgufError::Truncated { .. }));
    assert!(truncated(raw(u64::MAX, 0, &[0; 64])));
    assert!(truncated(raw(0, u64::MAX, &[0; 64])));
    assert!(truncated(raw(1 << 40, 0, &[0; 4096])));
    // A string, and arrays of bytes, of strings and of arrays, each of absurd length.
    for length in [1 << 40, u64::MAX - 7, u64::MAX] {
        let mut string = key("k", 8);
        string.extend(length.to_le_bytes());
        assert!(truncated(raw(0, 1, &string)));
        for element in [0_u32, 8, 9, 12] {
            let mut array = key("k", 9);
            array.extend(element.to_le_bytes());
            array.extend(length.to_le_bytes());
            array.extend([0; 64]);
            assert!(truncated(raw(0, 1, &array)), "array of type {element}");
        }
        let mut name = length.to_le_bytes().to_vec();
        name.extend([b'a'; 64]);
        assert!(matches!(
            GgufFile::from_bytes(raw(0, 1, &name)),
            Err(GgufError::BadText { .. })
        ));
    }
}

#[test]
fn nested_arrays_are_walked_but_not_for_ever() {
    let nested = |depth: usize| {
        let mut value = key("k", 9);
        for _ in 1..depth {
            value.extend(9_u32.to_le_bytes());
            value.extend(1_u64.to_le_bytes());
        }
        value.extend(0_u32.to_le_bytes());
        value.extend(1_u64.to_le_bytes());
        value.push(42);
        GgufFile::from_bytes(raw(0, 1, &value))
    };
    for depth in 1..=4 {
        assert!(nested(depth).is_ok(), "{depth}");
    }
    assert!(matches!(nested(5), Err(GgufError::NestedTooDeeply { .. })));
    assert!(matches!(nested(100_000), Err(GgufError::NestedTooDeeply { .. })));
}

#[test]
fn impossible_tensors_are_refused() {
    let tensor = |dimensions: &[u64], type_id: u32, offset: u64| {
        let mut body = key("t", dimensions.len() as u32);
        body.extend(dimensions.iter().flat_map(|length| length.to_le_bytes()));
        body.extend(type_id.to_le_bytes());
        body.extend(offset.to_le_bytes());
        body.extend([0; 256]);
        GgufFile::from_bytes(raw(1, 0, &body))
    };
    assert!(tensor(&[32], 0, 0).is_ok());
    assert!(tensor(&[], 0, 0).is_ok(), "a scalar");
    assert!(matches!(
        tensor(&[1, 1, 1, 1, 1], 0, 0),
        Err(GgufError::TooManyDimensions { found: 5, .. })
    ));
    assert!(
        matches!(tensor(&[0], 0, 0), Err(GgufError::BadShape { .. })),
        "empty"
    );
    assert!(
        matches!(
            tensor(&[1 << 32, 1 << 32, 2], 0, 0),
            Err(GgufError::BadShape { .. })
        ),
        "overflow"
    );
    assert!(
        matches!(tensor(&[u64::MAX / 2], 28, 0), Err(GgufError::BadShape { .. })),
        "bytes overflow"
    );
    assert!(
        matches!(tensor(&[33], 8, 0), Err(GgufError::BadShape { .. })),
        "no whole blocks"
    );
    assert!(matches!(
        tensor(&[32], 4, 0),
        Err(GgufError::UnknownTensorType { found: 4, .. })
    ));
    assert!(matches!(
        tensor(&[32], 0, 8),
        Err(GgufError::MisalignedTensor { offset: 8, .. })
    ));
    assert!(matches!(
        tensor(&[1 << 30], 0, 0),
        Err(GgufError::TruncatedTensor { .. })
    ));
    assert!(
        matches!(
            tensor(&[32], 0, u64::MAX - 31),
            Err(GgufError::TruncatedTensor { .. })
        ),
        "offset overflow"
    );
}

#[test]
fn names_appear_once_and_alignment_is_sane() {
    let mut twice = sample();
    twice.tensor_f32("output_norm.weight", &[1], &[0.0]);
    assert!(matches!(read(&twice), Err(GgufError::DuplicateTensor { .. })));

    let mut entry = key("k", 0);
    entry.push(1);
    assert!(matches!(
        GgufFile::from_bytes(raw(0, 2, &entry.repeat(2))),
        Err(GgufError::DuplicateKey { .. })
    ));

    for (alignment, fine) in [
        (8_u32, true),
        (64, true),
        (1, false),
        (4, false),
        (65_536, true),
        (0, false),
        (48, false),
        (131_072, false),
    ] {
        let outcome = read(sample().set("general.alignment", alignment));
        assert_eq!(outcome.is_ok(), fine, "{alignment}: {outcome:?}");
    }
    let outcome = read(sample().set("general.alignment", Value::String("32".into())));
    assert!(matches!(outcome, Err(GgufError::WrongType { .. })));
}

#[test]
fn all_types_have_sound_blocks() {
    for &ggml_type in GgmlType::ALL {
        assert_eq!(GgmlType::from_id(ggml_type.id()), Some(ggml_type));
        let bits = ggml_type.block_bytes() as f64 * 8.0 / ggml_type.block_elements() as f64;
        assert!((1.0..=64.0).contains(&bits), "{}: {bits} bits", ggml_type.name());
    }
    assert_eq!(GgmlType::from_id(4), None);
}

/// A small generator, so that the cases are the same everywhere and for ever.
struct Lcg(u64);

impl Lcg {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % below
    }
}

#[test]
fn thirty_thousand_mutations_neither_panic_nor_allocate_wildly() {
    let original = sample().to_bytes();
    let interesting: [u64; 10] = [
        0,
        1,
        0x7F,
        0xFF,
        0x7FFF_FFFF,
        0xFFFF_FFFF,
        1 << 32,
        i64::MAX as u64,
        1 << 63,
        u64::MAX,
    ];
    let mut random = Lcg(42);
    let mut opened = 0;
    for case in 0..30_000 {
        let mut bytes = original.clone();
        for _ in 0..=random.next(4) {
            let at = random.next(bytes.len());
            match random.next(6) {
                0 => bytes[at] ^= 1 << random.next(8),
                1 => bytes[at] = random.next(256) as u8,
                2 => {
                    let number = interesting[random.next(interesting.len())].to_le_bytes();
                    let width = [1, 4, 8][random.next(3)].min(bytes.len() - at);
                    bytes[at..at + width].copy_from_slice(&number[..width]);
                }
                3 => bytes.truncate(at.max(1)),
                4 => {
                    let length = random.next(16).min(bytes.len() - at);
                    let copy = bytes[at..at + length].to_vec();
                    let to = random.next(bytes.len());
                    bytes.splice(to..to, copy);
                }
                _ => {
                    let end = (at + random.next(16)).min(bytes.len() - 1);
                    bytes.drain(at.min(end)..end);
                }
            }
        }
        if exercise(bytes) {
            opened += 1;
        }
        assert!(
            case < 100 || opened > 0,
            "mutations that all break the file test little"
        );
    }
    assert!((1_000..29_000).contains(&opened), "{opened} of 30000 still open");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_after_a_header_are_survived(
        tensors in 0_u64..4, metadata in 0_u64..4, body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        exercise(raw(tensors, metadata, &body));
    }

    #[test]
    fn any_splice_of_a_valid_file_is_survived(
        at in any::<prop::sample::Index>(), remove in 0_usize..40, insert in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = sample().to_bytes();
        let start = at.index(bytes.len());
        let end = (start + remove).min(bytes.len());
        bytes.splice(start..end, insert);
        exercise(bytes);
    }

    #[test]
    fn values_survive_writing_and_reading(text in ".*", number in any::<u64>(), float in any::<f32>(), list in prop::collection::vec(any::<i32>(), 0..20)) {
        let mut writer = GgufWriter::new("x");
        writer.set("text", text.as_str()).set("number", number).set("float", float).set("list", list.clone());
        let file = read(&writer).unwrap();
        prop_assert_eq!(file.require::<&str>("text").unwrap(), text);
        prop_assert_eq!(file.require::<u64>("number").unwrap(), number);
        let back: f32 = file.require("float").unwrap();
        prop_assert!(back.to_bits() == float.to_bits() || back.is_nan() && float.is_nan());
        prop_assert_eq!(file.require::<Vec<i32>>("list").unwrap(), list);
    }
}
