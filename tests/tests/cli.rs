//! The command line from outside: the real binary, the real model, exit codes, JSON and pipes.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hearth_tests::hearth::{CHAT_MODEL, EMBEDDING_MODEL, Profile, signal, test_models};
use serde_json::{Value, json};

/// Polls until `found` gives something; panics after half a minute.
fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} didn't happen");
        std::thread::yield_now();
    }
}

#[test]
fn a_piped_question_is_answered_as_json_and_kept() {
    let profile = Profile::new();
    let ran = profile.pipe(
        &["ask", "--json", "--temperature", "0"],
        b"What is the capital of France?",
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let answer = ran.value();
    assert!(answer["answer"].as_str().unwrap().contains("Paris"), "{answer}");
    assert_eq!(
        (&answer["model"], &answer["status"]),
        (&json!(CHAT_MODEL), &json!("complete"))
    );
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 5, "{answer}");
    assert!(
        answer["timings"]["first_token_ms"].as_f64().unwrap() > 0.0,
        "{answer}"
    );
    assert_eq!(answer["context"]["left_out_turns"], json!([]));

    let chats = profile.json(&["chats", "list"]);
    assert_eq!(chats["chats"][0]["id"], answer["chat"]);
    let shown = profile.json(&["chats", "show", "last"]);
    assert_eq!(shown["messages"][0]["text"], "What is the capital of France?");
    assert_eq!(shown["messages"][1]["id"], answer["message"]);
    let found = profile.json(&["chats", "search", "capital", "fran"]);
    assert_eq!(found["hits"][0]["chat"], answer["chat"]);
}

#[test]
fn typed_text_streams_and_piped_text_is_attached() {
    let profile = Profile::new();
    let input = b"The password of the day is marmalade.";
    let ran = profile.pipe(
        &[
            "ask",
            "--temperature",
            "0",
            "--max-tokens",
            "40",
            "What is the password?",
        ],
        input,
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.to_lowercase().contains("marmalad") && ran.stdout.ends_with('\n'),
        "{ran:?}"
    );
    let asked = profile.json(&["chats", "show", "last"])["messages"][0]["text"].clone();
    assert_eq!(
        asked,
        "What is the password?\n\nThe password of the day is marmalade."
    );

    let again = profile.run(&["ask", "--chat", "last", "--max-tokens", "8", "And", "tomorrow?"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(
        profile.json(&["chats", "show", "last"])["messages"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let profile = Profile::new();
    let ask = || {
        profile
            .run(&["ask", "--seed", "7", "--max-tokens", "24", "Tell me a story."])
            .stdout
    };
    assert_eq!(ask(), ask());
}

#[test]
fn an_answer_follows_a_schema() {
    let profile = Profile::new();
    let schema = profile.scratch().join("schema.json");
    let city = json!({"type": "object", "properties": {"city": {"type": "string", "maxLength": 30}, "people": {"type": "integer"}},
        "required": ["city", "people"], "additionalProperties": false});
    std::fs::write(&schema, city.to_string()).unwrap();
    let answer = profile.json(&[
        "ask",
        "--schema",
        schema.to_str().unwrap(),
        "--max-tokens",
        "120",
        "The largest city of Japan?",
    ]);
    assert!(
        answer["value"]["city"].is_string() && answer["value"]["people"].is_i64(),
        "{answer}"
    );
    assert_eq!(
        profile.json(&["chats", "list"])["chats"],
        json!([]),
        "such answers are not kept"
    );
}

#[test]
fn kill_9_in_the_middle_of_an_answer_keeps_what_was_streamed() {
    let profile = Profile::new();
    profile.json(&["ask", "--max-tokens", "1", "Hello"]);
    let pid = profile.json(&["status"])["pid"].as_u64().unwrap();
    let mut asking = profile
        .command(&[
            "ask",
            "--max-tokens",
            "3000",
            "--seed",
            "3",
            "Write a very long story about a lighthouse keeper.",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = asking.stdout.take().unwrap();
    let (mut seen, mut early) = (Vec::new(), None);
    // What was seen before the last second must survive; how long the first words take says nothing.
    while early.is_none_or(|(_, at): (usize, Instant)| at.elapsed() < Duration::from_millis(1500)) {
        let mut buffer = [0; 64];
        let read = stdout.read(&mut buffer).unwrap();
        assert!(
            read > 0,
            "the answer ended too early: {}",
            String::from_utf8_lossy(&seen)
        );
        seen.extend_from_slice(&buffer[..read]);
        if early.is_none() && seen.len() > 20 {
            early = Some((seen.len(), Instant::now()));
        }
    }
    let (early, _) = early.unwrap();
    signal(&pid.to_string(), "KILL");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert_eq!(
        asking.wait().unwrap().code(),
        Some(1),
        "a dead engine is a failure"
    );

    let shown = profile.json(&["chats", "show", "last"]);
    let reply = &shown["messages"][1];
    assert_eq!(reply["status"], "interrupted", "{reply}");
    let kept = reply["text"].as_str().unwrap();
    let early = String::from_utf8_lossy(&seen[..early]).into_owned();
    let early = early.trim_end_matches('\u{fffd}');
    assert!(
        kept.starts_with(early),
        "kept {kept:?}, but {early:?} had been streamed a second before"
    );
    assert_no_word_on_disk(&profile.home(), &["lighthouse", "keeper", "Hello"]);
}

#[test]
fn no_word_of_a_chat_can_be_read_on_the_disk() {
    let profile = Profile::new();
    let asked = profile.run(&["ask", "--max-tokens", "12", "Xylographic zebras juggle quartz."]);
    assert_eq!(asked.code, 0, "{asked:?}");
    profile.json(&["chats", "rename", "last", "Quetzalcoatlus"]);
    assert_no_word_on_disk(
        &profile.home(),
        &["Xylographic", "zebras", "quartz", "Quetzalcoatlus"],
    );
    assert_eq!(profile.run(&["engine", "stop"]).code, 0);
    assert_no_word_on_disk(
        &profile.home(),
        &["Xylographic", "zebras", "quartz", "Quetzalcoatlus"],
    );
}

/// Looks at every byte of the profile, as `strings` would, in upper and lower case.
fn assert_no_word_on_disk(folder: &Path, words: &[&str]) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_word_on_disk(&path, words);
            continue;
        }
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let bytes = bytes.to_ascii_lowercase();
        for word in words {
            let word = word.to_lowercase().into_bytes();
            let found = bytes.windows(word.len()).any(|window| window == word);
            assert!(!found, "{} holds a word of the chat", path.display());
        }
    }
}

#[test]
fn a_wrong_passphrase_is_refused_and_changes_nothing() {
    let profile = Profile::with_models(&test_models()).passphrase("correct horse");
    profile.json(&["settings", "set", "system_prompt", "Be brief."]);
    assert_eq!(profile.run(&["engine", "stop"]).code, 0);
    let files = || ["hearth.db", "hearth.key"].map(|name| std::fs::read(profile.home().join(name)).unwrap());
    let before = files();
    let wrong = |command: &[&str]| {
        let mut command = profile.command(command);
        command
            .env("HEARTH_PASSPHRASE", "battery staple")
            .stderr(Stdio::piped())
            .stdout(Stdio::piped());
        command.output().unwrap()
    };
    for command in [
        &["chats", "list"][..],
        &["ask", "hello"],
        &["status"],
        &["profile", "wipe", "--yes"],
    ] {
        let output = wrong(command);
        assert_eq!(output.status.code(), Some(4), "{command:?}: {output:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{output:?}"
        );
    }
    let mut without = profile.command(&["chats", "list"]);
    assert_eq!(
        without
            .env_remove("HEARTH_PASSPHRASE")
            .output()
            .unwrap()
            .status
            .code(),
        Some(4)
    );
    assert_eq!(before, files());

    // A running engine has the profile open; a wrong passphrase is refused all the same.
    let mut engine = profile
        .command(&["engine", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 8];
    engine.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(wrong(&["chats", "list"]).status.code(), Some(4));
    assert_eq!(profile.json(&["settings", "get", "system_prompt"]), "Be brief.");
    assert_eq!(profile.run(&["engine", "stop"]).code, 0);
    assert!(engine.wait().unwrap().success());
}

#[test]
fn a_missing_model_is_told_with_the_command_that_gets_it() {
    let empty = tempfile::tempdir().unwrap();
    let profile = Profile::with_models(empty.path());
    let ran = profile.run(&["--profile", "small", "ask", "hello"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (5, ""), "{ran:?}");
    assert!(
        ran.stderr.contains("98 MB") && ran.stderr.contains(&format!("hearth models pull {CHAT_MODEL}")),
        "{ran:?}"
    );
    let ran = profile.run(&["ask", "hello", "--json"]);
    let error: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((ran.code, &error["error"]["code"]), (5, &json!("model_missing")));
    assert_eq!(
        profile.json(&["chats", "list"])["chats"],
        json!([]),
        "a question without an answer isn't kept"
    );
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let profile = Profile::new();
    for (arguments, code) in [
        (&["ask"][..], 2),
        (&["ask", "--max-tokens", "0", "x"], 2),
        (&["nonsense"], 2),
        (&["chats", "show", "ffffffffffffffffffffffffffffffff"], 3),
        (&["chats", "show", "last"], 3),
        (&["settings", "get", "nonsense"], 3),
        (&["settings", "set", "context_length", "many"], 2),
        (&["chats", "import", "/nonexistent.json"], 3),
        (&["ask", "--model", "nonsense", "x"], 5),
        (&["chats", "delete", "--all"], 2),
        (&["serve", "--listen", "0.0.0.0:0"], 2),
    ] {
        let ran = profile.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
        assert!(
            ran.stdout.is_empty() && !ran.stderr.is_empty(),
            "{arguments:?}: {ran:?}"
        );
    }
    let long = "word ".repeat(20_000);
    let ran = profile.pipe(&["ask", "--json"], long.as_bytes());
    let error: Value = serde_json::from_str(ran.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(
        (ran.code, &error["error"]["code"]),
        (6, &json!("context_too_large")),
        "{ran:?}"
    );
    assert_eq!(profile.pipe(&["ask"], b"\xff\xfe").code, 2);
    let help = profile.run(&["--help"]);
    assert!(help.code == 0 && help.stdout.contains("Exit codes"), "{help:?}");
}

#[test]
fn chats_move_between_profiles_and_are_deleted() {
    let profile = Profile::new();
    let first = profile.json(&["ask", "--max-tokens", "6", "Name a colour."]);
    profile.json(&["chats", "rename", "last", "Colours"]);
    let exported = profile.run(&["chats", "export"]);
    assert_eq!(exported.code, 0, "{exported:?}");
    let file = profile.scratch().join("export.json");
    let path = file.to_str().unwrap();
    assert_eq!(profile.run(&["chats", "export", "-o", path]).code, 0);
    assert_eq!(
        profile.run(&["chats", "export", "-o", path]).code,
        2,
        "an existing file isn't overwritten"
    );

    let other = Profile::with_models(&test_models());
    assert_eq!(other.json(&["chats", "import", path])["chats"], 1);
    assert_eq!(other.json(&["chats", "import", path])["skipped_chats"], 1);
    let shown = other.json(&["chats", "show", "last"]);
    assert_eq!(
        (&shown["chat"]["title"], &shown["messages"][1]["text"]),
        (&json!("Colours"), &first["answer"])
    );
    let back = other.pipe(&["chats", "import", "-", "--json"], exported.stdout.as_bytes());
    assert_eq!(back.value()["skipped_chats"], 1);

    let id = first["chat"].as_str().unwrap();
    assert_eq!(profile.json(&["chats", "delete", "--yes", &id[..10]])["chats"], 1);
    assert_eq!(profile.json(&["chats", "list"])["chats"], json!([]));
    assert_eq!(other.json(&["chats", "delete", "--all", "--yes"])["chats"], 1);
}

#[test]
fn settings_and_protection_change_and_a_backup_brings_everything_back() {
    let profile = Profile::with_models(&test_models());
    assert_eq!(
        profile.json(&["settings", "set", "sampling.temperature", "0.5"])["sampling.temperature"],
        0.5
    );
    let export = profile.scratch().join("chats.json");
    let conversation = json!([{"title": "Old talk", "create_time": 1.0, "update_time": 2.0, "current_node": "b", "mapping": {
        "a": {"id": "a", "parent": null, "children": ["b"], "message": {"id": "a", "author": {"role": "user"},
            "create_time": 1.0, "content": {"content_type": "text", "parts": ["ping"]}}},
        "b": {"id": "b", "parent": "a", "children": [], "message": {"id": "b", "author": {"role": "assistant"},
            "create_time": 2.0, "content": {"content_type": "text", "parts": ["pong"]}}}}}]);
    std::fs::write(&export, conversation.to_string()).unwrap();
    assert_eq!(
        profile.json(&["chats", "import", export.to_str().unwrap()])["chats"],
        1
    );
    assert_eq!(
        profile.json(&["chats", "show", "last"])["messages"][1]["text"],
        "pong"
    );

    let secret = profile.scratch().join("secret");
    std::fs::write(&secret, "swordfish\n").unwrap();
    let (secret, backup) = (secret.to_str().unwrap(), profile.scratch().join("backup.hearth"));
    let backup = backup.to_str().unwrap();
    profile.json(&["profile", "backup", backup, "--backup-passphrase-file", secret]);
    profile.json(&["profile", "change-passphrase", "--new-passphrase-file", secret]);
    assert_eq!(
        profile.run(&["chats", "list"]).code,
        4,
        "the key file opens it no more"
    );
    assert_eq!(
        profile.run(&["chats", "list", "--passphrase-file", secret]).code,
        0
    );

    let other = Profile::with_models(&test_models());
    let restored = other.json(&["profile", "restore", backup, "--backup-passphrase-file", secret]);
    assert_eq!(
        (&restored["chats"], &restored["messages"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        other.json(&["chats", "show", "last"])["messages"][0]["text"],
        "ping"
    );
    assert_eq!(
        other
            .run(&["profile", "restore", backup, "--backup-passphrase-file", secret])
            .code,
        2,
        "needs --yes"
    );
    other.json(&["profile", "wipe", "--yes"]);
    assert_eq!(other.json(&["chats", "list"])["chats"], json!([]));
}

#[test]
fn commands_share_one_engine_and_stop_ends_it() {
    let profile = Profile::new();
    assert_eq!(profile.run(&["engine", "stop"]).code, 0);
    assert_eq!(profile.json(&["status"])["engine_running"], false);
    profile.json(&["ask", "--max-tokens", "1", "Hello"]);
    let status = profile.json(&["status"]);
    assert_eq!(
        (&status["engine_running"], &status["loaded_models"][0]["id"]),
        (&json!(true), &json!(CHAT_MODEL))
    );
    profile.json(&["ask", "--max-tokens", "1", "Hello"]);
    assert_eq!(profile.json(&["status"])["pid"], status["pid"]);
    let own = profile.run(&["--in-process", "chats", "list"]);
    assert_ne!(own.code, 0, "only one engine per profile");
    assert_eq!(profile.json(&["engine", "stop"])["was_running"], true);
    assert_eq!(profile.json(&["engine", "stop"])["was_running"], false);
    assert_eq!(profile.json(&["status"])["engine_running"], false);
}

#[test]
fn chat_answers_lines_from_a_pipe() {
    let profile = Profile::new();
    let script = b"What is the capital of France?\n/regenerate\n/title Cities\n//hello\n/quit\nnever said\n";
    let ran = profile.pipe(&["chat", "--max-tokens", "20", "--temperature", "0"], script);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("Paris"), "{ran:?}");
    let shown = profile.json(&["chats", "show", "last"]);
    assert_eq!(shown["chat"]["title"], "Cities");
    let messages = shown["messages"].as_array().unwrap();
    assert_eq!(
        (messages.len(), messages[1]["siblings"].as_array().unwrap().len()),
        (4, 2),
        "{shown}"
    );
    assert_eq!(messages[2]["text"], "/hello");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let profile = Profile::new();
    profile.json(&["ask", "--max-tokens", "1", "Hello"]);
    let mut asking = profile
        .command(&["ask", "--max-tokens", "400", "Count from one to a hundred."])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut one = [0];
    asking.stdout.as_mut().unwrap().read_exact(&mut one).unwrap();
    drop(asking.stdout.take());
    let output = asking.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stderr).unwrap()),
        (Some(0), String::new())
    );
    eventually("the answer's stop", || {
        let shown = profile.json(&["chats", "show", "last"]);
        (shown["messages"][1]["status"] == "stopped").then_some(())
    });
}

#[test]
fn ctrl_c_stops_an_answer_and_keeps_what_came() {
    let profile = Profile::new();
    profile.json(&["ask", "--max-tokens", "1", "Hello"]);
    let mut asking = profile
        .command(&["ask", "--max-tokens", "2000", "Write a long story."])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 10];
    asking.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    let pid = asking.id().to_string();
    signal(&pid, "INT");
    let output = asking.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let reply = profile.json(&["chats", "show", "last"])["messages"][1].clone();
    assert_eq!(reply["status"], "stopped", "{reply}");
    assert!(reply["text"].as_str().unwrap().len() >= 10, "{reply}");
}

#[test]
fn a_signal_to_the_engine_ends_answers_as_stopped() {
    let profile = Profile::new();
    // The one that getting the model has started.
    assert_eq!(profile.run(&["engine", "stop"]).code, 0);
    let mut engine = profile
        .command(&["engine", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 10];
    engine.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    let mut asking = profile
        .command(&["ask", "--max-tokens", "2000", "Write a long story."])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 10];
    asking.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    signal(&engine.id().to_string(), "TERM");
    assert!(engine.wait().unwrap().success());
    let output = asking.wait_with_output().unwrap();
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(!notes.contains("engine"), "the connection broke off: {notes}");
    let reply = profile.json(&["chats", "show", "last"])["messages"][1].clone();
    assert_eq!(reply["status"], "stopped", "{reply}");
}

#[test]
fn the_key_file_and_the_home_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let profile = Profile::with_models(&test_models());
    let ran = profile.run(&["chats", "list"]);
    assert!(
        ran.code == 0 && ran.stderr.contains("Made a new encrypted profile"),
        "{ran:?}"
    );
    assert!(
        !profile.run(&["chats", "list"]).stderr.contains("Made a new"),
        "said once"
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&profile.home()), 0o700);
    let keys = profile.scratch().join("config/hearth/keys");
    let key = std::fs::read_dir(&keys).unwrap().next().unwrap().unwrap().path();
    assert_eq!(mode(&key), 0o600);
}

#[test]
fn a_home_that_was_moved_finds_its_key() {
    let profile = Profile::new();
    profile.json(&["ask", "hello", "--max-tokens", "3"]);
    assert_eq!(profile.run(&["engine", "stop"]).code, 0);
    let (old, new) = (profile.home(), profile.scratch().join("elsewhere"));
    std::fs::rename(&old, &new).unwrap();
    let moved = profile.run(&[
        "--home",
        new.to_str().unwrap(),
        "--in-process",
        "chats",
        "list",
        "--json",
    ]);
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    assert_eq!(moved.value()["chats"].as_array().unwrap().len(), 1);
    // Wiping a copy must not take the key of the original with it.
    let wiped = profile.run(&[
        "--home",
        new.to_str().unwrap(),
        "--in-process",
        "profile",
        "wipe",
        "--yes",
    ]);
    assert_eq!(wiped.code, 0, "{}", wiped.stderr);
}

#[test]
fn wiping_takes_the_key_along() {
    let profile = Profile::new();
    profile.json(&["ask", "hello", "--max-tokens", "3"]);
    assert_eq!(profile.run(&["engine", "stop"]).code, 0);
    let keys = || walk(profile.scratch(), "key");
    assert_eq!(keys().len(), 2, "header and key file: {:?}", keys());
    assert_eq!(profile.run(&["--in-process", "profile", "wipe", "--yes"]).code, 0);
    assert!(keys().is_empty(), "{:?}", keys());
}

#[test]
fn what_was_mistyped_is_told_as_json_too() {
    let profile = Profile::new();
    let refused = profile.run(&["ask", "x", "--bogus", "--json"]);
    let error: Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!(
        (refused.code, &error["error"]["code"]),
        (2, &json!("invalid_request"))
    );
    let cold = profile.run(&["ask", "x", "--temperature", "-1"]);
    assert_eq!(cold.code, 2);
    assert!(cold.stderr.contains("must be from 0 to 2"), "{}", cold.stderr);
}

#[test]
fn json_that_was_cut_short_is_a_failure() {
    let profile = Profile::new();
    let schema = profile.scratch().join("schema.json");
    std::fs::write(
        &schema,
        r#"{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}"#,
    )
    .unwrap();
    let cut = profile.run(&[
        "ask",
        "x",
        "--schema",
        schema.to_str().unwrap(),
        "--max-tokens",
        "2",
        "--json",
    ]);
    assert_eq!((cut.code, &cut.value()["value"]), (1, &Value::Null));
    assert!(cut.stderr.contains("before its JSON was whole"), "{}", cut.stderr);
}

#[test]
fn a_bad_file_is_no_damage_to_the_profile() {
    let profile = Profile::new();
    let junk = profile.scratch().join("junk");
    std::fs::write(&junk, "no backup").unwrap();
    let pass = profile.scratch().join("pass");
    std::fs::write(&pass, "words").unwrap();
    let (junk, pass) = (junk.to_str().unwrap(), pass.to_str().unwrap());
    for arguments in [
        vec!["chats", "import", junk],
        vec!["profile", "restore", junk, "--backup-passphrase-file", pass],
    ] {
        let refused = profile.run(&arguments);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
        assert!(
            !refused.stderr.to_lowercase().contains("restore a backup"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn a_model_for_another_task_is_not_chosen() {
    let profile = Profile::new();
    for setting in [["chat_model", EMBEDDING_MODEL], ["embedding_model", CHAT_MODEL]] {
        let refused = profile.run(&["settings", "set", setting[0], setting[1]]);
        assert_eq!(refused.code, 2, "{}", refused.stderr);
    }
}

/// The files below `folder` whose name ends with `.` and `end`.
fn walk(folder: &Path, end: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut found: Vec<_> = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == end))
        .collect();
    found.extend(folders.iter().flat_map(|folder| walk(folder, end)));
    found
}
