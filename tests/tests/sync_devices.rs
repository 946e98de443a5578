//! Two devices in daily use: pairing by the QR code's text, a word in a chat, and things that don't fit one envelope.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use hearth_tests::device::{Device, LIMIT, converged, eventually};
use hearth_tests::dice::Dice;
use hearth_tests::hearth::Profile;
use hearth_tests::sync_server::{Dialogue, SyncServer, agree};

fn pair_by_scan(old: &Profile, new: &Profile, address: &str) {
    let image = new.scratch().join("code.png");
    let mut pair = vec!["devices", "pair", "--server", address, "--name", "scanned"];
    pair.extend(["--image", image.to_str().unwrap()]);
    let mut joining = Dialogue::start(new, &pair);
    let code = joining.event("code");
    assert!(code["svg"].as_str().unwrap().starts_with("<svg "), "{code}");
    let text = code["scan"].as_str().unwrap().to_owned();
    assert!(text.starts_with("HEARTH:"), "{text}");
    let drawn = code["qr"].as_str().unwrap();
    let (rows, columns) = (
        drawn.lines().count(),
        drawn.lines().next().unwrap().chars().count(),
    );
    // Two rows of squares in each line of text.
    assert!(
        (columns / 2 - 1..=columns / 2 + 1).contains(&rows),
        "{rows} × {columns}:\n{drawn}"
    );
    let drawn = eventually("the image is written", || {
        std::fs::read(&image).ok().filter(|bytes| !bytes.is_empty())
    });
    assert!(drawn.starts_with(b"\x89PNG"));
    let status = agree(Dialogue::start(old, &["devices", "approve", &text]), joining);
    assert!(!image.exists(), "the code is of no use any more");
    assert_eq!(status["devices"].as_array().unwrap().len(), 2, "{status}");
}

#[test]
fn remember_that_in_a_chat_is_on_the_other_device_before_the_answer_ends() {
    let server = SyncServer::start();
    let talking = Profile::new();
    talking.json(&[
        "account",
        "create",
        "--server",
        &server.address,
        "--name",
        "talking",
    ]);
    let other = Device::new();
    other.profile.json(&["status"]);
    other.start();
    pair_by_scan(&talking, &other.profile, &server.address);
    let mut watch = Dialogue::start(&other.profile, &["sync", "watch"]);
    assert_eq!(watch.line()["state"], "live");
    let file = talking.scratch().join("answer");
    let said = Instant::now();
    let output = std::fs::File::create(&file).unwrap();
    let mut asking = talking
        .command(&[
            "ask",
            "--max-tokens",
            "200",
            "Remember that my canoe is called Platypus.",
        ])
        .stdout(output)
        .spawn()
        .unwrap();
    // The word is kept before the answer is made.
    let found = loop {
        watch.event("sync_applied");
        if let Some(found) = other.find("Platypus") {
            break found;
        }
        assert!(said.elapsed() < LIMIT);
    };
    // How long is for a machine that does nothing else: 0.46 s there, the command's start included.
    let took = said.elapsed();
    println!("said on one device and kept on the other within {took:?}");
    assert_eq!(found["status"]["state"], "active");
    asking.wait().unwrap();
    eventually("the chat and its answer are there as well", || {
        let chats = serde_json::to_string(&other.chats()).unwrap();
        let answer = std::fs::read_to_string(&file).unwrap();
        let answer = answer.lines().next().unwrap_or_default().trim().to_owned();
        let answer = serde_json::to_string(&answer).unwrap();
        (chats.contains("my canoe is called") && chats.contains(answer.trim_matches('"'))).then_some(())
    });
}

#[test]
fn a_message_of_megabytes_goes_in_pieces_is_changed_and_is_erased() {
    let server = SyncServer::start();
    let (devices, _) = Device::account(2, &server.address);
    let [a, b] = &devices[..] else {
        panic!("two devices")
    };
    let mut dice = Dice::new(17);
    let mut text = String::from("cockatiel ");
    while text.len() < 3 << 20 {
        text += &dice.word(11);
        text.push(' ');
    }
    let file = a.profile.scratch().join("long.jsonl");
    let line = serde_json::json!({"role": "user", "content": text.trim()}).to_string();
    std::fs::write(
        &file,
        line + "\n{\"role\":\"assistant\",\"content\":\"That was long.\"}\n",
    )
    .unwrap();
    a.profile.json(&["chats", "import", file.to_str().unwrap()]);
    converged(&devices, LIMIT);
    let chats = b.chats();
    let (id, chat) = chats.iter().next().unwrap();
    assert_eq!(
        chat["messages"][0]["text"].as_str().unwrap().len(),
        text.trim().len()
    );
    b.profile.json(&["chats", "rename", id, "A long one"]);
    eventually("the new name is there", || {
        (a.chats().values().next()?["title"] == "A long one").then_some(())
    });
    b.profile.json(&["erase", "--everywhere", "--chat", id, "--yes"]);
    converged(&devices, LIMIT);
    assert!(a.chats().is_empty() && b.chats().is_empty());
    let size: u64 = hearth_tests::pages::files_below(&server.data())
        .iter()
        .filter(|file| !file.ends_with("reserve"))
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!(size < 3 << 20, "the server still has {size} bytes");
}
