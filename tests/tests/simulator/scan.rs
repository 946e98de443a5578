//! Looks for words of what was erased in every byte of every disk: encrypted files as they lie there, their pages
//! decrypted, those that wait in the write-ahead log and those that are free among them, and documents inflated.

use std::fs;

use aes::cipher::{BlockDecryptMut, KeyIvInit, block_padding::NoPadding};
use automerge::AutoCommit;
use hearth_tests::pages::{database_key, files_below, holds_inflated};
use memchr::memmem;

use super::home::Home;
use super::model::{Fate, Key};
use super::world::World;

const PAGE: usize = 4096;
/// At the end of a page: initialisation vector, authentication code.
const VECTOR: usize = 16;
const CODE: usize = 64;
/// At the beginning of the first page.
const SALT: usize = 16;
/// Before the frames of a log, and before the page of each.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// What is in a page.
fn decrypted(key: &[u8; 32], page: &[u8], first: bool) -> Vec<u8> {
    let from = if first { SALT } else { 0 };
    let end = PAGE - VECTOR - CODE;
    let vector: [u8; VECTOR] = page[end..end + VECTOR].try_into().unwrap();
    let mut content = page[from..end].to_vec();
    let cipher = cbc::Decryptor::<aes::Aes256>::new(key.into(), &vector.into());
    cipher.decrypt_padded_mut::<NoPadding>(&mut content).unwrap();
    content
}

/// All pages of a database and of its log.
fn pages(home: &Home) -> Vec<u8> {
    let hexadecimal = database_key(&home.path(), &Home::keys());
    let key: [u8; 32] =
        std::array::from_fn(|at| u8::from_str_radix(&hexadecimal[2 * at..2 * at + 2], 16).unwrap());
    let file = fs::read(home.path().join("hearth.db")).unwrap();
    let mut all = Vec::new();
    for (number, page) in file.chunks_exact(PAGE).enumerate() {
        all.extend(decrypted(&key, page, number == 0));
    }
    // Application id and schema are where SQLite has them: so the pages are read rightly.
    assert_eq!(
        all[68 - SALT..72 - SALT],
        0x4852_5448u32.to_be_bytes(),
        "the first page"
    );
    let log = fs::read(home.path().join("hearth.db-wal")).unwrap_or_default();
    for frame in log
        .get(LOG_HEADER..)
        .unwrap_or_default()
        .chunks_exact(FRAME_HEADER + PAGE)
    {
        let first = frame[..4] == 1u32.to_be_bytes();
        all.extend(decrypted(&key, &frame[FRAME_HEADER..], first));
    }
    all
}

/// Every document that the database holds, whatever it is of, with nothing of it compressed.
fn inflated(home: &Home) -> Vec<u8> {
    let connection = rusqlite::Connection::open(home.path().join("hearth.db")).unwrap();
    let key = database_key(&home.path(), &Home::keys());
    connection
        .execute_batch(&format!("PRAGMA key = \"x'{key}'\""))
        .unwrap();
    let mut statement = connection.prepare("SELECT document FROM sync_document").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    rows.flat_map(|row| AutoCommit::load(&row.unwrap()).unwrap().save_nocompress())
        .collect()
}

impl World {
    pub fn scan(&self) {
        let seed = self.seed;
        let gone = |key: &Key| self.model.fate(key) == Fate::Gone;
        let things = || self.model.things.iter();
        let erased: Vec<&String> = things()
            .filter(|(key, _)| gone(key))
            .flat_map(|(_, thing)| &thing.words)
            .collect();
        let living = self.living();
        for home in &living {
            let this = &self.homes[*home];
            let pages = pages(this);
            let documents = inflated(this);
            for word in &erased {
                let found = memmem::find(&pages, word.as_bytes());
                assert!(
                    found.is_none(),
                    "seed {seed}: {word} is still in a page of {home}"
                );
                let found = memmem::find(&documents, word.as_bytes());
                assert!(
                    found.is_none(),
                    "seed {seed}: {word} is still in a document of {home}"
                );
            }
            // What is there is seen: so the looks are some.
            for memory in this.content().memories.iter().take(3) {
                for (what, bytes) in [("pages", &pages), ("documents", &documents)] {
                    assert!(
                        memmem::find(bytes, memory.text.as_bytes()).is_some(),
                        "seed {seed}: a blind scan of {what}"
                    );
                }
            }
            if seed.is_multiple_of(50) && *home == living[0] {
                for word in erased.iter().take(2) {
                    assert!(
                        !holds_inflated(&pages, word),
                        "seed {seed}: {word} is deflated in a page of {home}"
                    );
                }
            }
            for file in files_below(this.folder.path()) {
                self.check_sealed(&file);
            }
        }
        for file in files_below(self.server.folder.path()) {
            self.check_sealed(&file);
        }
    }

    /// No word of anybody's is in a file, whether it was erased or not.
    fn check_sealed(&self, file: &std::path::Path) {
        let bytes = fs::read(file).unwrap();
        for word in &self.model.words {
            let found = memmem::find(&bytes, word.as_bytes());
            assert!(
                found.is_none(),
                "seed {}: {word} is readable in {}",
                self.seed,
                file.display()
            );
        }
    }
}
