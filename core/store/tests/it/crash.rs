//! A child process that is killed in the middle of its writing.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use hearth_store::{FinishedMessage, MessageStatus, Role, Store};
use serde_json::Value;

use crate::kit::{PASSPHRASE, Profile, chat, new_message, options, say, words};

/// Not a test but the child: writes without end to the profile whose folder it reads from its input, and says after
/// each step what the store has acknowledged.
#[test]
#[ignore = "the child process of the other tests"]
fn child_that_writes() {
    let mut line = String::new();
    stdin().read_line(&mut line).unwrap();
    let dir = PathBuf::from(line.trim());
    let mut store = Store::open_with(&dir, &words(PASSPHRASE), &options()).unwrap();
    let id = chat(&mut store, "in the child").id;
    let mut out = stdout();
    let mut parent = None;
    for number in 0.. {
        let ask = say(&mut store, id, parent, Role::User, &format!("question {number}"));
        writeln!(out, "ack {} question {number}", ask.id).unwrap();
        let mut new = new_message(id, Some(ask.id), Role::Assistant, "");
        new.status = MessageStatus::Streaming;
        let reply = store.append_message(new).unwrap();
        let mut text = String::new();
        for token in 0..20 {
            text += &format!("token {token} of answer {number}; ");
            store.update_streaming(reply.id, &text, "", number).unwrap();
            writeln!(out, "grown {} {text}", reply.id).unwrap();
        }
        let finished = FinishedMessage {
            text: text.clone(),
            reasoning: String::new(),
            status: MessageStatus::Complete,
            metadata: Value::Null,
            finished_at_ms: number,
        };
        store.finish_message(reply.id, finished).unwrap();
        writeln!(out, "ack {} {text}", reply.id).unwrap();
        parent = Some(reply.id);
    }
}

fn spawn(profile: &Profile) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::child_that_writes", "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", profile.dir.display()).unwrap();
    child
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let profile = Profile::new();
    drop(profile.create());
    for lines in [1, 7, 24, 60, 333] {
        let mut child = spawn(&profile);
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut seen: Vec<String> = Vec::new();
        for line in output.lines() {
            let line = line.unwrap();
            // The test harness prints its own words before, even on the same line.
            let start = ["ack ", "grown "].iter().find_map(|word| line.find(word));
            seen.extend(start.map(|start| line[start..].to_owned()));
            if seen.len() == lines {
                // SIGKILL on Unix: no destructor, no flush.
                child.kill().unwrap();
                break;
            }
        }
        child.wait().unwrap();
        let store = profile.open();
        store.verify().unwrap();
        let mut last = None;
        for line in &seen {
            let mut words = line.splitn(3, ' ');
            let kind = words.next().unwrap();
            let message = store.message(words.next().unwrap().parse().unwrap()).unwrap();
            let text = words.next().unwrap();
            assert!(message.text.starts_with(text.trim_end()), "{line}");
            assert_ne!(message.status, MessageStatus::Streaming);
            if kind == "ack" {
                assert_eq!(message.status, MessageStatus::Complete);
            }
            last = Some(message);
        }
        // What was cut short is still found.
        let last = last.unwrap();
        let query = hearth_store::SearchQuery {
            text: last.text,
            limit: 1000,
            chat: Some(last.chat),
        };
        assert!(
            store
                .search(&query)
                .unwrap()
                .iter()
                .any(|hit| hit.message == last.id)
        );
    }
}
