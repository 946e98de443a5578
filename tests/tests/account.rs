//! What changes of an account as a whole: its server and its phrase. Real servers and homes.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use hearth_tests::hearth::Profile;
use hearth_tests::sync_server::{SyncServer, pair};
use serde_json::Value;

/// A profile without models, in which nothing is computed.
fn bare() -> (tempfile::TempDir, Profile) {
    let models = tempfile::tempdir().unwrap();
    let profile = Profile::with_models(models.path());
    (models, profile)
}

/// Syncs until it is so; at most half a minute.
fn synced(profile: &Profile, what: &str, mut so: impl FnMut(&Profile) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        // It fails while the old server tells of the new one.
        profile.run(&["sync", "once", "--limit", "10"]);
        if so(profile) {
            return;
        }
        assert!(Instant::now() < deadline, "{what} didn't happen");
    }
}

fn knows(profile: &Profile, text: &str) -> bool {
    let listed = profile.json(&["memory", "list", "--text", text]);
    !listed["memories"].as_array().unwrap().is_empty()
}

fn address(profile: &Profile) -> Value {
    profile.json(&["account", "status"])["server_address"].clone()
}

#[test]
fn an_account_moves_to_another_server_and_its_devices_follow() {
    let ((_a, a), (_b, b)) = (bare(), bare());
    let mut old = SyncServer::start();
    let new = SyncServer::start();
    a.json(&["account", "create", "--server", &old.address, "--name", "desk"]);
    pair(&a, &b, &old);
    a.json(&["memory", "add", "My boat is called Petrel"]);
    synced(&b, "the first memory", |b| knows(b, "Petrel"));
    b.run(&["engine", "stop"]);

    let same = a.run(&["account", "move", "--server", &old.address]);
    assert_eq!(same.code, 2, "{same:?}");
    assert!(same.stderr.contains("at this server already"), "{same:?}");
    let moved = a.json(&["account", "move", "--server", &new.address]);
    assert_eq!(
        (&moved["state"], &moved["server_address"]),
        (&"live".into(), &new.address.clone().into())
    );
    a.json(&["memory", "add", "My dog is called Biscuit"]);
    a.json(&["sync", "once"]);

    // One that was away is told by the old server.
    b.json(&["memory", "add", "My cat is called Mochi"]);
    synced(&b, "the move", |b| {
        address(b) == new.address.as_str() && knows(b, "Biscuit")
    });
    old.stop();
    synced(&a, "what was written while away", |a| knows(a, "Mochi"));
    let synced = b.run(&["sync", "once"]);
    assert_eq!(synced.code, 0, "{synced:?}");
}

#[test]
fn a_move_without_an_invitation_is_ended_by_the_same_again_with_one() {
    let ((_a, a), (_b, b)) = (bare(), bare());
    let old = SyncServer::start();
    let new = SyncServer::start_invited();
    a.json(&["account", "create", "--server", &old.address, "--name", "desk"]);
    pair(&a, &b, &old);
    let refused = a.run(&["account", "move", "--server", &new.address]);
    assert_eq!(refused.code, 8, "{refused:?}");
    assert!(refused.stderr.contains("--invitation"), "{refused:?}");
    let code = new.operate(&["invite"]);
    let arguments = [
        "account",
        "move",
        "--server",
        &new.address,
        "--invitation",
        code.trim(),
    ];
    let moved = a.json(&arguments);
    assert_eq!(
        (&moved["state"], &moved["server_address"]),
        (&"live".into(), &new.address.clone().into())
    );
    let again = a.run(&arguments);
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.stderr.contains("at this server already"), "{again:?}");
    a.json(&["memory", "add", "My dog is called Biscuit"]);
    synced(&b, "what was written after the move", |b| {
        address(b) == new.address.as_str() && knows(b, "Biscuit")
    });
}

#[test]
fn a_new_phrase_takes_the_place_of_the_old_one() {
    let ((_a, a), (_b, b), (_c, c)) = (bare(), bare(), bare());
    let server = SyncServer::start();
    let created = a.json(&["account", "create", "--server", &server.address]);
    let old = created["phrase"].as_str().unwrap().to_owned();
    a.json(&["memory", "add", "My boat is called Petrel"]);
    a.json(&["sync", "once"]);
    let proposed = a.json(&["account", "new-phrase", "--propose"]);
    let new = proposed["phrase"].as_str().unwrap().to_owned();
    assert_eq!(new.split(' ').count(), 24);
    assert_ne!(new, old);

    let alone = a.pipe(&["account", "new-phrase"], old.as_bytes());
    assert_eq!(alone.code, 2, "{alone:?}");
    assert!(alone.stderr.contains("Two lines"), "{alone:?}");
    let wrong = a.pipe(&["account", "new-phrase"], format!("{new}\n{new}\n").as_bytes());
    assert_ne!(wrong.code, 0, "{wrong:?}");
    assert!(wrong.stderr.contains("The old phrase: "), "{wrong:?}");
    let drilled = |phrase: &str| a.pipe(&["account", "drill", "--json"], phrase.as_bytes()).code;
    assert_eq!((drilled(&old), drilled(&new)), (0, 2));

    let changed = a.pipe(&["account", "new-phrase"], format!("{old}\n{new}\n").as_bytes());
    assert_eq!(changed.code, 0, "{changed:?}");
    assert!(
        !changed.stdout.contains(&new) && !changed.stdout.contains(&old),
        "it isn't said again"
    );
    assert_eq!((drilled(&old), drilled(&new)), (2, 0));
    a.json(&["sync", "once"]);

    let recover = |home: &Profile, phrase: &str| {
        home.pipe(
            &[
                "account",
                "recover",
                "--server",
                &server.address,
                "--keep-devices",
                "--json",
            ],
            phrase.as_bytes(),
        )
    };
    let refused = recover(&b, &old);
    assert_ne!(refused.code, 0, "{refused:?}");
    let looked = c.pipe(
        &[
            "account",
            "recover",
            "--server",
            &server.address,
            "--dry-run",
            "--json",
        ],
        new.as_bytes(),
    );
    assert_eq!(
        looked.value()["account"],
        created["status"]["account"],
        "{looked:?}"
    );
    assert_eq!(looked.value()["devices"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        c.json(&["account", "status"])["state"],
        "no_account",
        "nothing has changed"
    );
    let back = recover(&c, &new);
    assert_eq!(back.code, 0, "{back:?}");
    synced(&c, "what the account had", |c| knows(c, "Petrel"));
}
