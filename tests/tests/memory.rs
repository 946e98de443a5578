//! Long-term memory from outside: the real binary, the real small models, and the bytes on the disk.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};

use hearth_tests::hearth::{Profile, signal};
use hearth_tests::pages::{Opened, files_below, holds, holds_text};
use serde_json::{Value, json};

fn ids(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect()
}

/// The memories with this status whose text has these letters.
fn find(profile: &Profile, state: &str, text: &str) -> Vec<Value> {
    let listed = profile.json(&["memory", "list", "--state", state, "--text", text]);
    listed["memories"].as_array().unwrap().clone()
}

fn only(found: Vec<Value>) -> Value {
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

fn id(memory: &Value) -> &str {
    memory["id"].as_str().unwrap()
}

fn ask(profile: &Profile, text: &str) -> Value {
    profile.json(&["ask", "--temperature", "0", "--max-tokens", "40", text])
}

/// Five dated chats, in which two facts change.
const CHATS: &str = r#"{"chat":"January","turn":"1","speaker":"user","time":"2026-01-10T10:00:00Z","text":"Hello! I live in Paris. My dog is called Biscuit."}
{"chat":"January","turn":"2","speaker":"assistant","time":"2026-01-10T10:01:00Z","text":"Nice to meet you and Biscuit."}
{"chat":"February","turn":"1","speaker":"user","time":"2026-02-10T10:00:00Z","text":"I am allergic to peanuts."}
{"chat":"February","turn":"2","speaker":"assistant","time":"2026-02-10T10:01:00Z","text":"Good to know."}
{"chat":"March","turn":"1","speaker":"user","time":"2026-03-10T10:00:00Z","text":"I work as a nurse. I prefer trains to planes."}
{"chat":"April","turn":"1","speaker":"user","time":"2026-04-10T10:00:00Z","text":"I live in Lyon now."}
{"chat":"May","turn":"1","speaker":"user","time":"2026-05-10T10:00:00Z","text":"I work as a teacher now. I am not allergic to peanuts."}
"#;

#[test]
fn what_was_told_over_five_chats_is_used_corrected_and_forgotten() {
    let profile = Profile::new();
    let file = profile.scratch().join("chats.jsonl");
    std::fs::write(&file, CHATS).unwrap();
    let imported = profile.json(&["chats", "import", "--remember", file.to_str().unwrap()]);
    assert_eq!(
        (&imported["chats"], &imported["messages"]),
        (&json!(5), &json!(7))
    );
    let worked = profile.json(&["memory", "work", "--wait"]);
    assert_eq!(
        (&worked["mined"], &worked["failed"], &worked["jobs"]),
        (&json!(5), &json!(0), &json!(0)),
        "{worked}"
    );

    // What changed: the current fact holds, the old one is history with its end.
    let (lyon, paris) = (
        only(find(&profile, "active", "Lyon")),
        only(find(&profile, "superseded", "Paris")),
    );
    assert_eq!(paris["status"]["by"], lyon["id"]);
    assert_eq!(paris["valid_to_ms"], json!(1_775_815_200_000_i64), "{paris}");
    let teacher = only(find(&profile, "active", "teacher"));
    assert_eq!(
        only(find(&profile, "superseded", "nurse"))["status"]["by"],
        teacher["id"]
    );
    // An allergy is never overridden by inference: both are kept, and the person is asked.
    let allergy = find(&profile, "active", "peanuts");
    assert_eq!(allergy.len(), 1, "{allergy:?}");
    assert_eq!(
        (
            &allergy[0]["kind"],
            allergy[0]["text"].as_str().unwrap().contains("not")
        ),
        (&json!("constraint"), false)
    );
    let doubt = only(find(&profile, "review", "peanuts"));
    let question = profile.json(&["memory", "review"])["question"].clone();
    assert_eq!(
        (&question["memory"]["id"], &question["contradicts"]["id"]),
        (&doubt["id"], &allergy[0]["id"])
    );

    // Asked, the current fact stands before the model, and the answer says where it came from.
    let answer = ask(&profile, "Where do I live?");
    assert!(
        ids(&answer["memory"]["recalled"]).contains(&id(&lyon)),
        "{answer}"
    );
    let shown = profile.json(&["memory", "show", id(&lyon)]);
    assert_eq!(shown["memory"]["sources"][0]["chat_title"], "April");
    assert_eq!(
        shown["memory"]["sources"][0]["at_ms"],
        json!(1_775_815_200_000_i64)
    );
    assert_eq!(shown["earlier"][0]["id"], paris["id"]);
    // The old one answers "before".
    let before = ask(&profile, "Where did I live before?");
    assert!(
        ids(&before["memory"]["recalled"]).contains(&id(&paris)),
        "{before}"
    );
    let recalled = profile.json(&["recall", "Where did I live before?", "-k", "3"]);
    assert!(ids(&recalled["ids"]).contains(&id(&paris)), "{recalled}");
    assert!(recalled["embedding_model"].is_string());

    // "What do you know about me?" comes from the database, with sources.
    let known = ask(&profile, "What do you know about me?");
    let text = known["answer"].as_str().unwrap();
    for (part, source) in [("Lyon", "April"), ("peanuts", "February"), ("Biscuit", "January")] {
        let line = text
            .lines()
            .find(|line| line.contains(part))
            .unwrap_or_else(|| panic!("{part}: {text}"));
        assert!(line.contains(source), "{line}");
    }
    assert!(
        !text.contains("Paris"),
        "history is not what is known now: {text}"
    );

    // The biography is built of it, and forgets at once.
    let bio = || profile.json(&["memory", "bio"]).to_string();
    assert!(
        bio().contains("Biscuit") && bio().contains("peanuts"),
        "{}",
        bio()
    );
    let offered = profile.run(&["ask", "Forget my dog"]);
    assert_eq!(offered.code, 0, "{offered:?}");
    assert!(
        offered.stdout.contains("hearth memory erase --topic \"my dog\""),
        "{offered:?}"
    );
    assert!(
        offered.stderr.contains("Biscuit"),
        "the preview shows what would go: {offered:?}"
    );
    assert!(
        bio().contains("Biscuit"),
        "nothing is erased before it is confirmed"
    );
    let refused = profile.run(&["memory", "erase", "--topic", "my dog"]);
    assert_eq!(refused.code, 2, "without a terminal --yes is needed: {refused:?}");
    let receipt = profile.json(&["memory", "erase", "--topic", "my dog", "--yes"]);
    assert!(
        receipt["memories"].as_u64().unwrap() >= 1 && receipt["turns"].as_u64().unwrap() >= 1,
        "{receipt}"
    );
    assert_eq!(
        (&receipt["recounted"], &receipt["log_emptied"]),
        (&json!(true), &json!(true))
    );
    assert!(!bio().contains("Biscuit"), "{}", bio());
    assert!(find(&profile, "active", "Biscuit").is_empty());
    let everything = profile.run(&["chats", "export"]);
    assert!(!everything.stdout.contains("Biscuit"), "{everything:?}");
    // The rest stands.
    only(find(&profile, "active", "Lyon"));

    // The person's word settles it.
    let settled = profile.json(&["memory", "confirm", id(&doubt)]);
    assert_eq!(settled["superseded"], json!([allergy[0]["id"]]));
}

/// Ends the engine and waits until its log is emptied and gone.
fn stop(profile: &Profile) {
    profile.run(&["engine", "stop"]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while profile.home().join("hearth.db-wal").exists() {
        assert!(std::time::Instant::now() < deadline, "the engine didn't end");
        std::thread::yield_now();
    }
}

/// Everything of a profile: its files as they are, and its database decrypted.
fn everything(profile: &Profile) -> Vec<(String, Vec<u8>)> {
    let opened = Opened::of(&profile.home(), profile.scratch());
    let mut all = vec![("the database's pages".to_owned(), opened.pages())];
    for path in files_below(&profile.home()) {
        let log = path.ends_with("hearth.db-wal");
        let bytes = std::fs::read(&path).unwrap();
        // Encrypted, and so unreadable to the scan: it must be empty.
        assert!(
            !log || bytes.is_empty(),
            "the log was not emptied: {} bytes",
            bytes.len()
        );
        all.push((path.display().to_string(), bytes));
    }
    all
}

fn where_found(profile: &Profile, canary: &str) -> Vec<String> {
    let found = everything(profile)
        .into_iter()
        .filter(|(_, bytes)| holds_text(bytes, canary));
    found.map(|(name, _)| name).collect()
}

#[test]
fn nothing_of_an_erased_memory_is_left_in_any_byte_of_the_profile() {
    let profile = Profile::new();
    let canaries = [
        "zyxquokka",
        "wvutnarwhal",
        "srqpaxolotl",
        "onmlkakapo",
        "ihgftapir",
        "edcbdugong",
        "azbyibex",
    ];
    let [told, chatted, kept, imported, unremembered, stopped, long] = canaries;
    let stays = "jihgokapi";
    // A chat, a thing said to be remembered, a memory typed in, one that came in, one that was corrected.
    profile.json(&[
        "ask",
        "--max-tokens",
        "12",
        &format!("Remember that my dog is called {told}"),
    ]);
    profile.json(&[
        "ask",
        "--max-tokens",
        "24",
        &format!("My dog {chatted} barks. Say the name of my dog."),
    ]);
    let first = profile.json(&["memory", "add", &format!("My dog {kept} is brown")]);
    profile.json(&[
        "memory",
        "edit",
        id(&first["memory"]),
        &format!("My dog {kept} is black"),
    ]);
    let list = profile.scratch().join("list.json");
    std::fs::write(&list, json!([format!("Has a dog called {imported}")]).to_string()).unwrap();
    profile.json(&["memory", "import", list.to_str().unwrap()]);
    profile.json(&["memory", "add", "--pin", &format!("Lives near the {stays} house")]);
    // What recall leaves out: a chat without memory, an answer that was stopped, the end of a long one.
    let aside = format!("My dog {unremembered} sleeps. Say the name of my dog.");
    profile.json(&["ask", "--no-memory", "--max-tokens", "24", &aside]);
    stop_answering(
        &profile,
        &format!("My dog is called {stopped}. Tell me all about {stopped}."),
    );
    let filler: Vec<String> = (0..200).map(|number| format!("word{number}")).collect();
    let filler = filler.join(" ");
    let lines = [
        json!({"chat": "long", "turn": "1", "speaker": "user", "text": format!("My dog {long} is old.")}),
        json!({"chat": "long", "turn": "2", "speaker": "assistant", "text": format!("{filler} {long}")}),
    ];
    let chats = profile.scratch().join("long.jsonl");
    std::fs::write(&chats, lines.map(|line| line.to_string()).join("\n")).unwrap();
    profile.json(&["chats", "import", chats.to_str().unwrap()]);
    // Vectors, the biography, answers that repeat it, an export.
    profile.json(&["memory", "work"]);
    assert!(profile.json(&["memory", "bio"]).to_string().contains(kept));
    profile.json(&["ask", "--max-tokens", "24", "What is my dog called?"]);
    profile.json(&["ask", "What do you know about me?"]);
    let export = profile.scratch().join("export.json");
    profile.json(&["memory", "export", "-o", export.to_str().unwrap()]);
    profile.json(&["ask", "Forget my dog"]);

    // The scan finds them, so it works; stopping the engine brings all into the database.
    stop(&profile);
    for canary in canaries.into_iter().chain([stays]) {
        assert_eq!(
            where_found(&profile, canary),
            ["the database's pages"],
            "{canary}"
        );
    }
    let opened = Opened::of(&profile.home(), profile.scratch());
    let vectors = opened.blobs(
        "SELECT v.vector FROM memory_vector AS v JOIN memory AS m ON m.seq = v.item WHERE m.text LIKE '%dog%'
         UNION ALL SELECT v.vector FROM turn_vector AS v JOIN message AS m ON m.seq = v.item WHERE m.text LIKE '%dog%'",
    );
    assert!(vectors.len() >= 4, "{}", vectors.len());
    let pages = opened.pages();
    assert!(
        vectors.iter().all(|vector| holds(&pages, &vector[..64])),
        "the scan finds vectors"
    );
    drop(opened);

    let receipt = profile.json(&["memory", "erase", "--topic", "dog", "--yes"]);
    assert!(receipt["memories"].as_u64().unwrap() >= 4, "{receipt}");
    assert_eq!(
        (&receipt["recounted"], &receipt["log_emptied"]),
        (&json!(true), &json!(true)),
        "{receipt}"
    );
    // What was answered from the database names everything that is remembered: it goes by its words, like the rest.
    for (moment, ended) in [("at once", false), ("after the engine's end", true)] {
        if ended {
            stop(&profile);
        }
        for canary in canaries {
            assert_eq!(
                where_found(&profile, canary),
                Vec::<String>::new(),
                "{canary}, {moment}"
            );
        }
        let pages = Opened::of(&profile.home(), profile.scratch()).pages();
        for vector in &vectors {
            assert!(
                !vector.chunks(64).any(|part| holds(&pages, part)),
                "a vector is left {moment}"
            );
        }
    }
    assert!(
        !where_found(&profile, stays).is_empty(),
        "what was not asked for stays"
    );
    // Nor does it come back with what was written before.
    let written = std::fs::read_to_string(&export).unwrap();
    assert!(
        [told, kept, imported]
            .iter()
            .all(|canary| written.contains(canary)),
        "{written}"
    );
    let back = profile.json(&["memory", "import", export.to_str().unwrap()]);
    assert_eq!(back["added"], json!(0), "{back}");
    assert!(back["erased"].as_u64().unwrap() >= 3, "{back}");
    for canary in canaries {
        assert_eq!(
            where_found(&profile, canary),
            Vec::<String>::new(),
            "{canary}, after an import"
        );
    }

    // The receipt can be looked at again, and says nothing but identifiers and counts.
    let receipts = profile.json(&["memory", "receipts"]);
    assert_eq!(
        (&receipts["total"], &receipts["receipts"][0]),
        (&json!(1), &receipt)
    );
    let name = receipt["erasure"].as_str().unwrap();
    let shown = profile.json(&["memory", "receipts", &name[..6]]);
    assert_eq!(shown["receipt"], receipt);
    let gone = shown["erased_memories"].as_array().unwrap();
    assert_eq!(gone.len() as u64, receipt["memories"].as_u64().unwrap());
    assert!(gone.contains(&json!(id(&first["memory"]))), "{shown}");
    let listed = profile.run(&["memory", "receipts"]);
    assert!(listed.stdout.contains(&name[..8]), "{listed:?}");
}

/// Asks something, and stops the answer at its first word; asks again where the answer was over by itself before.
fn stop_answering(profile: &Profile, text: &str) {
    for _ in 0..20 {
        let mut command = profile.command(&["ask", "--max-tokens", "400", text]);
        let mut asking = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut first = [0];
        asking.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        signal(&asking.id().to_string(), "INT");
        asking.wait().unwrap();
        let listed = profile.json(&["chats", "list"]);
        let chat = listed["chats"][0]["id"].as_str().unwrap().to_owned();
        let shown = profile.json(&["chats", "show", &chat]);
        match shown["messages"][1]["status"].as_str() {
            Some("stopped") => return,
            status => assert_eq!(status, Some("complete"), "{shown}"),
        }
    }
    panic!("every answer was over before it could be stopped");
}

#[test]
fn a_chat_is_erased_with_what_other_chats_say_of_it() {
    let profile = Profile::new();
    let canaries = ["zyxquokka", "wvutnarwhal"];
    let [told, near] = canaries;
    let first = profile.json(&[
        "ask",
        &format!("Remember that my uncle {told} likes long walks beside the river"),
    ]);
    profile.json(&[
        "ask",
        &format!("Remember that my aunt {near} hates the noise of big cities"),
    ]);
    // It comes from the database, word by word.
    let known = profile.json(&["ask", "What do you know about me?"]);
    assert!(known["answer"].as_str().unwrap().contains(told), "{known}");
    profile.json(&["memory", "work"]);
    stop(&profile);
    assert_eq!(where_found(&profile, told), ["the database's pages"]);
    let chat = first["chat"].as_str().unwrap();
    let preview = profile.json(&["memory", "erase", "--chat", chat, "--preview"]);
    assert_eq!(preview["turns"][0]["why"], "answer", "{preview}");
    let receipt = profile.json(&["memory", "erase", "--chat", chat, "--yes"]);
    assert_eq!(
        (&receipt["recounted"], &receipt["log_emptied"], &receipt["chats"]),
        (&json!(true), &json!(true), &json!(1)),
        "{receipt}"
    );
    assert_eq!(where_found(&profile, told), Vec::<String>::new());
    stop(&profile);
    assert_eq!(where_found(&profile, told), Vec::<String>::new());
    assert!(
        !where_found(&profile, near).is_empty(),
        "what came from another chat stays"
    );
}

#[test]
fn what_says_nearly_the_same_goes_with_its_messages_when_it_is_taken() {
    let profile = Profile::new();
    let canary = "zyxquokka";
    for uncle in ["Bob", "Tom"] {
        let said = format!("my uncle {uncle} {canary} likes very long walks beside the cold wide river");
        profile.json(&["ask", &format!("Remember that {said}")]);
    }
    profile.json(&["memory", "work"]);
    let listed = profile.json(&["memory", "list"]);
    assert_eq!(listed["total"], json!(2), "{listed}");
    let (asked, other) = (id(&listed["memories"][0]), id(&listed["memories"][1]));
    let preview = profile.json(&["memory", "erase", asked, "--preview"]);
    let near = &preview["memories"][1];
    assert_eq!(
        (id(&near["memory"]), &near["why"], &near["ticked"]),
        (other, &json!("duplicate"), &json!(false)),
        "{preview}"
    );
    let receipt = profile.json(&["memory", "erase", asked, "--take", other, "--yes"]);
    assert_eq!(receipt["memories"], json!(2), "{receipt}");
    stop(&profile);
    assert_eq!(where_found(&profile, canary), Vec::<String>::new());
}

#[test]
fn the_log_of_a_failure_says_nothing_of_what_was_said() {
    let profile = Profile::new();
    let canary = "zyxquokka";
    // The next engine writes all that it can.
    stop(&profile);
    let run = |arguments: &[&str], input: &[u8]| {
        let mut command = profile.command(arguments);
        command.env("HEARTH_LOG", "trace");
        let mut child = command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // One that fails early reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input);
        assert!(!child.wait().unwrap().success(), "{:?}", &arguments[..2]);
    };
    // A fact that is too long, a list and chats that are damaged, a question that no window holds, a missing model.
    run(
        &[
            "memory",
            "add",
            &format!("My dog {canary} {}", "x".repeat(17_000)),
        ],
        b"",
    );
    run(
        &["memory", "import", "-"],
        format!("[\"my dog {canary}\", 3]").as_bytes(),
    );
    run(
        &["chats", "import", "-"],
        format!("{{\"chat\": \"{canary}\"}}").as_bytes(),
    );
    run(&["ask", &format!("{canary} {}", "long ".repeat(20_000))], b"");
    run(&["ask", "--model", &format!("no-{canary}"), "hi"], b"");
    let logs = files_below(&profile.home().join("logs"));
    assert!(!logs.is_empty(), "there is a log");
    let written: Vec<u8> = logs
        .iter()
        .flat_map(|path| std::fs::read(path).unwrap())
        .collect();
    assert!(!written.is_empty(), "the engine wrote to it");
    assert!(
        !holds_text(&written, canary),
        "{}",
        String::from_utf8_lossy(&written)
    );
}

#[test]
fn the_command_line_says_what_is_wrong_with_what_was_typed() {
    let profile = Profile::new();
    let run = |arguments: &[&str]| profile.run(arguments);
    for (arguments, code) in [
        (&["memory", "add", ""][..], 2),
        (&["memory", "add"], 2),
        (&["memory", "add", "--from", "someday", "x"], 2),
        (&["memory", "show", "00000000000000000000000000000001"], 3),
        (&["memory", "show", "abcd"], 3),
        (&["memory", "show", "no"], 2),
        (&["memory", "erase"], 2),
        (&["memory", "erase", "--topic", "nothing at all", "--yes"], 3),
        (&["memory", "import", "/nowhere"], 3),
        (&["recall"], 2),
        (&["recall", "x", "-k", "0"], 2),
        (&["recall", "--queries", "/nowhere"], 3),
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
    }
    let file = profile.scratch().join("bad.jsonl");
    let long = format!(
        r#"{{"chat":"c","turn":"2","speaker":"user","text":"{}"}}"#,
        "x".repeat(100_000)
    );
    let lines = [
        r#"{"chat":"c","turn":"1","speaker":"user","text":"fine"}"#.to_owned(),
        long,
        r#"{"chat":"c","turn":"1","speaker":"user","text":"again"}"#.to_owned(),
        "nonsense".to_owned(),
        r#"{"chat":"c","turn":"3","speaker":"user","time":"yesterday","text":"x"}"#.to_owned(),
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let ran = run(&["chats", "import", file.to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{ran:?}");
    for number in [3, 4, 5] {
        assert!(ran.stderr.contains(&format!("line {number}: ")), "{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("line 2: "), "{}", ran.stderr);
    assert_eq!(profile.json(&["chats", "list"])["chats"], json!([]));

    let kept = profile.json(&["memory", "add", "I prefer trains to planes"]);
    assert_eq!(kept["memory"]["kind"], "preference");
    let short = &id(&kept["memory"])[..6];
    assert_eq!(profile.json(&["memory", "pin", short])["pinned"], json!(true));
    assert_eq!(
        profile.json(&["memory", "show", short])["memory"]["id"],
        kept["memory"]["id"]
    );
    let stats = profile.json(&["memory", "stats"]);
    assert_eq!(
        (&stats["memories"], &stats["paused"], &stats["extraction"]),
        (&json!(1), &json!(false), &json!(true))
    );

    let queries = profile.scratch().join("queries.jsonl");
    std::fs::write(
        &queries,
        "{\"id\": 7, \"query\": \"How do I like to travel?\"}\nplanes\n",
    )
    .unwrap();
    let ran = run(&[
        "recall",
        "--queries",
        queries.to_str().unwrap(),
        "--over",
        "all",
        "-k",
        "3",
    ]);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert_eq!(
        (&lines[0]["id"], &lines[0]["ids"][0]),
        (&json!(7), &kept["memory"]["id"])
    );
    assert_eq!(lines[0]["hits"][0]["source"], "memory");
    assert!(lines[0]["hits"][0]["score"].as_f64().unwrap() > 0.0);
    std::fs::write(&queries, "{\"id\": 7}\n").unwrap();
    assert_eq!(run(&["recall", "--queries", queries.to_str().unwrap()]).code, 2);
}
