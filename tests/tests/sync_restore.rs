//! A server, or a device, is put back to an old backup: nothing that was erased comes back, nothing that a device still has
//! is lost, and who was shut out stays out.
#![allow(clippy::unwrap_used)]

use hearth_tests::device::{Device, LIMIT, converged, eventually};
use hearth_tests::pages::{files_below, holds_text};
use hearth_tests::sync_server::{SyncServer, let_in};

fn is_shut_out(device: &Device) {
    eventually("the device knows that it was shut out", || {
        device.profile.run(&["sync", "once", "--limit", "3"]);
        (device.status()["state"] == "revoked").then_some(())
    });
}

/// `lost`: the server's disk died, so that nothing of its newest database can be carried over.
fn restored_server(lost: bool) {
    let mut server = SyncServer::start();
    let (mut devices, _) = Device::account(3, &server.address);
    let early = devices[0].add("cassowary feathers on the shelf");
    let erased = devices[0].add("numbat weekend in Dryandra");
    converged(&devices, LIMIT);
    let backup = server.scratch().join("old");
    server.operate(&["backup", backup.to_str().unwrap()]);

    // After the backup: an erasure, a device shut out, a new one, writes of all.
    devices[1]
        .profile
        .json(&["erase", "--everywhere", &erased, "--now", "--yes"]);
    let late = devices[1].add("potoroo tracks behind the shed");
    converged(&devices, LIMIT);
    let out = devices.remove(2);
    devices[0]
        .profile
        .json(&["devices", "revoke", "device 2", "--lost", "--yes"]);
    is_shut_out(&out);
    let after = devices[0].add("bandicoot noise at night");
    converged(&devices, LIMIT);
    out.stop();

    server.stop();
    if lost {
        for name in ["sync.db", "sync.db-wal", "sync.db-shm"] {
            let _ = std::fs::remove_file(server.data().join(name));
        }
        server.operate(&["restore", backup.to_str().unwrap(), "--without-replay"]);
    } else {
        let said = server.operate(&["restore", backup.to_str().unwrap()]);
        assert!(said.contains("accounts 1"), "{said}");
    }
    server.resume();

    // The one that was shut out comes first.
    out.start();
    out.profile.run(&["sync", "once", "--limit", "3"]);
    out.profile
        .run(&["memory", "add", "words of the one that was shut out"]);
    out.profile.run(&["sync", "once", "--limit", "3"]);
    let last = devices[1].add("echidna at the compost heap");
    let memories = converged(&devices, LIMIT);
    for id in [&early, &late, &after, &last] {
        assert!(memories.contains_key(id), "{id} is lost");
    }
    assert!(!memories.contains_key(&erased), "revived");
    let text = serde_json::to_string(&memories).unwrap();
    assert!(!text.contains("shut out") && !text.contains("numbat"), "{text}");
    assert_eq!(out.status()["state"], "revoked");

    // A device that is let in now gets what lives and nothing else.
    let fresh = Device::new();
    fresh.profile.json(&["status"]);
    fresh.start();
    let_in(&devices[0].profile, &fresh.profile, &server.address, "fresh");
    devices.push(fresh);
    assert_eq!(converged(&devices, LIMIT), memories);
    let listed = devices[2].profile.json(&["devices", "list"]);
    let standing: Vec<bool> = listed["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| device["revoked"] == true)
        .collect();
    assert_eq!(standing.iter().filter(|revoked| **revoked).count(), 1, "{listed}");
    for file in files_below(&server.data()) {
        assert!(!holds_text(&std::fs::read(file).unwrap(), "numbat"));
    }
    server.stop();
    assert_eq!(server.operate(&["check"]).trim(), "all is well");
}

#[test]
fn a_server_that_is_put_back_to_an_old_backup_revives_and_loses_nothing() {
    restored_server(false);
}

#[test]
fn a_server_whose_disk_died_is_filled_again_from_an_old_backup_and_the_devices() {
    restored_server(true);
}

#[test]
fn a_profile_that_is_put_back_to_a_backup_asks_and_goes_on_in_a_new_log() {
    let server = SyncServer::start();
    let (devices, _) = Device::account(2, &server.address);
    let [a, b] = &devices[..] else {
        panic!("two devices")
    };
    let early = a.add("galah on the aerial");
    let erased = a.add("dunnart in the pantry");
    converged(&devices, LIMIT);
    let word = a.profile.scratch().join("word");
    std::fs::write(&word, "a passphrase for backups\n").unwrap();
    let word = word.to_str().unwrap();
    let backup = a.profile.scratch().join("backup");
    let backup = backup.to_str().unwrap();
    a.profile
        .json(&["profile", "backup", backup, "--backup-passphrase-file", word]);
    let late = a.add("corella flock at dusk");
    b.profile.json(&["erase", "--everywhere", &erased, "--yes"]);
    let other = b.add("kookaburra on the fence");
    converged(&devices, LIMIT);

    a.profile.json(&[
        "profile",
        "restore",
        backup,
        "--backup-passphrase-file",
        word,
        "--yes",
    ]);
    a.start();
    // It may be a copy: nothing is published until its user says what it is.
    let doctor = eventually("the question", || {
        a.profile.run(&["sync", "once", "--limit", "3"]);
        let said = a.profile.run(&["sync", "doctor"]).stdout;
        said.contains("restored").then_some(said)
    });
    assert!(doctor.contains("hearth sync doctor --restored"), "{doctor}");
    assert_eq!(
        doctor.matches("looks restored").count(),
        1,
        "it is said once: {doctor}"
    );
    let ran = a.profile.run(&["sync", "doctor", "--restored"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let again = a.add("lorikeet in the bottlebrush");
    let memories = converged(&devices, LIMIT);
    for id in [&early, &late, &other, &again] {
        assert!(memories.contains_key(id), "{id} is lost");
    }
    assert!(!memories.contains_key(&erased), "revived");
    let said = b.profile.run(&["sync", "doctor"]);
    assert!(!said.stdout.contains("ATTACK"), "{said:?}");
}
