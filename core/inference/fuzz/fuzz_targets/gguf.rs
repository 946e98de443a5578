//! Any bytes at all are opened as a model file, and everything in it is read: no panic, no hang, no
//! allocation beyond the input's size class.
#![no_main]

use hearth_inference::chat_template::{ChatMessage, ChatTemplate, RenderOptions, Role};
use hearth_inference::gguf::{GgufFile, MetadataValue, StringArray};
use hearth_inference::tokenizer::{EncodeOptions, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = GgufFile::from_bytes(bytes.to_vec()) else { return };
    for (key, _) in file.metadata_keys() {
        if let Some(MetadataValue::Array(array)) = file.value(key) {
            assert!(array.iter().count() <= array.len());
        }
        let _ = file.get::<u32>(key);
        let _ = file.get::<Vec<f32>>(key);
        let _ = file.get::<&str>(key);
        if let Ok(Some(strings)) = file.get::<StringArray<'_>>(key) {
            assert_eq!(strings.iter().count(), strings.len());
        }
    }
    for tensor in file.tensors() {
        assert_eq!(file.tensor_bytes(tensor).len(), tensor.size_bytes());
    }
    let Ok(tokenizer) = Tokenizer::from_gguf(&file) else { return };
    tokenizer.tok_env();
    let ids = tokenizer.encode("Hi, it's 42 <|im_end|> 漢\n", EncodeOptions::PROMPT);
    tokenizer.decode(&ids);
    if let Ok(template) = ChatTemplate::from_gguf(&file, &tokenizer) {
        let _ = template.render(&[ChatMessage::new(Role::User, "hi")], RenderOptions::default());
    }
});
