//! A device: a profile's folder on a disk that fails, and what runs on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use hearth_core::engine::testing::Driver;
use hearth_faults::Disk;
use hearth_protocol::entropy::Entropy;
use hearth_store::{
    Chat, ChatId, ChatQuery, Memory, MemoryQuery, Message, MessageId, Protection, Store, StoreError,
};
use hearth_sync::device::Notice;
use serde_json::Value;
use tempfile::TempDir;

use super::random::Seeded;

/// An empty profile that is copied for every device: making one costs more than a device's whole life here.
static TEMPLATE: Mutex<Option<(TempDir, PathBuf)>> = Mutex::new(None);

fn protection(keys: &Path) -> Protection {
    Protection::KeyFile(keys.join("device.key"))
}

/// The template's profile and the folder with its key file. Who makes it has no randomness of its own afterwards.
fn template() -> (PathBuf, PathBuf) {
    let mut template = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, root) = template.get_or_insert_with(|| {
        // The same in every process, whichever seed comes first.
        let mut random = Seeded::new(0);
        hearth_store::testing::randomness(Some(Box::new(move |bytes| random.fill(bytes))));
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        fs::create_dir(root.join("keys")).unwrap();
        let (home, keys) = (root.join("home"), root.join("keys"));
        drop(Store::create(&home, &protection(&keys)).unwrap());
        // SQLite's own randomness made it. Hashes of sources are keyed by it, and travel.
        let connection = rusqlite::Connection::open(home.join("hearth.db")).unwrap();
        let key = hearth_tests::pages::database_key(&home, &keys);
        connection
            .execute_batch(&format!(
                "PRAGMA key = \"x'{key}'\"; UPDATE memory_state SET hash_key = zeroblob(32); PRAGMA wal_checkpoint(TRUNCATE);"
            ))
            .unwrap();
        hearth_store::testing::randomness(None);
        (folder, root)
    });
    (root.join("home"), root.join("keys"))
}

/// The files of a profile at some time.
#[derive(Debug, Clone)]
pub struct Image {
    files: BTreeMap<String, Vec<u8>>,
}

const FILES: [&str; 3] = ["hearth.db", "hearth.db-wal", "hearth.key"];

impl Image {
    fn of(home: &Path) -> Image {
        let files = FILES.iter().filter_map(|name| {
            let bytes = fs::read(home.join(name)).ok()?;
            Some(((*name).to_owned(), bytes))
        });
        Image {
            files: files.collect(),
        }
    }

    fn put(&self, home: &Path) {
        for name in FILES.iter().chain(&["hearth.db-shm"]) {
            let path = home.join(name);
            match self.files.get(*name) {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => _ = fs::remove_file(path),
            }
        }
    }
}

/// Everything that a profile says, as far as it is the same everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    pub memories: Vec<Memory>,
    pub chats: BTreeMap<ChatId, (Chat, Vec<Message>)>,
    pub settings: BTreeMap<String, Value>,
}

/// A device.
#[allow(clippy::struct_excessive_bools)] // Facts that don't depend on each other.
pub struct Home {
    pub folder: TempDir,
    pub disk: Disk,
    pub store: Option<Store>,
    pub driver: Option<Driver>,
    pub session: Option<u64>,
    pub online: bool,
    /// It is being shut out, or was: nothing is asked of it any more.
    pub leaving: bool,
    /// It began as a copy of another device's disk, and hasn't come in by itself yet.
    pub copied: bool,
    /// It was told to ask whether it was restored or copied.
    pub asked: bool,
    /// When the device wants to be woken, by the world's clock.
    pub wake_ms: Option<u64>,
    /// What the device's clock is off by.
    pub skew_ms: i64,
    /// A backup of its disk.
    pub image: Option<Image>,
    pub notices: Vec<Notice>,
    /// Something was changed here that the device wasn't told.
    pub changed: bool,
}

impl Home {
    pub fn new() -> Home {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        Image::of(&template().0).put(&folder.path().join("home"));
        Self::at(folder)
    }

    fn at(folder: TempDir) -> Home {
        Home {
            disk: Disk::of(&folder.path().join("home")).unwrap(),
            folder,
            store: None,
            driver: None,
            session: None,
            online: false,
            leaving: false,
            copied: false,
            asked: false,
            wake_ms: None,
            skew_ms: 0,
            image: None,
            notices: Vec::new(),
            changed: true,
        }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Makes what all devices begin with, if it isn't there yet: before any seed's randomness counts.
    pub fn prepare() {
        template();
    }

    pub fn keys() -> PathBuf {
        template().1
    }

    pub fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.path(), &protection(&Self::keys()))
    }

    pub fn take_image(&self) -> Image {
        Image::of(&self.path())
    }

    /// Another device with the same disk.
    pub fn copy(&self) -> Home {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        self.take_image().put(&folder.path().join("home"));
        let mut home = Self::at(folder);
        home.copied = true;
        home
    }

    /// The disk as it was. Nothing may be open.
    pub fn put_back(&mut self, image: &Image) {
        assert!(self.store.is_none() && self.driver.is_none());
        image.put(&self.path());
        self.disk.replaced();
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("an open store")
    }

    pub fn content(&self) -> Content {
        let store = self.store();
        let mut memories = store.memories(&MemoryQuery::default()).unwrap();
        for memory in &mut memories {
            // Each device's own.
            (memory.use_count, memory.last_used_at_ms) = (0, None);
            for source in &mut memory.sources {
                source.text_hash = [0; 32];
            }
        }
        memories.sort_by_key(|memory| memory.id);
        let mut chats = BTreeMap::new();
        for summary in store.chats(&ChatQuery::default()).unwrap() {
            let messages = messages(store, summary.chat.id);
            chats.insert(summary.chat.id, (summary.chat, messages));
        }
        let settings = store.settings().unwrap().into_iter();
        let settings = settings.filter(|(name, _)| name == "settings" || name.starts_with("sync.group."));
        Content {
            memories,
            chats,
            settings: settings.collect(),
        }
    }
}

/// All messages of a chat, on all branches.
pub fn messages(store: &Store, chat: ChatId) -> Vec<Message> {
    let Ok(there) = store.chat(chat) else {
        return Vec::new();
    };
    let Some(mut id) = there.head else {
        return Vec::new();
    };
    while let Some(parent) = store.message(id).unwrap().parent {
        id = parent;
    }
    let mut all: BTreeMap<MessageId, Message> = BTreeMap::new();
    let mut waiting: Vec<MessageId> = store
        .siblings(id)
        .unwrap()
        .iter()
        .map(|message| message.id)
        .collect();
    while let Some(id) = waiting.pop() {
        all.insert(id, store.message(id).unwrap());
        waiting.extend(store.children(id).unwrap().iter().map(|message| message.id));
    }
    all.into_values().collect()
}
