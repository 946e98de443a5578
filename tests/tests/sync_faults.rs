//! What goes wrong with an account, a pairing, a server, a clock or a disk, and what a person reads then.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use hearth_tests::device::{Device, LIMIT, assert_says, converged, doctor, eventually, ready, within};
use hearth_tests::shim::Shim;
use hearth_tests::sync_server::{Dialogue, SyncServer, agree, let_in, mistyped};
use serde_json::Value;

#[test]
fn a_code_that_is_mistyped_is_asked_for_again_and_a_used_one_is_refused() {
    let server = SyncServer::start();
    let (devices, _) = Device::account(1, &server.address);
    let [old] = &devices[..] else { panic!("one device") };
    // A slip that the check character shows, before anything is sent.
    let ran = old.profile.run(&["devices", "approve", "ABCD-EFGH-JKMN"]);
    assert_ne!(ran.code, 0);
    assert_says(&ran.stderr, &["XXXX-XXXX-XXXX", "slip"]);

    // A wrong code that looks right, of the same mailbox: the last characters come from another code.
    let new = ready();
    let mut joining = Dialogue::start(
        &new.profile,
        &["devices", "pair", "--server", &server.address, "--name", "new"],
    );
    let code = joining.event("code")["typed"].as_str().unwrap().to_owned();
    let mut approving = Dialogue::start(&old.profile, &["devices", "approve", &mistyped(&code)]);
    let failed = approving.event("try_failed");
    assert_eq!(failed["left"], 2, "{failed}");
    assert_eq!(joining.event("try_failed")["type"], "try_failed");
    approving.answer(&code);
    let status = agree(approving, joining);
    assert_eq!(status["devices"].as_array().unwrap().len(), 2);

    // The same code once more, for nobody.
    let again = Dialogue::start(&old.profile, &["devices", "approve", &code]);
    let begun = Instant::now();
    let (exit, said) = again.failure();
    assert_ne!(exit, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "it says so at once");
    assert_says(&said, &["new one"]);
}

#[test]
fn a_wrong_phrase_and_a_phrase_of_another_server_are_told() {
    let (server, other) = (SyncServer::start(), SyncServer::start());
    let (devices, phrase) = Device::account(1, &server.address);
    let swapped: Vec<&str> = phrase.split(' ').rev().collect();
    let new = ready();
    for (words, address, code, said) in [
        (swapped.join(" "), &server.address, 2, &["words"][..]),
        (
            phrase.replacen(' ', " hearthh ", 1),
            &server.address,
            2,
            &["Word 2", "no phrase"][..],
        ),
        (
            phrase.clone(),
            &other.address,
            2,
            &["no account with this phrase"][..],
        ),
    ] {
        let ran = new
            .profile
            .pipe(&["account", "recover", "--server", address], words.as_bytes());
        assert_eq!(ran.code, code, "{ran:?}");
        assert_says(&ran.stderr, said);
        assert_eq!(new.status()["state"], "no_account", "nothing is kept");
    }
    let drilled = devices[0]
        .profile
        .pipe(&["account", "drill"], swapped.join(" ").as_bytes());
    assert_eq!(drilled.code, 2, "{drilled:?}");
}

#[test]
fn without_a_server_everything_works_and_the_state_is_shown() {
    let mut server = SyncServer::start();
    let (devices, _) = Device::account(2, &server.address);
    devices[0].add("quoll in the woodpile");
    converged(&devices, LIMIT);
    server.stop();
    // Nobody is there: everything works, and the state is shown.
    let begun = Instant::now();
    let id = devices[0].add("bilby under the veranda");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(devices[0].find("bilby").is_some());
    eventually("the state is shown", || {
        (devices[0].status()["state"] == "offline").then_some(())
    });
    assert_says(&doctor(&devices[0]), &["Offline", "as soon as"]);
    let ran = devices[0]
        .profile
        .run(&["devices", "revoke", "device 1", "--yes"]);
    assert_ne!(ran.code, 0);
    assert_says(&ran.stderr, &["server"]);
    // A command that opens the profile by itself doesn't claim what it can't know yet, and waits a moment for it.
    devices[1].stop();
    assert_says(&doctor(&devices[1]), &["the server hasn't answered yet"]);
    server.resume();
    assert_says(&doctor(&devices[1]), &["In sync"]);
    assert_eq!(devices[1].status()["state"], "live");
    devices[1].start();
    let memories = converged(&devices, LIMIT);
    assert!(memories.contains_key(&id) && memories.len() == 2);
}

#[test]
fn a_clock_that_is_off_by_years_changes_nothing() {
    const YEARS_20: i64 = 20 * 365 * 24 * 3600;
    let folder = tempfile::tempdir().unwrap();
    let Some(shim) = Shim::build(folder.path()) else {
        return;
    };
    let server = SyncServer::start();
    let mut devices = Vec::new();
    for (name, offset) in [("right", 0), ("ahead", YEARS_20), ("behind", -YEARS_20)] {
        let mut device = Device::new();
        for (name, value) in shim.clock(offset) {
            device.profile.set_variable(&name, &value);
        }
        device.profile.json(&["status"]);
        device.start();
        if devices.is_empty() {
            device
                .profile
                .json(&["account", "create", "--server", &server.address, "--name", name]);
        } else {
            let first: &Device = &devices[0];
            let_in(&first.profile, &device.profile, &server.address, name);
        }
        devices.push(device);
    }
    let ids: Vec<String> = devices
        .iter()
        .zip(["quokka at the jetty", "heron by the drain", "skink under slate"])
        .map(|(device, text)| device.add(text))
        .collect();
    devices[1]
        .profile
        .json(&["erase", "--everywhere", &ids[0], "--now", "--yes"]);
    within(LIMIT, "all have the same", || {
        let all: Vec<_> = devices
            .iter()
            .map(|device| {
                device.profile.run(&["sync", "once", "--limit", "5"]);
                device.memories().into_keys().collect::<Vec<_>>()
            })
            .collect();
        (all.iter().all(|other| *other == all[0]) && all[0].len() == ids.len() - 1).then_some(())
    });
    let erasure = devices[1].profile.json(&["erasures", "list"]);
    assert_eq!(erasure["erasures"][0]["overdue"], false, "{erasure}");
    // Each is told of its own clock, as long as it is so, and nobody of another's.
    assert!(devices[0].status()["problem"].is_null());
    for (device, side) in devices[1..].iter().zip(["20 years ahead of", "20 years behind"]) {
        assert_says(
            &doctor(device),
            &["In sync", side, "nothing is lost", "set the clock"],
        );
    }
}

#[test]
fn a_full_disk_at_the_server_or_here_is_told_and_nothing_that_was_confirmed_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let Some(shim) = Shim::build(folder.path()) else {
        return;
    };
    let full = shim.disk("server");
    let full: Vec<(&str, &str)> = full.iter().map(|(name, value)| (&**name, &**value)).collect();
    let server = SyncServer::start_with("", &full);
    let (mut devices, _) = Device::account(2, &server.address);
    let first = devices[0].add("wombat in the culvert");
    converged(&devices, LIMIT);

    // The server's.
    shim.fill("server", true);
    let second = devices[0].add("glider on the stringybark");
    let said = within(LIMIT, "it is told", || {
        let ran = devices[0].profile.run(&["sync", "once", "--limit", "3"]);
        let said = ran.stderr + &doctor(&devices[0]);
        said.contains("can't store").then_some(said)
    });
    assert_says(&said, &["operator"]);
    shim.fill("server", false);
    let memories = converged(&devices, LIMIT);
    assert!(memories.contains_key(&first) && memories.contains_key(&second));

    // A device's: what it can't keep it doesn't confirm.
    devices[1].stop();
    for (name, value) in shim.disk("device") {
        devices[1].profile.set_variable(&name, &value);
    }
    devices[1].start();
    shim.fill("device", true);
    let third = devices[0].add("bettong diggings by the gate");
    let ran = devices[1].profile.run(&["memory", "add", "this can't be kept"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    assert_says(&ran.stderr, &["space"]);
    assert_ne!(devices[1].profile.run(&["sync", "once", "--limit", "3"]).code, 0);
    // Reading goes on: through the engine, and without one.
    assert!(devices[1].memories().contains_key(&second));
    devices[1].kill();
    assert!(devices[1].memories().contains_key(&second));
    assert_eq!(devices[1].status()["devices"].as_array().unwrap().len(), 2);
    let ran = devices[1].profile.run(&["memory", "add", "nor can this"]);
    assert_eq!(ran.code, 7, "{ran:?}");
    shim.fill("device", false);
    devices[1].start();
    let memories = converged(&devices, LIMIT);
    assert!(
        memories.contains_key(&third) && memories.len() == 3,
        "{memories:?}"
    );
}

#[test]
fn commands_without_an_account_or_for_a_device_that_is_not_there_say_what_to_do() {
    let server = SyncServer::start();
    let (devices, _) = Device::account(2, &server.address);
    let [a, b] = &devices[..] else {
        panic!("two devices")
    };
    let stranger = ready();
    for command in [
        &["devices", "revoke", "x", "--yes"][..],
        &["devices", "rename", "x", "y"],
        &["sync", "once"],
        &["sync", "doctor", "--restored"],
        &["erasures", "list"],
    ] {
        let ran = stranger.profile.run(command);
        assert_eq!(ran.code, 3, "{command:?}: {ran:?}");
        assert_says(&ran.stderr, &["account"]);
    }
    let ran = a.profile.run(&["devices", "revoke", "toaster", "--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_says(&ran.stderr, &["device"]);
    let ran = a.profile.run(&["devices", "rename", "device 1", ""]);
    assert_eq!(ran.code, 2, "{ran:?}");

    // A name, then the beginning of the identifier; the other device hears of it.
    let renamed = a.profile.json(&["devices", "rename", "device 1", "kitchen"]);
    assert!(renamed.to_string().contains("kitchen"), "{renamed}");
    eventually("B knows its own new name", || {
        b.profile
            .json(&["devices", "list"])
            .to_string()
            .contains("kitchen")
            .then_some(())
    });
    let listed: Value = a.profile.json(&["devices", "list"]);
    let id = listed["devices"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "kitchen")
        .unwrap()["device"]
        .clone();
    let start = &id.as_str().unwrap()[..8];
    let ran = a.profile.run(&["devices", "revoke", start, "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_says(&ran.stdout, &["shut out"]);
    let epoch = a.status()["epoch"].clone();
    // The one that is shut out is told, keeps what it has, and gets nothing more.
    let said = eventually("B is told", || {
        let said = doctor(b);
        said.contains("shut out").then_some(said)
    });
    assert_says(&said, &["stays here", "nothing more"]);
    a.add("words after the revocation");
    a.profile.json(&["sync", "once"]);
    let mine = b.add("words of the one that is out");
    b.profile.run(&["sync", "once", "--limit", "3"]);
    assert!(b.memories().contains_key(&mine) && b.find("after the revocation").is_none());
    assert!(a.find("one that is out").is_none());
    eventually("the keys were changed", || {
        (a.status()["epoch"].as_u64() > Some(1) || epoch.as_u64() > Some(1)).then_some(())
    });
    let revoked = b.profile.run(&["devices", "approve", "ABCD-EFGH-JKMN"]);
    assert_ne!(revoked.code, 0, "{revoked:?}");
}
