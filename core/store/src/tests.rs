//! What needs a look behind the door: decrypted pages, a newer schema, a full disk, what is linked in.

mod faults;
mod mirror;
mod pages;
mod sync;
mod versions;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::store::PENDING_FILE;
use crate::{
    ChatId, ChatSelection, DATABASE_FILE, FinishedMessage, KEY_HEADER_FILE, KdfCost, MessageStatus, NewChat,
    NewMessage, OsKeychain, Protection, Role, SCHEMA_VERSION, SearchQuery, Store, StoreError, StoreOptions,
    connection,
};

fn options() -> StoreOptions {
    StoreOptions {
        kdf: KdfCost {
            memory_kib: 64,
            passes: 1,
            lanes: 1,
        },
        keychain: Arc::new(OsKeychain),
    }
}

fn words() -> Protection {
    Protection::Passphrase(Zeroizing::new("words".into()))
}

fn create() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create_with(dir.path(), &words(), &options()).unwrap();
    (dir, store)
}

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open_with(dir, &words(), &options())
}

fn chat(store: &mut Store) -> ChatId {
    store
        .create_chat(NewChat {
            title: "title".into(),
            created_at_ms: 1,
            metadata: Value::Null,
        })
        .unwrap()
        .id
}

fn message(chat: ChatId, text: &str, status: MessageStatus) -> NewMessage {
    NewMessage {
        chat,
        parent: None,
        role: Role::User,
        text: text.into(),
        reasoning: String::new(),
        status,
        created_at_ms: 2,
        model: None,
        metadata: Value::Null,
    }
}

fn finished(text: &str) -> FinishedMessage {
    FinishedMessage {
        text: text.into(),
        reasoning: String::new(),
        status: MessageStatus::Complete,
        metadata: Value::Null,
        finished_at_ms: 3,
    }
}

fn export(store: &Store) -> String {
    let mut bytes = Vec::new();
    store.export_chats(&ChatSelection::default(), &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Canaries of deleted chats, among texts that stay, are in no decrypted page, used or free, nor in the log.
#[test]
fn a_deleted_chat_is_in_no_page() {
    let (dir, mut store) = create();
    let kept = chat(&mut store);
    let mut canaries = Vec::new();
    let mut deleted = Vec::new();
    for round in 0..6u32 {
        let doomed = chat(&mut store);
        store
            .rename_chat(doomed, &format!("titlecanary{round}"), 2)
            .unwrap();
        canaries.push(format!("titlecanary{round}"));
        for number in 0..40u32 {
            // Words that begin differently, so that each can be the one an index page begins with.
            let scattered = (number + 40 * round + 1).wrapping_mul(2_654_435_761);
            let canary = format!("{scattered:08x}canary{round}x{number}");
            let text = format!("The {canary} sang {}", "la ".repeat((scattered % 900) as usize));
            if number % 2 == 0 {
                store
                    .append_message(message(doomed, &text, MessageStatus::Complete))
                    .unwrap();
            } else {
                let reply = store
                    .append_message(message(doomed, "", MessageStatus::Streaming))
                    .unwrap();
                store
                    .update_streaming(reply.id, &text[..text.len() / 2], "", 2)
                    .unwrap();
                store.finish_message(reply.id, finished(&text)).unwrap();
            }
            canaries.push(canary);
            let other = format!("{:08x}stays{round}x{number}", scattered.rotate_left(7));
            store
                .append_message(message(kept, &other, MessageStatus::Complete))
                .unwrap();
        }
        deleted.push(doomed);
        if round % 2 == 1 {
            for doomed in deleted.drain(..) {
                store.delete_chat(doomed).unwrap();
            }
        }
    }
    assert_eq!(fs::metadata(dir.path().join("hearth.db-wal")).unwrap().len(), 0);
    let pages = pages::decrypted(&store.connection);
    assert!(pages::contains(&pages, "stays3x7"), "the scan sees what is there");
    for canary in &canaries {
        // Also the beginning: an index may keep no more than that of a word.
        for piece in [canary.as_str(), &canary[..8]] {
            assert!(!pages::contains(&pages, piece), "{piece} is still there");
        }
    }
    store.verify().unwrap();
    store
        .connection
        .execute(
            "INSERT INTO message_search (message_search, rank) VALUES ('integrity-check', 1)",
            [],
        )
        .unwrap();
}

/// A reader in the way of emptying the log is told, and the next deletion makes up for it.
#[test]
fn a_log_that_another_reads_is_not_called_emptied() {
    let (dir, mut store) = create();
    let [first, second] = [chat(&mut store), chat(&mut store)];
    store.connection.execute_batch("PRAGMA busy_timeout = 0").unwrap();
    let reader = connection::open(&dir.path().join(DATABASE_FILE), &store.key).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM chat").unwrap();
    let deleted = store.delete_chat(first);
    assert!(matches!(deleted, Err(StoreError::LogInUse)), "{deleted:?}");
    assert!(matches!(store.chat(first), Err(StoreError::NotFound { .. })));
    drop(reader);
    store.delete_chat(second).unwrap();
    assert_eq!(fs::metadata(dir.path().join("hearth.db-wal")).unwrap().len(), 0);
}

#[test]
fn a_chats_messages_are_counted() {
    let (_dir, mut store) = create();
    let [id, other] = [chat(&mut store), chat(&mut store)];
    for chat in [id, id, other] {
        store
            .append_message(message(chat, "text", MessageStatus::Complete))
            .unwrap();
    }
    assert_eq!(store.message_count(id).unwrap(), 2);
    assert_eq!(store.message_count(ChatId::random()).unwrap(), 0);
}

#[test]
fn a_newer_schema_is_refused_untouched() {
    let (dir, mut store) = create();
    chat(&mut store);
    store
        .connection
        .pragma_update(None, "user_version", SCHEMA_VERSION + 1)
        .unwrap();
    drop(store);
    let path = dir.path().join(DATABASE_FILE);
    let before = fs::read(&path).unwrap();
    let error = open(dir.path()).unwrap_err();
    let expected = SCHEMA_VERSION + 1;
    assert!(
        matches!(error, StoreError::NewerSchema { found, .. } if found == expected),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_full_database_says_so_and_loses_nothing() {
    let (dir, mut store) = create();
    let id = chat(&mut store);
    store
        .append_message(message(id, "before", MessageStatus::Complete))
        .unwrap();
    let reply = store
        .append_message(message(id, "", MessageStatus::Streaming))
        .unwrap();
    store.update_streaming(reply.id, "so far", "", 2).unwrap();
    let before = export(&store);
    let pages: i64 = store
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    store
        .connection
        .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
        .unwrap();
    let large = "large ".repeat(20_000);
    let full =
        |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Full)), "{result:?}");
    full(
        store
            .append_message(message(id, &large, MessageStatus::Complete))
            .map(drop),
    );
    full(store.update_streaming(reply.id, &large, "", 3));
    full(store.finish_message(reply.id, finished(&large)).map(drop));
    full(store.set_setting("large", &large.clone().into()));
    let import = before
        .replace("before", &large)
        .replace(&id.to_string(), &ChatId::random().to_string());
    full(store.import_chats(&mut import.as_bytes(), 4).map(drop));
    assert_eq!(export(&store), before);
    store
        .connection
        .query_row("PRAGMA max_page_count = 1000000", [], |_| Ok(()))
        .unwrap();
    store.finish_message(reply.id, finished(&large)).unwrap();
    store.verify().unwrap();
    drop(store);
    open(dir.path()).unwrap();
}

/// A disk that is really full: a small tmpfs, where this process may mount one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_says_so_and_loses_nothing() {
    use std::process::Command;

    struct Unmount<'a>(&'a Path);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            Command::new("umount").arg("-l").arg(self.0).status().unwrap();
        }
    }

    let mount = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(mount.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        eprintln!("skipped: no right to mount a small tmpfs");
        return;
    }
    let _unmount = Unmount(mount.path());
    let dir = mount.path().join("profile");
    let mut store = Store::create_with(&dir, &words(), &options()).unwrap();
    let id = chat(&mut store);
    let mut acknowledged = 0;
    let error = loop {
        let text = format!("{acknowledged} {}", "filling words ".repeat(500));
        match store.append_message(message(id, &text, MessageStatus::Complete)) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000);
    };
    assert!(matches!(error, StoreError::Full), "{error:?}");
    assert!(acknowledged > 5);
    let backup = store.backup(&mount.path().join("backup"), "words");
    assert!(matches!(backup, Err(StoreError::Full)), "{backup:?}");
    assert!(matches!(store.renew_key(&words()), Err(StoreError::Full)));
    assert!(!mount.path().join("backup").exists());
    assert_eq!(store.statistics().unwrap().messages, acknowledged);
    let changed = store.change_protection(&Protection::Passphrase(Zeroizing::new("new".into())));
    drop(store);
    // Opening takes a little space; without it the answer is the same clear one.
    if let Err(error) = Store::open_with(&dir, &words(), &options()) {
        assert!(
            matches!(error, StoreError::Full | StoreError::WrongKey),
            "{error:?}"
        );
    }
    // The user makes room (deleting a chat takes some itself, for the log).
    let grown = Command::new("mount")
        .args(["-o", "remount,size=16m"])
        .arg(mount.path())
        .status();
    assert!(grown.unwrap().success());
    let other = Protection::Passphrase(Zeroizing::new("new".into()));
    let protection = if changed.is_ok() { other } else { words() };
    let mut store = Store::open_with(&dir, &protection, &options()).unwrap();
    assert_eq!(store.statistics().unwrap().messages, acknowledged);
    store.verify().unwrap();
    store.delete_chat(id).unwrap();
    let id = chat(&mut store);
    store
        .append_message(message(id, "there is room again", MessageStatus::Complete))
        .unwrap();
}

/// Vectors and full text live in the same encrypted file, in the same transactions.
#[test]
fn vectors_and_full_text_work_in_the_encrypted_file() {
    let (dir, mut store) = create();
    let transaction = store.transaction().unwrap();
    transaction
        .execute_batch("CREATE VIRTUAL TABLE probe USING vec0 (embedding float[3])")
        .unwrap();
    transaction
        .execute_batch("CREATE VIRTUAL TABLE probe_text USING fts5 (text)")
        .unwrap();
    for (row, vector) in [(1, "[1, 0, 0]"), (2, "[0, 1, 0]"), (3, "[0.9, 0.1, 0]")] {
        transaction
            .execute(
                "INSERT INTO probe (rowid, embedding) VALUES (?1, ?2)",
                (row, vector),
            )
            .unwrap();
        transaction
            .execute(
                "INSERT INTO probe_text (rowid, text) VALUES (?1, ?2)",
                (row, "Zürich"),
            )
            .unwrap();
    }
    transaction.commit().unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    let nearest = |connection: &Connection| -> Vec<i64> {
        let mut statement = connection
            .prepare("SELECT rowid FROM probe WHERE embedding MATCH '[1, 0, 0]' AND k = 2 ORDER BY distance")
            .unwrap();
        statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    assert_eq!(nearest(&store.connection), [1, 3]);
    let hits: i64 = store
        .connection
        .query_row(
            "SELECT count(*) FROM probe_text WHERE probe_text MATCH 'zurich'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(hits, 3);
}

#[test]
fn the_promised_settings_are_in_force() {
    let (_dir, store) = create();
    let pragma = |name: &str| -> String {
        store
            .connection
            .query_row(&format!("PRAGMA {name}"), [], |row| {
                row.get::<_, String>(0)
                    .or_else(|_| row.get::<_, i64>(0).map(|number| number.to_string()))
            })
            .unwrap()
    };
    for (name, value) in [
        ("secure_delete", "1"),
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
        ("temp_store", "2"),
        ("cipher_page_size", "4096"),
        ("cipher_use_hmac", "1"),
        ("cipher_hmac_algorithm", "HMAC_SHA512"),
        ("trusted_schema", "0"),
    ] {
        assert_eq!(pragma(name), value, "{name}");
    }
    assert!(pragma("cipher_version").starts_with("4."));
    let secure: String = store
        .connection
        .query_row(
            "SELECT v FROM message_search_config WHERE k = 'secure-delete'",
            [],
            |row| row.get::<_, i64>(0).map(|number| number.to_string()),
        )
        .unwrap();
    assert_eq!(secure, "1");
}

/// A crash between the steps of making a profile or renewing its key leaves one that opens, or none at all.
#[test]
fn an_unfinished_change_is_ended_or_undone() {
    let (dir, mut store) = create();
    chat(&mut store);
    let path = dir.path();
    drop(store);
    let [database, pending, header] =
        [DATABASE_FILE, PENDING_FILE, KEY_HEADER_FILE].map(|name| path.join(name));

    // Created, header written, not yet renamed.
    fs::rename(&database, &pending).unwrap();
    assert_eq!(open(path).unwrap().statistics().unwrap().chats, 1);
    assert!(!pending.exists());

    // A copy under a key that no header came to name.
    let other = tempfile::tempdir().unwrap();
    drop(Store::create_with(other.path(), &words(), &options()).unwrap());
    fs::copy(other.path().join(DATABASE_FILE), &pending).unwrap();
    assert_eq!(open(path).unwrap().statistics().unwrap().chats, 1);
    assert!(!pending.exists());

    // The new header is there, the new database not yet in its place.
    let old = fs::read(&database).unwrap();
    let mut store = open(path).unwrap();
    store.renew_key(&words()).unwrap();
    drop(store);
    fs::rename(&database, &pending).unwrap();
    fs::write(&database, old).unwrap();
    assert_eq!(open(path).unwrap().statistics().unwrap().chats, 1);
    assert!(!pending.exists());

    // Creating was cut short before there was a header.
    fs::remove_file(&header).unwrap();
    fs::rename(&database, &pending).unwrap();
    assert!(matches!(open(path), Err(StoreError::NoProfile { .. })));
    Store::create_with(path, &words(), &options()).unwrap();
}

/// What is noted of a chat beside it goes in the same transaction.
#[test]
fn settings_of_a_chat_go_with_it() {
    let (_dir, mut store) = create();
    let (one, two) = (chat(&mut store), chat(&mut store));
    let name = |what: &str, id: ChatId| format!("memory.{what}.{id}");
    for id in [one, two] {
        for what in ["mined", "passed"] {
            store.set_setting(&name(what, id), &1.into()).unwrap();
        }
    }
    store.delete_chat(one).unwrap();
    for what in ["mined", "passed"] {
        assert_eq!(store.get_setting(&name(what, one)).unwrap(), None);
        assert!(store.get_setting(&name(what, two)).unwrap().is_some());
    }
}

#[test]
fn a_header_and_a_database_of_two_profiles_do_not_fit() {
    let (one, store) = create();
    drop(store);
    let (two, store) = create();
    drop(store);
    fs::copy(one.path().join(DATABASE_FILE), two.path().join(DATABASE_FILE)).unwrap();
    let error = open(two.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    let key = crate::key::random_secret().unwrap();
    assert!(matches!(
        connection::open(&one.path().join(DATABASE_FILE), &key),
        Err(StoreError::Corrupt { .. })
    ));
    open(one.path()).unwrap();
}

/// Sizes and times on a year of chats; run it with `--release --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn measure() {
    use std::time::Instant;
    let (_dir, mut store) = create();
    chat(&mut store);
    let vocabulary: Vec<String> = (0..20_000u32)
        .map(|n| format!("w{:x}", n.wrapping_mul(2_654_435_761) >> 8))
        .collect();
    let han: Vec<char> = ('\u{4E00}'..'\u{5600}').collect();
    let mut seed = 1u64;
    let mut next = |limit: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // Squared, so that some words are common.
        let unit = (seed >> 33) as f64 / f64::from(1u32 << 31);
        ((unit * unit) * limit as f64) as usize
    };
    let begin = Instant::now();
    let transaction = store.transaction().unwrap();
    let chat_seq: i64 = transaction
        .query_row("SELECT seq FROM chat", [], |row| row.get(0))
        .unwrap();
    for number in 0..100_000u32 {
        let text: String = if number % 5 == 0 {
            (0..120).map(|_| han[next(han.len())]).collect()
        } else {
            (0..60)
                .flat_map(|_| [vocabulary[next(vocabulary.len())].as_str(), " "])
                .collect()
        };
        transaction
            .prepare_cached(
                "INSERT INTO message (id, chat, role, status, text, reasoning, created_at_ms, updated_at_ms, metadata)
                 VALUES (?1, ?2, 'user', 'complete', ?3, '', 1, 1, 'null')",
            )
            .unwrap()
            .execute((crate::MessageId::random(), chat_seq, &text))
            .unwrap();
        crate::search::index(&transaction, transaction.last_insert_rowid(), &text).unwrap();
    }
    transaction.commit().unwrap();
    println!("fill {:?}, {:?}", begin.elapsed(), store.statistics().unwrap());
    let index: i64 = store
        .connection
        .query_row("SELECT sum(length(block)) FROM message_search_data", [], |row| {
            row.get(0)
        })
        .unwrap();
    println!("index {} KB", index / 1024);
    let han_word: String = [han[3], han[40]].iter().collect();
    let rare: String = [han[1900], han[2000]].iter().collect();
    let typed = vocabulary[300][..4].to_owned();
    let both = format!("{} {}", vocabulary[10], vocabulary[500]);
    for text in [
        &vocabulary[0],
        &vocabulary[15_000],
        &both,
        &typed,
        &han_word,
        &rare,
        &han[2].to_string(),
    ] {
        let begin = Instant::now();
        let hits = store
            .search(&SearchQuery {
                text: text.clone(),
                limit: 20,
                chat: None,
            })
            .unwrap()
            .len();
        println!("search {text:?}: {hits} hits, {:?}", begin.elapsed());
    }
    let other = chat(&mut store);
    let mut times = Vec::new();
    for _ in 0..200 {
        let begin = Instant::now();
        let text = &vocabulary[..40].join(" ");
        store
            .append_message(message(other, text, MessageStatus::Complete))
            .unwrap();
        times.push(begin.elapsed());
    }
    times.sort();
    println!("append p50 {:?} p95 {:?}", times[100], times[190]);
    let reply = store
        .append_message(message(other, "", MessageStatus::Streaming))
        .unwrap();
    let mut times = Vec::new();
    let mut text = String::new();
    for word in vocabulary.iter().take(500) {
        text += word;
        text += " ";
        let begin = Instant::now();
        store.update_streaming(reply.id, &text, "", 1).unwrap();
        times.push(begin.elapsed());
    }
    times.sort();
    println!(
        "update_streaming p50 {:?} p95 {:?} max {:?}",
        times[250], times[475], times[499]
    );
    let begin = Instant::now();
    store.delete_chat(other).unwrap();
    println!("delete 201 messages {:?}", begin.elapsed());
    let begin = Instant::now();
    store
        .connection
        .execute(
            "INSERT INTO message_search (message_search) VALUES ('optimize')",
            [],
        )
        .unwrap();
    println!("optimize {:?}", begin.elapsed());
    let begin = Instant::now();
    store.truncate_log().unwrap();
    println!("checkpoint {:?}", begin.elapsed());
}
