//! What a server or another device refuses, and what a person reads then: space that is used up, an account that the
//! operator removed, codes that are wrong or late, versions that don't fit. Nothing is lost by any of it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use hearth_protocol::codec::{Set, Wire};
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{AccountId, DeviceId, Hash, InstanceToken};
use hearth_protocol::message::{Hello, Refusal, Reply, ReplyFrame, Request, RequestFrame, VersionRange};
use hearth_protocol::vector::{VersionVector, vector_digest};
use hearth_tests::device::{Device, LIMIT, assert_says, converged, doctor, eventually, ready, within};
use hearth_tests::dice::Dice;
use hearth_tests::shim::Shim;
use hearth_tests::sync_server::{Dialogue, SyncServer, agree, let_in, mistyped};
use hearth_transport::{Dialer, Event, Identity, Limits, Listener};

#[test]
fn a_full_quota_is_told_and_what_waits_goes_out_when_there_is_room() {
    let mut server = SyncServer::start_with("[space]\naccount_mib = 1\nreserve_mib = 0\n", &[]);
    let (devices, _) = Device::account(2, &server.address);
    let mut dice = Dice::new(11);
    // Three megabytes that can't be compressed much.
    for chat in 0..6 {
        let mut text = String::new();
        while text.len() < 500_000 {
            text += &dice.word(9);
            text.push(' ');
        }
        let file = devices[0].profile.scratch().join(format!("{chat}.jsonl"));
        let line = serde_json::json!({"role": "user", "content": text}).to_string();
        std::fs::write(&file, line + "\n{\"role\":\"assistant\",\"content\":\"Long.\"}\n").unwrap();
        devices[0]
            .profile
            .json(&["chats", "import", file.to_str().unwrap()]);
    }
    let said = within(LIMIT, "the quota is told", || {
        let ran = devices[0].profile.run(&["sync", "once", "--limit", "5"]);
        (ran.code != 0 && ran.stderr.contains("space at the server")).then_some(ran.stderr)
    });
    assert_says(&said, &["nothing is lost", "operator"]);
    assert_says(&doctor(&devices[0]), &["space at the server"]);
    // Everything goes on here, and an erasure passes all the same.
    let id = devices[0].add("honey possum in the banksia");
    assert_eq!(devices[0].chats().len(), 6);
    devices[0].profile.json(&["erase", "--everywhere", &id, "--yes"]);
    // The operator gives more.
    server.stop();
    std::fs::write(
        server.scratch().join("settings.toml"),
        "[space]\naccount_mib = 100\nreserve_mib = 0\n",
    )
    .unwrap();
    server.resume();
    converged(&devices, LIMIT);
    assert_eq!(devices[1].chats().len(), 6);
}

#[test]
fn an_account_that_the_operator_removed_stays_on_the_devices_and_comes_back_only_on_a_persons_word() {
    let server = SyncServer::start();
    let (devices, _) = Device::account(2, &server.address);
    let id = devices[0].add("rosella in the orchard");
    converged(&devices, LIMIT);
    let account = devices[0].status()["account"].as_str().unwrap().to_owned();
    server.operate(&["purge-account", &account, "--yes"]);
    for device in &devices {
        let said = within(Duration::from_secs(30), "it is told", || {
            let said = doctor(device);
            said.contains("operator has removed").then_some(said)
        });
        assert_says(&said, &["Offline", "stays here", "hearth sync doctor --restored"]);
        let ran = device.profile.run(&["sync", "once", "--limit", "15"]);
        assert_eq!(ran.code, 8, "{ran:?}");
        assert_says(&ran.stderr, &["operator has removed"]);
        assert!(device.memories().contains_key(&id));
    }
    // It isn't brought back by itself, however often a device calls.
    let listed = server.operate(&["accounts"]);
    assert!(!listed.contains(&account), "{listed}");
    let ran = devices[1].profile.run(&["sync", "doctor", "--restored"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let late = devices[0].add("lyrebird on the track");
    let memories = converged(&devices, LIMIT);
    assert!(memories.contains_key(&id) && memories.contains_key(&late));
    let listed = server.operate(&["accounts"]);
    assert!(listed.contains(&account), "{listed}");
}

#[test]
fn a_device_that_a_server_from_a_backup_does_not_know_is_told_to_bring_another_one() {
    let mut server = SyncServer::start();
    let (mut devices, _) = Device::account(2, &server.address);
    let backup = server.scratch().join("old");
    server.operate(&["backup", backup.to_str().unwrap()]);
    let newest = ready();
    let_in(&devices[0].profile, &newest.profile, &server.address, "newest");
    let id = newest.add("spoonbill at the dam");
    devices.push(newest);
    converged(&devices, LIMIT);
    devices[0].stop();
    devices[1].stop();
    server.stop();
    for name in ["sync.db", "sync.db-wal", "sync.db-shm"] {
        let _ = std::fs::remove_file(server.data().join(name));
    }
    server.operate(&["restore", backup.to_str().unwrap(), "--without-replay"]);
    server.resume();
    let said = within(Duration::from_secs(30), "it is told", || {
        devices[2].profile.run(&["sync", "once", "--limit", "2"]);
        let said = doctor(&devices[2]);
        said.contains("doesn't know this device").then_some(said)
    });
    assert_says(&said, &["bring another device online"]);
    devices[0].start();
    devices[1].start();
    assert!(converged(&devices, LIMIT).contains_key(&id));
}

#[test]
fn three_wrong_codes_use_up_the_typed_code_and_digits_that_differ_end_a_pairing() {
    let server = SyncServer::start();
    let (devices, _) = Device::account(1, &server.address);
    let old = &devices[0];
    let new = ready();
    let pair = ["devices", "pair", "--server", &server.address, "--name", "new"];
    let mut joining = Dialogue::start(&new.profile, &pair);
    let shown = joining.event("code");
    let wrong = mistyped(shown["typed"].as_str().unwrap());
    let mut approving = Dialogue::start(&old.profile, &["devices", "approve", &wrong]);
    for left in [2, 1] {
        assert_eq!(approving.event("try_failed")["left"], left);
        assert_eq!(joining.event("try_failed")["left"], left);
        approving.answer(&wrong);
    }
    let (exit, said) = approving.failure();
    assert_ne!(exit, Some(0));
    assert_says(&said, &["show a new one"]);
    // Whoever has typed wrong codes, a stranger perhaps, doesn't end what can be scanned.
    assert_eq!(joining.event("try_failed")["left"], 0);
    let approving = Dialogue::start(
        &old.profile,
        &["devices", "approve", shown["scan"].as_str().unwrap()],
    );
    let status = agree(approving, joining);
    assert_eq!(status["devices"].as_array().unwrap().len(), 2);

    // The person at the device that lets in says that the digits differ.
    let other = ready();
    let pair = ["devices", "pair", "--server", &server.address, "--name", "other"];
    let mut joining = Dialogue::start(&other.profile, &pair);
    let code = joining.event("code")["typed"].as_str().unwrap().to_owned();
    let mut approving = Dialogue::start(&old.profile, &["devices", "approve", &code]);
    approving.event("compare");
    joining.event("compare");
    approving.answer("no");
    let (exit, said) = approving.failure();
    assert_ne!(exit, Some(0));
    assert_says(&said, &["digits differ"]);
    assert_eq!(
        old.status()["devices"].as_array().unwrap().len(),
        2,
        "nobody was let in"
    );
    assert_eq!(other.status()["state"], "no_account");
}

#[test]
fn a_code_that_is_late_or_that_nobody_shows_is_told_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let Some(shim) = Shim::build(folder.path()) else {
        return;
    };
    let clock = shim.moving_clock("clock");
    let clock: Vec<(&str, &str)> = clock.iter().map(|(name, value)| (&**name, &**value)).collect();
    let server = SyncServer::start_with("", &clock);
    let (devices, _) = Device::account(1, &server.address);
    let old = &devices[0].profile;
    let new = ready();
    let pair = ["devices", "pair", "--server", &server.address, "--name", "new"];
    let mut joining = Dialogue::start(&new.profile, &pair);
    let code = joining.event("code")["typed"].as_str().unwrap().to_owned();
    // Eleven minutes later by the server's clock.
    shim.set_clock("clock", 11 * 60);
    let begun = Instant::now();
    let (exit, said) = Dialogue::start(old, &["devices", "approve", &code]).failure();
    assert_ne!(exit, Some(0));
    assert_says(&said, &["show a new one"]);
    drop(joining);
    // A code that was never shown.
    let other = hearth_protocol::pairing::TypedCode::parse("0000-0000-0000")
        .map_or_else(|_| mistyped("0000-0000-0000"), |_| "0000-0000-0000".to_owned());
    let (exit, said) = Dialogue::start(old, &["devices", "approve", &other]).failure();
    assert_ne!(exit, Some(0));
    assert_says(
        &said,
        &["nobody shows this code", "another server", "show a new one"],
    );
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
}

/// A server of other versions, with the key of one that was there: it refuses every greeting with this.
async fn refuse_all(mut listener: Listener, code: ErrorCode, versions: VersionRange) {
    while let Some(mut connection) = listener.accept().await {
        tokio::spawn(async move {
            while let Event::Frame(bytes) = connection.events.next().await {
                let Ok(RequestFrame { id, request }) = RequestFrame::decode(&bytes) else {
                    break;
                };
                if !matches!(request, Request::Hello(_)) {
                    continue;
                }
                let refusal = Refusal {
                    code,
                    retry_after_ms: 0,
                    versions: Some(versions),
                };
                let reply = Reply::Refused(refusal);
                let _ = connection.sender.frame(ReplyFrame { to: id, reply }.encode());
                connection.sender.close(Some(code));
            }
        });
    }
}

#[test]
fn a_server_of_another_version_says_which_side_is_to_be_updated() {
    let mut server = SyncServer::start();
    let (devices, _) = Device::account(1, &server.address);
    let [device] = &devices[..] else {
        panic!("one device")
    };
    let id = device.add("curlew by the river");
    converged(&devices, LIMIT);
    server.stop();
    let identity = Identity::from_seed(&server.seed()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let newer = VersionRange {
        lowest: 7,
        highest: 9,
    };
    let older = VersionRange {
        lowest: 0,
        highest: 0,
    };
    for (code, versions, words) in [
        (
            ErrorCode::VersionTooOld,
            newer,
            ["his device", "update Hearth here"],
        ),
        (
            ErrorCode::VersionTooNew,
            older,
            ["he server", "operator has to update it"],
        ),
    ] {
        let socket = UdpSocket::bind(("127.0.0.1", server.port())).unwrap();
        let listener =
            runtime.block_on(async { Listener::new(socket, &identity, Limits::default()).unwrap() });
        let serving = runtime.spawn(refuse_all(listener, code, versions));
        let said = within(Duration::from_secs(30), "it is told", || {
            device.profile.run(&["sync", "once", "--limit", "2"]);
            let said = doctor(device);
            said.contains(words[1]).then_some(said)
        });
        assert_says(&said, &words);
        assert!(device.memories().contains_key(&id));
        serving.abort();
        let _ = runtime.block_on(serving);
        // The port is free once the endpoint has said good-bye.
        eventually("the port is free", || {
            UdpSocket::bind(("127.0.0.1", server.port())).ok().map(drop)
        });
    }
    server.resume();
    device.add("snipe in the reeds");
    assert_eq!(converged(&devices, LIMIT).len(), 2);
}

#[test]
fn a_device_of_another_version_and_a_stranger_are_told_why_they_are_not_let_in() {
    let server = SyncServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let account = AccountId([7; 32]);
    let greet = |versions: &[u16]| {
        let hello = Hello {
            versions: Set::new(versions.iter().copied()).unwrap(),
            account,
            device: DeviceId([8; 32]),
            instance: InstanceToken([0; 16]),
            log: None,
            vector: vector_digest(&account, &VersionVector::default()),
            control: Hash::ZERO,
            control_number: 0,
            erased_cursor: 0,
            erased_root: Hash::ZERO,
            table: Hash::ZERO,
        };
        let address = ("127.0.0.1".parse::<std::net::IpAddr>().unwrap(), server.port()).into();
        runtime.block_on(async {
            let dialer = Dialer::new(UdpSocket::bind("127.0.0.1:0").unwrap(), Limits::default()).unwrap();
            let identity = Identity::from_seed(&[3; 32]).unwrap();
            let mut called = dialer.connect(&identity, address, "localhost").await.unwrap();
            let request = Request::Hello(Box::new(hello));
            called
                .sender
                .frame(RequestFrame { id: 1, request }.encode())
                .unwrap();
            let refusal = loop {
                match called.events.next().await {
                    Event::Frame(bytes) => match ReplyFrame::decode(&bytes).unwrap().reply {
                        Reply::Refused(refusal) => break refusal,
                        other => panic!("{other:?}"),
                    },
                    Event::Batch(_) => {}
                    // The end of the connection says as much, and may be quicker.
                    Event::Closed(closed) => return (closed.code.unwrap(), None),
                }
            };
            let closed = loop {
                if let Event::Closed(closed) = called.events.next().await {
                    break closed;
                }
            };
            assert_eq!(closed.code, Some(refusal.code));
            (refusal.code, refusal.versions)
        })
    };
    let now = VersionRange {
        lowest: 1,
        highest: 1,
    };
    for (versions, code) in [
        (&[0][..], ErrorCode::VersionTooOld),
        (&[2, 3], ErrorCode::VersionTooNew),
    ] {
        let (said, range) = greet(versions);
        assert_eq!(said, code);
        assert!(range.is_none_or(|range| range == now), "{range:?}");
    }
    assert_eq!(greet(&[1]).0, ErrorCode::UnknownAccount);
}
