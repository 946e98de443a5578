//! Two homes and a server, all real processes: what one device knows the other does, and what one erases nobody has.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use hearth_tests::hearth::Profile;
use hearth_tests::pages::{Opened, files_below, holds_inflated, holds_text};
use hearth_tests::sync_server::{Dialogue, SyncServer, pair};
use serde_json::{Value, json};

const CANARY: &str = "quokkafestival";

fn find(profile: &Profile, text: &str) -> Option<Value> {
    let listed = profile.json(&["memory", "list", "--text", text]);
    listed["memories"].as_array().unwrap().first().cloned()
}

/// Asks until something is there: each try of it takes as long as a process; at most half a minute.
fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} didn't happen");
    }
}

/// A profile without models, in which nothing is computed.
fn bare() -> (tempfile::TempDir, Profile) {
    let models = tempfile::tempdir().unwrap();
    let profile = Profile::with_models(models.path());
    (models, profile)
}

/// Nothing of the canary in any file or page of a home, free pages and deflated columns included.
fn assert_clean(profile: &Profile) {
    for file in files_below(&profile.home()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!holds_text(&bytes, CANARY), "{}", file.display());
    }
    let opened = Opened::of(&profile.home(), profile.scratch());
    assert!(!holds_text(&opened.pages(), CANARY), "a page still has it");
    let kept = [
        "SELECT document FROM sync_document",
        "SELECT value FROM sync_record WHERE length(value) < 65536",
    ];
    for blob in kept.iter().flat_map(|sql| opened.blobs(sql)) {
        assert!(!holds_inflated(&blob, CANARY), "a document still has it");
    }
}

#[test]
fn two_homes_share_a_memory_merge_their_edits_and_erase_it_everywhere_with_proof() {
    let mut server = SyncServer::start();
    let ((_a, a), (_b, b)) = (bare(), bare());
    let created = a.json(&["account", "create", "--server", &server.address, "--name", "desk"]);
    let phrase = created["phrase"].as_str().unwrap().to_owned();
    assert_eq!(phrase.split(' ').count(), 24);
    let drilled = a.pipe(&["account", "drill", "--json"], phrase.as_bytes());
    assert_eq!(drilled.value()["epoch"], 1, "{drilled:?}");
    pair(&a, &b, &server);
    let names = |profile: &Profile| {
        let listed = profile.json(&["devices", "list"]);
        let mut names: Vec<String> = listed["devices"]
            .as_array()
            .unwrap()
            .iter()
            .map(|device| device["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    eventually("each device knows the other's name", || {
        (names(&a) == ["desk", "laptop"] && names(&b) == ["desk", "laptop"]).then_some(())
    });

    // What is said on one device is on the other within a second.
    let mut watch = Dialogue::start(&b, &["sync", "watch"]);
    assert_eq!(watch.line()["state"], "live");
    let kept = a.json(&["memory", "add", &format!("I am going to the {CANARY} in Perth")]);
    let said = Instant::now();
    let id = kept["memory"]["id"].as_str().unwrap().to_owned();
    watch.event("sync_applied");
    let took = said.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(find(&b, CANARY).unwrap()["id"], id.as_str());
    drop(watch);

    // Edited on both while there is no server: merged, field by field.
    server.stop();
    a.json(&["memory", "pin", &id]);
    b.json(&["memory", "edit", &id, "--sensitive", "on"]);
    server.resume();
    let merged = |profile: &Profile| {
        profile.json(&["sync", "once"]);
        let memory = find(profile, CANARY)?;
        (memory["pinned"] == true && memory["sensitive"] == true).then_some(())
    };
    eventually("both edits are on A", || merged(&a));
    eventually("both edits are on B", || merged(&b));

    // What is looked for at the end is found now: in the rows, and in the documents that sync keeps.
    for profile in [&a, &b] {
        let opened = Opened::of(&profile.home(), profile.scratch());
        assert!(holds_text(&opened.pages(), CANARY));
        let documents = opened.blobs("SELECT document FROM sync_document");
        assert!(documents.iter().any(|document| holds_inflated(document, CANARY)));
    }

    // Erased on B while A is off.
    a.run(&["engine", "stop"]);
    let erased = b.json(&["erase", "--everywhere", &id, "--now", "--yes"]);
    let erasure = erased["erasures"][0]["erasure"].as_str().unwrap().to_owned();
    let certificate = b.scratch().join("first.hearth");
    let path = certificate.to_str().unwrap();
    eventually("the server's receipt", || {
        let shown = b.json(&["erasures", "show", &erasure]);
        (shown["receipts"] == 1).then_some(())
    });
    assert_eq!(
        b.json(&["erasures", "certificate", &erasure, "-o", path])["complete"],
        false
    );
    let provisional = b.json(&["certificate", "verify", path]);
    assert_eq!(provisional["complete"], false, "{provisional}");

    // A comes back: nothing of it is left anywhere, and everybody has said so.
    eventually("A has confirmed", || {
        a.json(&["sync", "once"]);
        let shown = b.json(&["erasures", "show", &erasure]);
        (shown["complete"] == true).then_some(())
    });
    assert!(find(&a, CANARY).is_none() && find(&b, CANARY).is_none());
    for profile in [&a, &b] {
        profile.run(&["engine", "stop"]);
        assert_clean(profile);
    }
    server.stop();
    for file in files_below(&server.data()) {
        assert!(
            !holds_text(&std::fs::read(&file).unwrap(), CANARY),
            "{}",
            file.display()
        );
    }

    // The certificate verifies offline, and not with one byte changed.
    let last = b.scratch().join("last.hearth");
    let path = last.to_str().unwrap();
    assert_eq!(
        b.json(&["erasures", "certificate", &erasure, "-o", path])["complete"],
        true
    );
    let report = a.json(&["certificate", "verify", path]);
    assert_eq!(
        (&report["complete"], &report["erasure"]),
        (&json!(true), &json!(erasure))
    );
    assert_eq!(report["account"], created["status"]["account"]);
    let whole = std::fs::read(&last).unwrap();
    for place in [0, 20, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        std::fs::write(&last, &changed).unwrap();
        let ran = a.run(&["certificate", "verify", path]);
        assert_eq!(ran.code, 1, "byte {place}: {ran:?}");
    }
}

#[test]
fn what_cannot_be_done_says_what_to_do() {
    let ((_a, a), server) = (bare(), SyncServer::start());
    let none = a.run(&["devices", "list"]);
    assert_eq!(none.code, 3, "{none:?}");
    assert!(none.stderr.contains("hearth account create"), "{none:?}");
    assert_eq!(a.json(&["account", "status"])["state"], "no_account");
    let wrong = a.run(&["account", "create", "--server", "https://example.com"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    // Another server's key at this server's address.
    let other = SyncServer::start();
    let (place, _) = server.address.split_once('#').unwrap();
    let (_, key) = other.address.split_once('#').unwrap();
    let false_key = a.run(&["account", "create", "--server", &format!("{place}#{key}")]);
    assert_eq!(false_key.code, 8, "{false_key:?}");
    assert!(false_key.stderr.contains("another key"), "{false_key:?}");
    assert_eq!(
        a.json(&["account", "status"])["state"],
        "no_account",
        "nothing was made"
    );
    let recover = a.pipe(
        &["account", "recover", "--server", &server.address],
        b"abandon abandon",
    );
    assert_eq!(recover.code, 2, "{recover:?}");
    assert!(recover.stderr.contains("24 words"), "{recover:?}");
    let verified = a.run(&[
        "certificate",
        "verify",
        a.home().join("hearth.key").to_str().unwrap(),
    ]);
    assert_eq!(verified.code, 1, "{verified:?}");
}

#[test]
fn an_account_comes_back_with_its_phrase_alone() {
    let ((_a, a), (_b, b), server) = (bare(), bare(), SyncServer::start());
    let created = a.json(&["account", "create", "--server", &server.address]);
    a.json(&["memory", "add", "My boat is called Petrel"]);
    a.json(&["sync", "once"]);

    // Erasing everything waits, and is taken back by Ctrl-C.
    let mut erasing = Dialogue::start(&a, &["erase", "--everywhere", "--all", "--yes"]);
    let note = erasing.note();
    assert!(note.contains("Nothing is erased yet"), "{note}");
    assert_eq!(erasing.interrupt(), Some(130));
    assert!(find(&a, "Petrel").is_some());
    assert_eq!(a.json(&["erasures", "list"])["erasures"], json!([]));

    a.run(&["engine", "stop"]);
    let phrase = created["phrase"].as_str().unwrap();
    let ran = b.pipe(
        &["account", "recover", "--server", &server.address, "--json"],
        phrase.as_bytes(),
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.value()["status"]["account"], created["status"]["account"]);
    eventually("the memory is there", || {
        b.json(&["sync", "once"]);
        find(&b, "Petrel")
    });
    // The lost device is shut out.
    let ran = a.run(&["sync", "once", "--limit", "10"]);
    let status = a.json(&["account", "status"]);
    assert!(
        status["devices"].to_string().contains("\"revoked\":true") || ran.code != 0,
        "{status}"
    );
}
