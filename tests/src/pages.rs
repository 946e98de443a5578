//! A profile read from its files alone, as `core/store/FORMAT.md` describes them: every page decrypted, free ones too.

// The pager hands out decrypted pages only through a C function that rusqlite wraps behind a feature not used here.
#![allow(unsafe_code)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use rusqlite::{Connection, ffi};
use serde_json::{Value, json};

/// A copy of a profile's database, opened with the key file found below `keys`.
pub struct Opened {
    connection: Connection,
    _copy: tempfile::TempDir,
}

impl Opened {
    /// Copies the database as it lies on the disk, so that an engine may go on using it.
    pub fn of(home: &Path, keys: &Path) -> Self {
        let copy = tempfile::tempdir().expect("a temporary folder");
        for name in ["hearth.db", "hearth.db-wal"] {
            if home.join(name).exists() {
                std::fs::copy(home.join(name), copy.path().join(name)).expect("the database is readable");
            }
        }
        let key = database_key(home, keys);
        let connection = Connection::open(copy.path().join("hearth.db")).expect("a database");
        connection
            .execute_batch(&format!("PRAGMA key = \"x'{key}'\";"))
            .expect("the key is taken");
        Self {
            connection,
            _copy: copy,
        }
    }

    /// All pages, decrypted, one after the other.
    pub fn pages(&self) -> Vec<u8> {
        let mut size = 0;
        // SAFETY: the connection is open for the call; "main" is a C string; the buffer that comes back has `size` bytes,
        // is copied before it is freed, and is freed once with the function that SQLite names for it.
        unsafe {
            let buffer = ffi::sqlite3_serialize(self.connection.handle(), c"main".as_ptr(), &raw mut size, 0);
            assert!(!buffer.is_null(), "the pages are readable");
            let pages = std::slice::from_raw_parts(buffer, usize::try_from(size).expect("a size")).to_vec();
            ffi::sqlite3_free(buffer.cast());
            pages
        }
    }

    /// The first column of a query's rows, as bytes.
    pub fn blobs(&self, sql: &str) -> Vec<Vec<u8>> {
        let mut statement = self.connection.prepare(sql).expect("a query");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    }
}

/// The database's key in hexadecimal, unwrapped by hand.
pub fn database_key(home: &Path, keys: &Path) -> String {
    let header: Value =
        serde_json::from_slice(&std::fs::read(home.join("hearth.key")).expect("a key header")).expect("JSON");
    let wrapping = files_below(keys)
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .find_map(|text| {
            text.strip_prefix("hearth-key-file-1 ")
                .map(|key| bytes(key.trim()))
        })
        .expect("a key file");
    let mut bare = header.clone();
    bare["wrapped_key"] = json!("");
    let text = |name: &str| header[name].as_str().expect("a text");
    let opened = XChaCha20Poly1305::new_from_slice(&wrapping)
        .expect("32 bytes")
        .decrypt(
            XNonce::from_slice(&bytes(text("nonce"))),
            Payload {
                msg: &bytes(text("wrapped_key")),
                aad: bare.to_string().as_bytes(),
            },
        );
    let opened = opened.expect("the key file opens the header");
    let mut hexadecimal = String::new();
    for byte in opened {
        let _ = write!(hexadecimal, "{byte:02x}");
    }
    hexadecimal
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    (0..hexadecimal.len() / 2)
        .map(|at| u8::from_str_radix(&hexadecimal[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect()
}

/// Every plain file below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            found.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// Texts that are looked for together, as UTF-8 or UTF-16, of either order.
pub struct Texts<'a> {
    texts: Vec<&'a str>,
    search: AhoCorasick,
}

impl<'a> Texts<'a> {
    /// Takes them together.
    pub fn new(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let texts: Vec<&str> = texts.into_iter().collect();
        let patterns = texts.iter().flat_map(|text| {
            let little = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let big = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            [text.as_bytes().to_vec(), little, big]
        });
        let search = AhoCorasick::new(patterns).expect("few enough texts");
        Self { texts, search }
    }

    /// One that the bytes hold.
    pub fn found_in(&self, bytes: &[u8]) -> Option<&'a str> {
        let found = self.search.find(bytes)?;
        Some(self.texts[found.pattern().as_usize() / 3])
    }

    /// One that the bytes hold as they are, or inflated from any place on: Automerge deflates the columns of a document.
    pub fn found_inflated(&self, bytes: &[u8]) -> Option<&'a str> {
        let mut inflated = vec![0; 1 << 16];
        self.found_in(bytes).or_else(|| {
            (0..bytes.len()).find_map(|place| {
                let mut inflater = flate2::Decompress::new(false);
                // What isn't a stream ends at once, and what it gave until then is looked at all the same.
                let _ = inflater.decompress(&bytes[place..], &mut inflated, flate2::FlushDecompress::None);
                let length = usize::try_from(inflater.total_out()).unwrap_or(inflated.len());
                self.found_in(&inflated[..length.min(inflated.len())])
            })
        })
    }
}

/// Whether `bytes` hold `text` as UTF-8 or UTF-16, of either order.
pub fn holds_text(bytes: &[u8], text: &str) -> bool {
    Texts::new([text]).found_in(bytes).is_some()
}

/// Whether `bytes` hold `text` as they are, or inflated from any place on.
pub fn holds_inflated(bytes: &[u8], text: &str) -> bool {
    Texts::new([text]).found_inflated(bytes).is_some()
}

/// Whether `bytes` hold `needle`.
pub fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(bytes, needle).is_some()
}
