//! Rough edges of long-term memory, as a person at a terminal and a program over HTTP meet them.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use hearth_tests::hearth::{EMBEDDING_MODEL, Profile, Server, test_models};
use hearth_tests::sync_server::{Dialogue, SyncServer};
use serde_json::{Value, json};

/// A profile with the model that embeds alone.
fn profile() -> Profile {
    let profile = Profile::with_models(&test_models());
    assert_eq!(profile.run(&["models", "pull", EMBEDDING_MODEL]).code, 0);
    profile
}

fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    request(server, "POST", path, &body.to_string())
}

fn request(server: &Server, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        server.token,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn id(kept: &Value) -> &str {
    kept["memory"]["id"].as_str().unwrap()
}

#[test]
fn what_is_added_while_memory_is_paused_is_kept_and_says_so() {
    let profile = profile();
    let kept = profile.json(&["memory", "add", "I live in Lyon"]);
    assert_eq!(kept["paused"], json!(false));
    profile.run(&["memory", "pause"]);
    let ran = profile.run(&["memory", "add", "My dog is called Rex"]);
    assert!(ran.code == 0 && ran.stdout.starts_with("Kept: "), "{ran:?}");
    assert!(
        ran.stderr.contains("Memory is paused") && ran.stderr.contains("you asked"),
        "{ran:?}"
    );
    let server = profile.serve();
    let (status, kept) = post(&server, "/memory/add", &json!({"text": "My cat is called Tom"}));
    assert_eq!((status, &kept["paused"]), (200, &json!(true)), "{kept}");
    drop(server);
    assert_eq!(profile.json(&["memory", "list"])["total"], json!(3));
}

#[test]
fn questions_and_limits_that_ask_for_nothing_are_refused() {
    let profile = profile();
    profile.json(&["memory", "add", "I live in Lyon"]);
    let file = profile.scratch().join("questions");
    for (content, said) in [
        ("", "no question"),
        ("\n\n", "no question"),
        ("{\"query\": \" \"}\n", "line 1"),
        ("Lyon\n\"\"\n", "line 2"),
    ] {
        std::fs::write(&file, content).unwrap();
        let ran = profile.run(&["recall", "--queries", file.to_str().unwrap()]);
        assert!(
            ran.code == 2 && ran.stdout.is_empty() && ran.stderr.to_lowercase().contains(said),
            "{content:?}: {ran:?}"
        );
    }
    for arguments in [&["recall", ""][..], &["recall", " "], &["memory", "search", ""]] {
        let ran = profile.run(arguments);
        assert!(
            ran.code == 2 && ran.stderr.to_lowercase().contains("question is empty"),
            "{arguments:?}: {ran:?}"
        );
        let ran = profile.run(&[arguments, &["--json"]].concat());
        let error: Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(
            (ran.code, &error["error"]["code"]),
            (2, &json!("invalid_request")),
            "{ran:?}"
        );
    }
    for limit in ["0", "1001"] {
        for arguments in [
            &["memory", "list"][..],
            &["memory", "receipts"],
            &["memory", "search", "x"],
            &["recall", "x"],
        ] {
            let ran = profile.run(&[arguments, &["--limit", limit]].concat());
            assert!(
                ran.code == 2 && ran.stderr.contains("from 1 to 1000"),
                "{arguments:?} {limit}: {ran:?}"
            );
        }
    }
    let server = profile.serve();
    for (path, body) in [
        ("/recall", json!({"query": ""})),
        ("/recall", json!({"query": " ", "previous": ["Lyon"]})),
        ("/memory/search", json!({"text": ""})),
        ("/memory/list", json!({"limit": 0})),
        ("/memory/receipts", json!({"limit": 1001})),
    ] {
        let (status, answer) = post(&server, path, &body);
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("invalid_value")),
            "{path} {body}: {answer}"
        );
    }
    assert_eq!(request(&server, "GET", "/memory?limit=0", "").0, 400);
}

#[test]
fn a_preview_names_pins_and_quotes_whole_characters() {
    let profile = profile();
    let kept = profile.json(&["memory", "add", "--pin", "My dog is called Rex"]);
    let family = "👨\u{200d}👩\u{200d}👧\u{200d}👦";
    let long = format!("My dog \"Rex\"\n\tand {}", family.repeat(100));
    let line = json!({"chat": "c", "turn": "1", "speaker": "user", "text": long});
    let file = profile.scratch().join("chats.jsonl");
    std::fs::write(&file, line.to_string()).unwrap();
    profile.json(&["chats", "import", file.to_str().unwrap()]);
    let preview = profile.run(&["memory", "erase", "--topic", "dog", "--preview"]);
    assert!(
        preview.stderr.contains("(pinned) My dog is called Rex"),
        "{preview:?}"
    );
    let start = "My dog \"Rex\" and ";
    let quoted = format!(": {start}{}…\n", family.repeat(80 - start.len()));
    assert!(preview.stderr.contains(&quoted), "{preview:?}");
    let json = profile.json(&["memory", "erase", "--topic", "dog", "--preview"]);
    assert_eq!(json["memories"][0]["memory"]["pinned"], json!(true));
    let erased = profile.run(&["memory", "erase", id(&kept), "--yes"]);
    assert!(
        erased.code == 0 && erased.stderr.contains("was pinned"),
        "{erased:?}"
    );
}

#[test]
fn plain_lines_of_roles_and_contents_are_one_chat() {
    let profile = profile();
    let file = profile.scratch().join("plain.jsonl");
    let path = file.to_str().unwrap();
    std::fs::write(
        &file,
        "{\"role\": \"user\", \"content\": \"Where is Lyon?\"}\n{\"role\": \"assistant\", \"content\": \"In France.\"}\n",
    )
    .unwrap();
    for (chats, already) in [(1, 0), (0, 1)] {
        let imported = profile.json(&["chats", "import", path]);
        assert_eq!(
            (&imported["chats"], &imported["skipped_chats"]),
            (&json!(chats), &json!(already)),
            "{imported}"
        );
    }
    let shown = profile.json(&["chats", "show", "last"]);
    assert_eq!(shown["chat"]["title"], "Where is Lyon?");
    let said: Vec<_> = shown["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["text"].as_str().unwrap())
        .collect();
    assert_eq!(said, ["Where is Lyon?", "In France."]);
    std::fs::write(&file, "{\"role\": \"user\", \"content\": 3}\n").unwrap();
    let ran = profile.run(&["chats", "import", path]);
    assert!(
        ran.code == 2 && ran.stderr.contains("{\"role\": \"user\", \"content\": \"…\"}"),
        "{ran:?}"
    );
    let help = profile.run(&["chats", "import", "--help"]);
    assert!(
        help.stdout.contains("{\"role\": \"user\", \"content\": \"…\"}"),
        "{help:?}"
    );
}

#[test]
fn names_that_differ_by_a_letter_are_two() {
    let profile = profile();
    for (first, second) in [
        ("My dog is called quokkaon", "My dog is called quokkaun"),
        ("quokkaon barks at night", "quokkaun barks at night"),
        ("My sister is called Ine", "My sister is called Ines"),
    ] {
        profile.json(&["memory", "add", first]);
        assert_eq!(
            profile.json(&["memory", "add", second])["known"],
            json!(false),
            "{first} / {second}"
        );
    }
}

#[test]
fn who_only_looks_alike_is_not_replaced() {
    let profile = profile();
    for name in ["quokkaon", "quokkaun"] {
        profile.json(&["memory", "add", &format!("{name} barks at night")]);
    }
    assert_eq!(
        profile.json(&["memory", "list", "--state", "active"])["total"],
        json!(2)
    );
}

#[test]
fn a_confirmation_settles_what_the_memory_contradicts() {
    for which in [0, 1] {
        let profile = profile();
        let first = profile.json(&["memory", "add", "--kind", "constraint", "I am allergic to nuts"]);
        let second = profile.json(&[
            "memory",
            "add",
            "I had a test and it turns out I tolerate nuts fine",
        ]);
        assert_eq!(second["contradicts"], json!([first["memory"]["id"]]), "{second}");
        let (right, wrong) = if which == 0 {
            (&first, &second)
        } else {
            (&second, &first)
        };
        let ran = profile.run(&["memory", "confirm", id(right)]);
        assert!(
            ran.code == 0 && ran.stderr.contains("History now: "),
            "{which}: {ran:?}"
        );
        let settled = profile.json(&["memory", "show", id(wrong)]);
        assert_eq!(
            settled["memory"]["status"],
            json!({"state": "superseded", "by": right["memory"]["id"]})
        );
        assert_eq!(
            profile.json(&["memory", "list", "--state", "review"])["total"],
            json!(0)
        );
        assert_eq!(profile.json(&["memory", "review"])["question"], Value::Null);
    }
}

#[test]
fn a_chat_takes_its_memory_switch_along() {
    let (here, there) = (profile(), profile());
    let file = here.scratch().join("lines.jsonl");
    let line = |chat: &str| json!({"chat": chat, "turn": "1", "speaker": "user", "text": format!("I live in Lyon, {chat}")});
    std::fs::write(&file, format!("{}\n{}\n", line("open"), line("shut"))).unwrap();
    here.json(&["chats", "import", file.to_str().unwrap()]);
    let listed = here.json(&["chats", "list"]);
    let chats = listed["chats"].as_array().unwrap();
    let shut = chats.iter().find(|chat| chat["title"] == "shut").unwrap()["id"]
        .as_str()
        .unwrap();
    here.json(&["chats", "memory", shut, "off"]);
    let export = here.scratch().join("export.json");
    here.json(&["chats", "export", "-o", export.to_str().unwrap()]);
    let remembered = |profile: &Profile| {
        let chats = profile.json(&["chats", "list"])["chats"]
            .as_array()
            .unwrap()
            .clone();
        let mut all: Vec<(String, bool)> = chats
            .iter()
            .map(|chat| {
                (
                    chat["title"].as_str().unwrap().to_owned(),
                    chat["memory"].as_bool().unwrap(),
                )
            })
            .collect();
        all.sort();
        all
    };
    there.json(&["chats", "import", "--remember", export.to_str().unwrap()]);
    assert_eq!(
        remembered(&there),
        [("open".to_owned(), true), ("shut".to_owned(), false)]
    );
    let found = there.json(&["recall", "Lyon", "--over", "turns"]).to_string();
    assert!(
        found.contains("Lyon, open") && !found.contains("Lyon, shut"),
        "{found}"
    );
    // A document of the version before says nothing of it; one of a later version is refused.
    let document: Value = serde_json::from_str(&std::fs::read_to_string(&export).unwrap()).unwrap();
    let mut older = document.clone();
    older["version"] = json!(1);
    for chat in older["chats"].as_array_mut().unwrap() {
        chat.as_object_mut().unwrap().remove("memory");
    }
    let old = profile();
    std::fs::write(&export, older.to_string()).unwrap();
    old.json(&["chats", "import", export.to_str().unwrap()]);
    assert!(remembered(&old).iter().all(|(_, memory)| *memory));
    let mut later = document;
    later["version"] = json!(3);
    std::fs::write(&export, later.to_string()).unwrap();
    let refused = old.run(&["chats", "import", export.to_str().unwrap()]);
    assert!(
        refused.code != 0 && refused.stderr.contains("version 3"),
        "{refused:?}"
    );
}

#[test]
fn an_export_that_an_erasure_overtakes_says_so() {
    let profile = profile();
    let canary = "zyxquokka";
    let filler = "lorem ipsum ".repeat(20_000);
    let mut lines = String::new();
    for turn in 0..20 {
        let text = format!("{canary} {turn} {filler}");
        lines += &json!({"chat": "c", "turn": turn.to_string(), "speaker": "user", "text": text}).to_string();
        lines.push('\n');
    }
    let file = profile.scratch().join("long.jsonl");
    std::fs::write(&file, lines).unwrap();
    profile.json(&["chats", "import", file.to_str().unwrap()]);
    let server = profile.serve();
    let mut command = profile.command(&["chats", "export"]);
    let mut writing = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = writing.stdout.take().unwrap();
    // It has begun, and waits until somebody reads on.
    let mut first = [0];
    out.read_exact(&mut first).unwrap();
    let receipt = profile.json(&["memory", "erase", "--topic", canary, "--yes"]);
    assert_eq!(receipt["turns"], json!(20), "{receipt}");
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    let ended = writing.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        !ended.status.success() && said.contains("erased while this was written"),
        "{:?}: {said}",
        ended.status
    );
    drop(server);
    let again = profile.run(&["chats", "export"]);
    assert!(again.code == 0 && !again.stdout.contains(canary));
}

/// What one person said of themselves, one fact a line.
const FACTS: [&str; 32] = [
    "My car is a red Skoda",
    "My favourite colour is green",
    "I am allergic to peanuts",
    "I prefer trains to planes",
    "I live in Lyon",
    "I work as a physiotherapist",
    "My sister Clara lives in Ghent",
    "My brother Jonas is a pilot",
    "My dog is called Biscuit",
    "My cat Minou is black",
    "I play the cello on Thursdays",
    "I run five kilometres every morning",
    "I drink my coffee without sugar",
    "I don't eat meat",
    "My birthday is on 14 March",
    "My wife is called Ines",
    "Our daughter Lea is six years old",
    "My bike has a flat tyre",
    "I speak French, Dutch and a little Japanese",
    "My flat is on the third floor",
    "I have an appointment with the dentist on Friday",
    "My mother was born in Porto",
    "I take 10 mg of lisinopril in the morning",
    "My phone is a Fairphone",
    "I like crime novels",
    "I prefer short answers",
    "My boss is called Katrin",
    "I support Olympique Lyonnais",
    "We are going to Iceland in July",
    "I keep the spare key under the blue pot",
    "I am learning to bake bread",
    "My gym membership costs 40 euros a month",
];

/// Questions, each with words of the fact that answers it.
const QUESTIONS: [(&str, &str); 30] = [
    ("what colour is my car", "My car is"),
    ("what is my favourite colour", "My favourite colour"),
    ("what am I allergic to", "allergic"),
    ("how do I like to travel", "trains"),
    ("where do I live", "I live in"),
    ("what is my job", "physio"),
    ("where does my sister live", "sister"),
    ("what does my brother do", "brother"),
    ("what is my dog called", "dog"),
    ("what colour is my cat", "cat"),
    ("which instrument do I play", "cello"),
    ("how far do I run", "run five"),
    ("how do I take my coffee", "coffee"),
    ("can I eat a steak", "meat"),
    ("when is my birthday", "birthday"),
    ("what is my wife's name", "wife"),
    ("how old is my daughter", "daughter"),
    ("what is wrong with my bike", "bike"),
    ("which languages do I speak", "French, Dutch"),
    ("which floor do I live on", "floor"),
    ("when do I see the dentist", "dentist"),
    ("where was my mother born", "mother"),
    ("what medicine do I take", "lisinopril"),
    ("what phone do I have", "Fairphone"),
    ("what kind of books do I like", "crime"),
    ("who is my boss", "boss"),
    ("which football club do I support", "Olympique"),
    ("where are we going on holiday", "Iceland"),
    ("where is the spare key", "spare key"),
    ("how much is my gym", "gym"),
];

/// Two of these once found the favourite colour, as every question that asks for no past counted as a wish for advice.
#[test]
fn everyday_questions_find_their_fact_first() {
    let profile = profile();
    for fact in FACTS {
        profile.json(&["memory", "add", fact]);
    }
    profile.json(&["memory", "work"]);
    let file = profile.scratch().join("questions");
    std::fs::write(&file, QUESTIONS.map(|(question, _)| question).join("\n")).unwrap();
    let ran = profile.run(&["recall", "--queries", file.to_str().unwrap(), "-k", "1"]);
    let first = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["hits"][0]["text"].to_string());
    let wrong: Vec<String> = QUESTIONS
        .iter()
        .zip(first)
        .filter(|((_, wanted), found)| !found.contains(wanted))
        .map(|((question, _), found)| format!("{question} {found}"))
        .collect();
    assert!(wrong.len() <= 1, "{wrong:#?}");
}

#[test]
fn what_takes_much_from_every_device_can_be_taken_back_whatever_asks_for_it() {
    let (sync, profile) = (SyncServer::start(), Profile::new());
    let turns: Vec<String> = (0..21)
        .map(|chat| {
            json!({"chat": chat.to_string(), "turn": "1", "speaker": "user", "text": "Hello."}).to_string()
        })
        .collect();
    let file = profile.scratch().join("chats.jsonl");
    std::fs::write(&file, turns.join("\n")).unwrap();
    profile.json(&["chats", "import", file.to_str().unwrap()]);
    profile.json(&["account", "create", "--server", &sync.address]);
    let chats = || {
        profile.json(&["chats", "list"])["chats"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(chats(), 21);

    let server = profile.serve();
    let everything = json!({"scope": {"what": "all"}, "confirm": true});
    let (status, refused) = post(&server, "/memory/erase", &everything);
    assert_eq!(status, 400, "{refused}");
    assert!(refused.to_string().contains("erase_everywhere"), "{refused}");
    let mut deleting = Dialogue::start(&profile, &["chats", "delete", "--all", "--yes"]);
    let note = deleting.note();
    assert!(note.contains("Nothing is erased yet"), "{note}");
    assert_eq!(deleting.interrupt(), Some(130));
    assert_eq!(chats(), 21);

    // A few go at once.
    let first = profile.json(&["chats", "list"])["chats"][0]["id"].clone();
    let deleted = profile.json(&["chats", "delete", first.as_str().unwrap(), "--yes"]);
    assert_eq!((&deleted["chats"], chats()), (&json!(1), 20));
}
