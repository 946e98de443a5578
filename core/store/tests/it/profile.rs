use std::fs;
use std::sync::Arc;

use hearth_store::{
    ChatSelection, EngineLock, KEY_HEADER_FILE, OsKeychain, Protection, ProtectionKind, Role, SCHEMA_VERSION,
    Store, StoreError, StoreOptions,
};

use crate::kit::{MemoryKeychain, PASSPHRASE, Profile, chat, contains, options, say, texts, words};

fn export(store: &Store) -> String {
    let mut bytes = Vec::new();
    store.export_chats(&ChatSelection::default(), &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn with_one_chat(profile: &Profile) -> String {
    let mut store = profile.create();
    let id = chat(&mut store, "title").id;
    say(&mut store, id, None, Role::User, "hello there");
    export(&store)
}

#[test]
fn a_profile_is_created_once_and_opens_again() {
    let profile = Profile::new();
    assert!(matches!(
        profile.try_open(&words(PASSPHRASE)),
        Err(StoreError::NoProfile { .. })
    ));
    assert!(!profile.dir.exists());
    let before = with_one_chat(&profile);
    assert_eq!(
        Store::protection(&profile.dir).unwrap(),
        ProtectionKind::Passphrase
    );
    let again = Store::create_with(&profile.dir, &words("other"), &options());
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })));
    let store = profile.open();
    assert_eq!(export(&store), before);
    let statistics = store.statistics().unwrap();
    assert_eq!(
        (statistics.schema_version, statistics.chats, statistics.messages),
        (SCHEMA_VERSION, 1, 1)
    );
    assert!(statistics.database_bytes > 0);
}

#[test]
fn a_wrong_key_is_refused_and_changes_nothing() {
    let profile = Profile::new();
    with_one_chat(&profile);
    let before = profile.bytes();
    for wrong in ["", "wrong", "Correct horse battery staple"] {
        assert!(
            matches!(profile.try_open(&words(wrong)), Err(StoreError::WrongKey)),
            "{wrong}"
        );
    }
    let file = Protection::KeyFile(profile.outside.path().join("key"));
    let refused = profile.try_open(&file);
    assert!(matches!(
        refused,
        Err(StoreError::WrongProtection {
            expected: ProtectionKind::Passphrase
        })
    ));
    assert_eq!(profile.bytes(), before);
    profile.open();
}

#[test]
fn a_composed_and_a_decomposed_passphrase_are_the_same() {
    let profile = Profile::new();
    Store::create_with(&profile.dir, &words("caf\u{e9}"), &options()).unwrap();
    profile.try_open(&words("cafe\u{301}")).unwrap();
}

#[test]
fn only_one_engine_has_a_profile() {
    let profile = Profile::new();
    let store = profile.create();
    match profile.try_open(&words(PASSPHRASE)) {
        Err(StoreError::Locked { pid }) => assert!(cfg!(windows) || pid == Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        Store::wipe_with(&profile.dir, &options()),
        Err(StoreError::Locked { .. })
    ));
    drop(store);
    let lock = EngineLock::acquire(&profile.dir).unwrap();
    assert!(matches!(
        profile.try_open(&words(PASSPHRASE)),
        Err(StoreError::Locked { .. })
    ));
    Store::open_locked(lock, &profile.dir, &words(PASSPHRASE), &options()).unwrap();
}

#[test]
fn a_key_file_is_private_and_lies_elsewhere() {
    let profile = Profile::new();
    let path = profile.outside.path().join("hearth-key");
    let beside = Protection::KeyFile(profile.dir.join("key"));
    assert!(matches!(
        Store::create_with(&profile.dir, &beside, &options()),
        Err(StoreError::KeyFile { .. })
    ));
    let protection = Protection::KeyFile(path.clone());
    Store::create_with(&profile.dir, &protection, &options()).unwrap();
    profile.try_open(&protection).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        mode(0o644);
        let refused = profile.try_open(&protection).unwrap_err();
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
        mode(0o600);
        for file in fs::read_dir(&profile.dir).unwrap() {
            let file = file.unwrap();
            let private = file.metadata().unwrap().permissions().mode().trailing_zeros() >= 6;
            assert!(private || file.file_name() == "engine.lock", "{file:?}");
        }
    }
    let link = profile.outside.path().join("other-key");
    Store::create_with(
        &profile.outside.path().join("other"),
        &Protection::KeyFile(link.clone()),
        &options(),
    )
    .unwrap();
    assert!(matches!(
        profile.try_open(&Protection::KeyFile(link)),
        Err(StoreError::WrongKey)
    ));
    fs::copy(&path, profile.dir.join("key")).unwrap();
    assert!(matches!(
        profile.try_open(&beside),
        Err(StoreError::KeyFile { .. })
    ));
    fs::write(&path, "nonsense").unwrap();
    assert!(matches!(
        profile.try_open(&protection),
        Err(StoreError::KeyFile { .. })
    ));
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        profile.try_open(&protection),
        Err(StoreError::KeyFile { .. })
    ));
}

#[test]
fn a_keychain_entry_opens_and_goes_with_the_profile() {
    let profile = Profile::new();
    let keychain = MemoryKeychain::default();
    let options = StoreOptions {
        keychain: Arc::new(keychain.clone()),
        ..options()
    };
    let protection = Protection::Keychain {
        service: "Hearth".into(),
        account: "test".into(),
    };
    Store::create_with(&profile.dir, &protection, &options).unwrap();
    let mut store = Store::open_with(&profile.dir, &protection, &options).unwrap();
    assert_eq!(keychain.0.lock().unwrap().len(), 1);
    store.change_protection(&words("new")).unwrap();
    assert_eq!(keychain.0.lock().unwrap().len(), 0);
    store.change_protection(&protection).unwrap();
    store.change_protection(&protection).unwrap();
    drop(store);
    Store::open_with(&profile.dir, &protection, &options).unwrap();
    let taken = keychain.0.lock().unwrap().drain().collect::<Vec<_>>();
    let refused = Store::open_with(&profile.dir, &protection, &options).unwrap_err();
    assert!(matches!(refused, StoreError::Keychain { .. }), "{refused}");
    keychain.0.lock().unwrap().extend(taken);
    Store::wipe_with(&profile.dir, &options).unwrap();
    assert_eq!(keychain.0.lock().unwrap().len(), 0);
}

#[test]
fn a_missing_keychain_names_the_ways_out() {
    let profile = Profile::new();
    let options = StoreOptions {
        keychain: Arc::new(OsKeychain),
        ..options()
    };
    let protection = Protection::Keychain {
        service: "hearth-test".into(),
        account: "none".into(),
    };
    match Store::create_with(&profile.dir, &protection, &options) {
        // A developer's machine has one: leave nothing in it.
        Ok(store) => {
            drop(store);
            Store::wipe_with(&profile.dir, &options).unwrap();
        }
        Err(error) => {
            assert!(matches!(error, StoreError::Keychain { .. }), "{error}");
            assert!(error.to_string().contains("passphrase or a key file"), "{error}");
            profile.create();
        }
    }
}

#[test]
fn the_passphrase_and_the_database_key_change_and_the_content_stays() {
    let profile = Profile::new();
    let before = with_one_chat(&profile);
    let mut store = profile.open();
    store.change_protection(&words("second")).unwrap();
    drop(store);
    assert!(matches!(
        profile.try_open(&words(PASSPHRASE)),
        Err(StoreError::WrongKey)
    ));
    let old_header = fs::read(profile.dir.join(KEY_HEADER_FILE)).unwrap();
    let mut store = profile.try_open(&words("second")).unwrap();
    store.renew_key(&words("third")).unwrap();
    let id = chat(&mut store, "after").id;
    say(&mut store, id, None, Role::User, "written under the new key");
    assert!(export(&store).starts_with(before.trim_end_matches("\n]}\n")));
    drop(store);
    assert!(matches!(
        profile.try_open(&words("second")),
        Err(StoreError::WrongKey)
    ));
    let store = profile.try_open(&words("third")).unwrap();
    assert_eq!(store.statistics().unwrap().chats, 2);
    drop(store);
    // The old header with its passphrase has no power over the renewed database.
    fs::write(profile.dir.join(KEY_HEADER_FILE), old_header).unwrap();
    assert!(matches!(
        profile.try_open(&words("second")),
        Err(StoreError::Corrupt { .. })
    ));
}

#[test]
fn a_wiped_profile_is_gone() {
    let profile = Profile::new();
    with_one_chat(&profile);
    Store::wipe_with(&profile.dir, &options()).unwrap();
    let left: Vec<_> = profile.bytes().into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, [profile.dir.join("engine.lock")]);
    assert!(matches!(
        Store::wipe_with(&profile.dir, &options()),
        Err(StoreError::NoProfile { .. })
    ));
    profile.create();
}

#[test]
fn a_profile_is_wiped_without_giving_its_lock_back() {
    let profile = Profile::new();
    with_one_chat(&profile);
    let lock = profile.open().into_lock();
    let others = || EngineLock::acquire(&profile.dir).map(drop);
    assert!(matches!(others(), Err(StoreError::Locked { .. })));
    Store::wipe_locked(lock.clone(), &profile.dir, &options()).unwrap();
    assert!(matches!(others(), Err(StoreError::Locked { .. })));
    drop(lock);
    others().unwrap();
    assert!(matches!(
        profile.try_open(&words(PASSPHRASE)),
        Err(StoreError::NoProfile { .. })
    ));
}

#[test]
fn a_retired_header_takes_its_keychain_entry_along_unless_it_is_in_use() {
    let (one, two) = (Profile::new(), Profile::new());
    let keychain = MemoryKeychain::default();
    let options = StoreOptions {
        keychain: Arc::new(keychain.clone()),
        ..options()
    };
    let protection = Protection::Keychain {
        service: "hearth".into(),
        account: "test".into(),
    };
    for profile in [&one, &two] {
        Store::create_with(&profile.dir, &protection, &options).unwrap();
    }
    let [one, two] = [one, two].map(|profile| (profile.dir.join(KEY_HEADER_FILE), profile));
    let copy = one.1.outside.path().join("copy");
    fs::copy(&one.0, &copy).unwrap();
    Store::retire_header(&copy, &one.0, &options).unwrap();
    assert_eq!(keychain.0.lock().unwrap().len(), 2);
    Store::retire_header(&one.0, &two.0, &options).unwrap();
    assert_eq!(keychain.0.lock().unwrap().len(), 1);
    assert!(!copy.exists() && !one.0.exists());
    Store::open_with(&two.1.dir, &protection, &options).unwrap();
}

#[test]
fn a_backup_leaves_alone_what_lies_beside_it() {
    let profile = Profile::new();
    with_one_chat(&profile);
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let others = ["backup.database", "backup.partial", "backup.database-wal"].map(|n| folder.path().join(n));
    for other in &others {
        fs::write(other, "somebody's").unwrap();
    }
    profile.open().backup(&backup, "words").unwrap();
    for other in &others {
        assert_eq!(fs::read_to_string(other).unwrap(), "somebody's");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn a_backup_holds_everything_and_needs_only_its_passphrase() {
    let profile = Profile::new();
    let before = with_one_chat(&profile);
    let mut store = profile.open();
    store.set_setting("name", &"value".into()).unwrap();
    let backup = profile.outside.path().join("hearth.backup");
    store.backup(&backup, "backup words").unwrap();
    assert!(matches!(
        store.backup(&backup, "x"),
        Err(StoreError::AlreadyExists { .. })
    ));
    drop(store);
    let names: Vec<_> = fs::read_dir(profile.outside.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(!contains(&fs::read(&backup).unwrap(), "hello"));

    let target = profile.outside.path().join("restored");
    let restore = |passphrase| Store::restore_with(&backup, passphrase, &target, &words("mine"), &options());
    assert!(matches!(restore("wrong"), Err(StoreError::WrongKey)));
    let restored = restore("backup words").unwrap();
    assert_eq!(export(&restored), before);
    assert_eq!(restored.get_setting("name").unwrap(), Some("value".into()));
    drop(restored);
    assert!(matches!(
        restore("backup words"),
        Err(StoreError::AlreadyExists { .. })
    ));
    assert_eq!(
        export(&Store::open_with(&target, &words("mine"), &options()).unwrap()),
        before
    );
    let names: Vec<_> = fs::read_dir(&target)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn a_damaged_backup_is_refused_and_leaves_no_profile() {
    let profile = Profile::new();
    with_one_chat(&profile);
    let store = profile.open();
    let backup = profile.outside.path().join("hearth.backup");
    store.backup(&backup, "words").unwrap();
    let whole = fs::read(&backup).unwrap();
    let target = profile.outside.path().join("restored");
    let mut damaged: Vec<Vec<u8>> = [
        0,
        5,
        11,
        200,
        whole.len() / 2,
        whole.len() - 4096,
        whole.len() - 1,
    ]
    .into_iter()
    .map(|length| whole[..length].to_vec())
    .collect();
    for position in [
        0,
        7,
        9,
        100,
        1000,
        whole.len() / 3,
        whole.len() / 2,
        whole.len() - 10,
    ] {
        let mut flipped = whole.clone();
        flipped[position] ^= 0x10;
        damaged.push(flipped);
    }
    for bytes in damaged {
        fs::write(&backup, &bytes).unwrap();
        let error = Store::restore_with(&backup, "words", &target, &words("mine"), &options()).unwrap_err();
        let clear = matches!(
            error,
            StoreError::Corrupt { .. } | StoreError::WrongKey | StoreError::NewerSchema { .. }
        );
        assert!(clear, "{error:?}");
        assert!(matches!(
            Store::open_with(&target, &words("mine"), &options()),
            Err(StoreError::NoProfile { .. })
        ));
    }
    fs::write(&backup, &whole).unwrap();
    Store::restore_with(&backup, "words", &target, &words("mine"), &options()).unwrap();
}

#[test]
fn damaged_files_are_called_damaged() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "").id;
    let mut parent = None;
    for number in 0..200 {
        parent = Some(
            say(
                &mut store,
                id,
                parent,
                Role::User,
                &format!("{number} {}", "words ".repeat(80)),
            )
            .id,
        );
    }
    drop(store);
    let path = profile.dir.join("hearth.db");
    let whole = fs::read(&path).unwrap();
    let read_all = |store: &Store| {
        let mut sink = std::io::sink();
        store
            .export_chats(&ChatSelection::default(), &mut sink)
            .map(|_| ())
    };
    for length in [0, 10, 4096, whole.len() / 2, whole.len() - 4096] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = profile
            .try_open(&words(PASSPHRASE))
            .and_then(|store| read_all(&store))
            .unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{length}: {error:?}");
    }
    for position in [3, 50, 5000, whole.len() / 2, whole.len() - 5000] {
        let mut flipped = whole.clone();
        for byte in &mut flipped[position..position + 8] {
            *byte ^= 0x55;
        }
        fs::write(&path, &flipped).unwrap();
        let outcome = profile
            .try_open(&words(PASSPHRASE))
            .and_then(|store| read_all(&store).and_then(|()| store.verify()));
        assert!(
            matches!(outcome, Err(StoreError::Corrupt { .. })),
            "{position}: {outcome:?}"
        );
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(texts(&profile.open().branch(id, None).unwrap()).len(), 200);

    let header = profile.dir.join(KEY_HEADER_FILE);
    let text = fs::read_to_string(&header).unwrap();
    for bad in [
        "",
        "{}",
        "[1]",
        &text[..text.len() / 2],
        &text.replace("hearth-key", "x"),
    ] {
        fs::write(&header, bad).unwrap();
        let error = profile.try_open(&words(PASSPHRASE)).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{bad}: {error:?}");
    }
    fs::write(&header, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    assert!(matches!(
        profile.try_open(&words(PASSPHRASE)),
        Err(StoreError::NewerSchema { found: 2, .. })
    ));
    // A cost that was made absurd is not obeyed; one that was changed is noticed.
    fs::write(
        &header,
        text.replace("\"memory_kib\": 64", "\"memory_kib\": 4000000000"),
    )
    .unwrap();
    assert!(matches!(
        profile.try_open(&words(PASSPHRASE)),
        Err(StoreError::Corrupt { .. })
    ));
    fs::write(&header, text.replace("\"passes\": 1", "\"passes\": 2")).unwrap();
    assert!(matches!(
        profile.try_open(&words(PASSPHRASE)),
        Err(StoreError::WrongKey)
    ));
    fs::remove_file(&header).unwrap();
    let error = profile.try_open(&words(PASSPHRASE)).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    fs::write(&header, &text).unwrap();
    profile.open();
}

#[test]
fn no_file_shows_a_word_of_a_chat() {
    let profile = Profile::new();
    let mut store = profile.create();
    let id = chat(&mut store, "Zwiebelkuchen title").id;
    for number in 0..50 {
        say(
            &mut store,
            id,
            None,
            Role::User,
            &format!("Haselnussgebäck {number}"),
        );
    }
    store
        .search(&hearth_store::SearchQuery {
            text: "hasel".into(),
            limit: 5,
            chat: None,
        })
        .unwrap();
    // Once with the log full, once after it was moved into the database.
    let check = || {
        let files = profile.bytes();
        assert!(
            files
                .iter()
                .any(|(path, bytes)| path.ends_with("hearth.db") && bytes.len() > 4096)
        );
        for (path, bytes) in files {
            for word in [
                "Zwiebelkuchen",
                "Haselnuss",
                "haselnuss",
                "SQLite format",
                "CREATE TABLE",
                "message",
            ] {
                assert!(!contains(&bytes, word), "{word} in {}", path.display());
            }
        }
    };
    check();
    assert!(
        profile
            .bytes()
            .iter()
            .any(|(path, bytes)| path.ends_with("hearth.db-wal") && !bytes.is_empty())
    );
    drop(store);
    check();
}
