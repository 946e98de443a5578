//! Shared by these tests: a profile in a temporary folder, with a passphrase that costs little.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hearth_store::{
    Chat, ChatId, KdfCost, Keychain, Message, MessageId, MessageStatus, NewChat, NewMessage, Protection,
    Role, Store, StoreError, StoreOptions,
};
use serde_json::Value;
use tempfile::TempDir;
use zeroize::Zeroizing;

pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

/// Secrets by service and account.
type Entries = HashMap<(String, String), Vec<u8>>;

/// A keychain in memory, shared by its clones.
#[derive(Clone, Default)]
pub(crate) struct MemoryKeychain(pub(crate) Arc<Mutex<Entries>>);

impl Keychain for MemoryKeychain {
    fn get(&self, service: &str, account: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let entries = self.0.lock().unwrap();
        Ok(entries
            .get(&(service.to_owned(), account.to_owned()))
            .cloned()
            .map(Zeroizing::new))
    }

    fn set(&self, service: &str, account: &str, secret: &[u8]) -> Result<(), StoreError> {
        self.0
            .lock()
            .unwrap()
            .insert((service.to_owned(), account.to_owned()), secret.to_owned());
        Ok(())
    }

    fn remove(&self, service: &str, account: &str) -> Result<(), StoreError> {
        self.0
            .lock()
            .unwrap()
            .remove(&(service.to_owned(), account.to_owned()));
        Ok(())
    }
}

pub(crate) fn options() -> StoreOptions {
    StoreOptions {
        kdf: KdfCost {
            memory_kib: 64,
            passes: 1,
            lanes: 1,
        },
        keychain: Arc::new(MemoryKeychain::default()),
    }
}

pub(crate) fn words(passphrase: &str) -> Protection {
    Protection::Passphrase(Zeroizing::new(passphrase.to_owned()))
}

/// A profile folder inside a temporary one, so that there is a place beside it.
pub(crate) struct Profile {
    pub(crate) outside: TempDir,
    pub(crate) dir: PathBuf,
}

impl Profile {
    pub(crate) fn new() -> Profile {
        let outside = tempfile::tempdir().unwrap();
        let dir = outside.path().join("profile");
        Profile { outside, dir }
    }

    pub(crate) fn create(&self) -> Store {
        Store::create_with(&self.dir, &words(PASSPHRASE), &options()).unwrap()
    }

    pub(crate) fn open(&self) -> Store {
        Store::open_with(&self.dir, &words(PASSPHRASE), &options()).unwrap()
    }

    pub(crate) fn try_open(&self, protection: &Protection) -> Result<Store, StoreError> {
        Store::open_with(&self.dir, protection, &options())
    }

    /// Every file of the profile, byte for byte.
    pub(crate) fn bytes(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files(&self.dir)
    }
}

pub(crate) fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

pub(crate) fn chat(store: &mut Store, title: &str) -> Chat {
    store
        .create_chat(NewChat {
            title: title.into(),
            created_at_ms: 1000,
            metadata: Value::Null,
        })
        .unwrap()
}

pub(crate) fn new_message(chat: ChatId, parent: Option<MessageId>, role: Role, text: &str) -> NewMessage {
    NewMessage {
        chat,
        parent,
        role,
        text: text.into(),
        reasoning: String::new(),
        status: MessageStatus::Complete,
        created_at_ms: 2000,
        model: None,
        metadata: Value::Null,
    }
}

pub(crate) fn say(
    store: &mut Store,
    chat: ChatId,
    parent: Option<MessageId>,
    role: Role,
    text: &str,
) -> Message {
    store
        .append_message(new_message(chat, parent, role, text))
        .unwrap()
}

pub(crate) fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).collect()
}

/// Whether `haystack` holds `needle` as UTF-8 or as UTF-16 of either order.
pub(crate) fn contains(haystack: &[u8], needle: &str) -> bool {
    let little: Vec<u8> = needle.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = needle.encode_utf16().flat_map(u16::to_be_bytes).collect();
    [needle.as_bytes(), &little, &big]
        .into_iter()
        .any(|needle| haystack.windows(needle.len()).any(|window| window == needle))
}
