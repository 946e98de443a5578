//! Devices of one account on the local network, without its server: real processes that find, check and fill each other.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use hearth_core::net::{DialError, Event, Identity, Limits, Listener};
use hearth_protocol::error::ErrorCode;
use hearth_tests::hearth::{Network, Profile};
use hearth_tests::sync_server::{Dialogue, SyncServer, pair};
use serde_json::Value;

/// Asks until something is there; at most half a minute.
fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} didn't happen");
    }
}

fn bare(models: &Path, network: Network) -> Profile {
    Profile::with_models(models).on(network)
}

fn find(profile: &Profile, text: &str) -> Option<Value> {
    let listed = profile.json(&["memory", "list", "--text", text]);
    listed["memories"].as_array().unwrap().first().cloned()
}

fn met(profile: &Profile, other: &str) -> Option<()> {
    let status = profile.json(&["account", "status"]);
    let met = status["met"]
        .as_array()
        .is_some_and(|met| met.iter().any(|id| id == other));
    (status["state"] == "local_network" && met).then_some(())
}

/// Whether as many devices are announced in the folder.
fn announced(folder: &Path, devices: usize) -> Option<()> {
    let files = std::fs::read_dir(folder).unwrap().flatten();
    let shown = files.filter(|file| !file.file_name().as_encoded_bytes().starts_with(b"."));
    (shown.count() == devices).then_some(())
}

fn device(profile: &Profile) -> String {
    let status = profile.json(&["account", "status"]);
    let devices = status["devices"].as_array().unwrap();
    let this = devices.iter().find(|device| device["this"] == true).unwrap();
    this["device"].as_str().unwrap().to_owned()
}

/// Makes an account without a server on `a` and lets `b` in over the local network.
fn pair_without_server(a: &Profile, b: &Profile) {
    let created = a.json(&["account", "create", "--no-server", "--name", "desk"]);
    assert_eq!(created["status"]["state"], "no_server");
    let mut joining = Dialogue::start(b, &["devices", "pair", "--name", "laptop"]);
    let code = joining.event("code")["typed"].as_str().unwrap().to_owned();
    let mut approving = Dialogue::start(a, &["devices", "approve", &code]);
    let digits = approving.event("compare")["digits"].clone();
    assert_eq!(joining.event("compare")["digits"], digits);
    approving.answer("yes");
    joining.answer("yes");
    assert_eq!(approving.end()["revoked"], false);
    let status = joining.end();
    assert_eq!(status["devices"].as_array().map(Vec::len), Some(2), "{status}");
}

/// What both ways of announcing have to bring about.
fn live_without_a_server(a: &Profile, b: &Profile) {
    pair_without_server(a, b);
    let (one, two) = (device(a), device(b));
    eventually("A meets B", || met(a, &two));
    eventually("B meets A", || met(b, &one));
    let shown = a.run(&["account", "status"]);
    assert!(
        shown.stdout.contains("On the local network with laptop"),
        "{shown:?}"
    );

    // Live in both directions.
    let mut watch = Dialogue::start(b, &["sync", "watch"]);
    assert_eq!(watch.line()["state"], "local_network");
    let kept = a.json(&["memory", "add", "My boat is called Petrel"]);
    watch.event("sync_applied");
    drop(watch);
    let id = kept["memory"]["id"].as_str().unwrap().to_owned();
    assert_eq!(find(b, "Petrel").unwrap()["id"], id.as_str());
    b.json(&["memory", "add", "The mooring is number 12"]);
    eventually("what B keeps is on A", || find(a, "mooring"));

    // One erases, and nobody has it: no server owes a receipt.
    let erased = b.json(&["erase", "--everywhere", &id, "--now", "--yes"]);
    let erasure = erased["erasures"][0]["erasure"].as_str().unwrap().to_owned();
    eventually("it is gone from A", || find(a, "Petrel").is_none().then_some(()));
    eventually("the erasure is complete", || {
        let shown = a.json(&["erasures", "show", &erasure]);
        (shown["complete"] == true).then_some(())
    });

    // What changed while the other one was off comes at the next meeting.
    b.run(&["engine", "stop"]);
    a.json(&["memory", "add", "The anchor weighs 9 kg"]);
    eventually("B has caught up", || {
        b.json(&["sync", "once"]);
        find(b, "anchor")
    });
    assert!(find(a, "mooring").is_some() && find(a, "Petrel").is_none());
    let doctor = b.run(&["sync", "doctor"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    assert!(!doctor.stdout.contains("PROOF"), "{doctor:?}");
}

#[test]
fn an_account_without_a_server_lives_on_the_local_network() {
    let (models, lan) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let network = Network::Folder(lan.path().to_owned());
    let (a, b) = (
        bare(models.path(), network.clone()),
        bare(models.path(), network.clone()),
    );
    live_without_a_server(&a, &b);

    // Somebody else's account on the same network: neither meets the other, and nothing of either comes to the other.
    let stranger = bare(models.path(), network);
    stranger.json(&["account", "create", "--no-server", "--name", "stranger"]);
    stranger.json(&["memory", "add", "The stranger's boat is called Gannet"]);
    let mut watched = Dialogue::start(&stranger, &["sync", "watch"]);
    assert_eq!(watched.line()["state"], "no_server");

    // Shut out while it is there, it is told so, and finds nobody any more.
    let (one, two) = (device(&a), device(&b));
    let mut told = Dialogue::start(&b, &["sync", "watch"]);
    eventually("all three are announced", || announced(lan.path(), 3));
    eventually("B is back", || met(&b, &one));
    eventually("A sees it", || met(&a, &two));
    let revoked = a.json(&["devices", "revoke", &two, "--yes"]);
    assert!(revoked["devices"].to_string().contains("\"revoked\":true"));
    while told.event("sync_state_changed")["state"] != "revoked" {}
    drop(told);
    eventually("B is announced no more", || announced(lan.path(), 2));
    assert_eq!(b.json(&["account", "status"])["state"], "revoked");
    a.json(&["memory", "add", "The tide turns at noon"]);
    assert!(find(&b, "tide").is_none());
    assert_eq!(stranger.json(&["account", "status"])["met"], Value::Null);
    assert_eq!(
        stranger.json(&["memory", "list"])["memories"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    assert!(find(&a, "Gannet").is_none() && find(&b, "Gannet").is_none());
    let doctor = a.run(&["sync", "doctor"]);
    assert!(!doctor.stdout.contains("PROOF"), "{doctor:?}");
}

#[test]
fn devices_meet_while_the_server_is_away_and_bring_it_what_they_exchanged() {
    let (models, lan) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let network = Network::Folder(lan.path().to_owned());
    let (a, b) = (bare(models.path(), network.clone()), bare(models.path(), network));
    let mut server = SyncServer::start();
    a.json(&["account", "create", "--server", &server.address, "--name", "desk"]);
    pair(&a, &b, &server);
    let gone = a.json(&["memory", "add", "The safe opens with 4711"]);
    let gone = gone["memory"]["id"].as_str().unwrap().to_owned();
    eventually("B has it", || {
        b.json(&["sync", "once"]);
        find(&b, "4711")
    });
    announced(lan.path(), 0).expect("nothing is announced while the server is there");

    server.stop();
    let two = device(&b);
    eventually("A meets B", || met(&a, &two));
    a.json(&["memory", "add", "My boat is called Petrel"]);
    eventually("it is on B without the server", || find(&b, "Petrel"));
    // An erasure goes on without the server, whose receipt stays pending, and is shown so.
    let erased = b.json(&["erase", "--everywhere", &gone, "--yes"]);
    let erasure = erased["erasures"][0]["erasure"].as_str().unwrap().to_owned();
    eventually("it is gone from A", || find(&a, "4711").is_none().then_some(()));
    eventually("A has confirmed to B", || {
        let shown = b.json(&["erasures", "show", &erasure]);
        let confirmed = shown["confirmed"].as_array().unwrap().len();
        (confirmed == 2 && shown["receipts"] == 0 && shown["waits_for_servers"] == 1).then_some(())
    });
    let revoked = a.run(&["devices", "rotate"]);
    assert_eq!(revoked.code, 8, "only the server takes that: {revoked:?}");

    // It comes back: everybody goes to it, and what was exchanged goes up.
    server.resume();
    for profile in [&a, &b] {
        eventually("it is in sync with the server", || {
            profile.run(&["sync", "once", "--limit", "2"]);
            let status = profile.json(&["account", "status"]);
            (status["state"] == "live" && status["settled"] == true).then_some(())
        });
    }
    eventually("the server's receipt", || {
        (a.json(&["erasures", "show", &erasure])["receipts"] == 1).then_some(())
    });
    // What was ordered without the server gets its certificate with it.
    a.json(&["devices", "rotate"]);
    eventually("the erasure is complete", || {
        b.json(&["sync", "once"]);
        (a.json(&["erasures", "show", &erasure])["complete"] == true).then_some(())
    });
    let file = a.scratch().join("certificate");
    let path = file.to_str().unwrap();
    a.json(&["erasures", "certificate", &erasure, "-o", path]);
    assert_eq!(b.run(&["certificate", "verify", path]).code, 0);
    eventually("nothing is announced any more", || announced(lan.path(), 0));

    // Turned off on one device, they don't meet.
    a.json(&["settings", "set", "local_network", "false"]);
    server.stop();
    eventually("B looks for it", || {
        b.run(&["sync", "once", "--limit", "1"]);
        announced(lan.path(), 1)
    });
    a.run(&["sync", "once", "--limit", "2"]);
    assert_eq!(a.json(&["account", "status"])["state"], "offline");
    announced(lan.path(), 1).expect("B alone is");
}

/// Two network namespaces that a cable joins. None where the system doesn't allow them.
struct Cable(String);

impl Cable {
    fn lay() -> Option<Self> {
        let name = format!("hl{}", std::process::id() % 100_000);
        let cable = Self(name);
        let ok = |line: &str| {
            let mut words = line.split(' ');
            let ran = Command::new(words.next()?).args(words).output().ok()?;
            ran.status.success().then_some(())
        };
        let [a, b] = cable.names();
        ok(&format!("ip netns add {a}"))?;
        ok(&format!("ip netns add {b}"))?;
        ok(&format!(
            "ip link add {a} netns {a} type veth peer name {b} netns {b}"
        ))?;
        for (place, name) in [&a, &b].into_iter().enumerate() {
            let inside = format!("ip -n {name}");
            ok(&format!(
                "{inside} addr add 10.213.7.{}/24 brd + dev {name}",
                place + 1
            ))?;
            ok(&format!("{inside} link set lo up"))?;
            ok(&format!("{inside} link set {name} up"))?;
            ok(&format!("{inside} route add 224.0.0.0/4 dev {name}"))?;
        }
        Some(cable)
    }

    /// Gives the second machine another address.
    fn renumber(&self) -> Option<()> {
        let [_, b] = self.names();
        for change in ["addr del 10.213.7.2/24", "addr add 10.213.7.77/24 brd +"] {
            let line = format!("-n {b} {change} dev {b}");
            let ran = Command::new("ip").args(line.split(' ')).output().ok()?;
            ran.status.success().then_some(())?;
        }
        let line = format!("-n {b} route replace 224.0.0.0/4 dev {b}");
        let ran = Command::new("ip").args(line.split(' ')).output().ok()?;
        ran.status.success().then_some(())
    }

    fn names(&self) -> [String; 2] {
        ["a", "b"].map(|end| format!("{}{end}", self.0))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in self.names() {
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

#[test]
fn two_machines_find_each_other_by_multicast() {
    let Some(cable) = Cable::lay() else {
        eprintln!("skipped: this system allows no network namespaces");
        return;
    };
    let models = tempfile::tempdir().unwrap();
    let [a, b] = cable
        .names()
        .map(|name| bare(models.path(), Network::Namespace(name)));
    live_without_a_server(&a, &b);

    // Another address on the same network, as after a night at another router.
    let (one, two) = (device(&a), device(&b));
    let _there = [&a, &b].map(|profile| Dialogue::start(profile, &["sync", "watch"]));
    eventually("they meet", || met(&a, &two).and_then(|()| met(&b, &one)));
    cable.renumber().expect("the address is changed");
    a.json(&["memory", "add", "The tide turns at noon"]);
    let deadline = Instant::now() + Duration::from_mins(2);
    while find(&b, "tide").is_none() {
        assert!(
            Instant::now() < deadline,
            "they find each other at the new address"
        );
    }
}

/// What is announced in the folder: port and signs.
fn announcements(folder: &Path) -> Vec<(u16, String)> {
    let files = std::fs::read_dir(folder).unwrap().flatten();
    files
        .filter(|file| !file.file_name().as_encoded_bytes().starts_with(b"."))
        .filter_map(|file| {
            let text = std::fs::read_to_string(file.path()).ok()?;
            let (port, signs) = text.split_once(' ')?;
            Some((port.parse().ok()?, signs.to_owned()))
        })
        .collect()
}

/// Calls a device as somebody whom it doesn't know, and says something; why it was closed.
async fn call_as_a_stranger(port: u16, said: &[u8]) -> Option<ErrorCode> {
    let identity = Identity::from_seed(&[7; 32]).unwrap();
    let network = hearth_core::net::Network::new().unwrap();
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let mut connection = match network.connect_to(&identity, address, "peer").await {
        Ok(connection) => connection,
        Err(DialError::Closed(code)) => return Some(code),
        Err(error) => panic!("{error}"),
    };
    let _ = connection.sender.frame(said.to_vec());
    match connection.events.next().await {
        Event::Closed(closed) => closed.code,
        heard => panic!("a stranger is told {heard:?}"),
    }
}

#[test]
fn strangers_garbage_and_forged_announcements_change_nothing() {
    let (models, lan) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let network = Network::Folder(lan.path().to_owned());
    let (a, b) = (bare(models.path(), network.clone()), bare(models.path(), network));
    pair_without_server(&a, &b);
    let (one, two) = (device(&a), device(&b));
    eventually("they meet", || met(&a, &two).and_then(|()| met(&b, &one)));

    // Datagrams that are nothing, and such as begin like a handshake.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let announced = announcements(lan.path());
    assert_eq!(announced.len(), 2);
    for (port, _) in &announced {
        for number in 0..2_000_u32 {
            let mut datagram: Vec<u8> = (0..number % 1_300)
                .map(|place| (number.wrapping_mul(2_654_435_761).wrapping_add(place * 97) >> 7) as u8)
                .collect();
            if let (0, Some(first)) = (number % 2, datagram.first_mut()) {
                *first = 0xc3;
            }
            let _ = socket.send_to(&datagram, (Ipv4Addr::LOCALHOST, *port));
        }
    }

    // Callers with keys of their own, whatever they say: none hears a word.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let patience = Duration::from_secs(30);
    for (port, _) in &announced {
        for said in [&b""[..], b"garbage", &[0xff; 4_096]] {
            let called = call_as_a_stranger(*port, said);
            let closed = runtime.block_on(async { tokio::time::timeout(patience, called).await });
            assert_eq!(closed.unwrap(), Some(ErrorCode::WrongTransportKey));
        }
    }

    // Announcements that are garbage, and one with a member's own signs at somebody else's address, which comes first.
    for (name, text) in [
        ("000", ""),
        ("001", "70000 00"),
        ("002", "1 zz"),
        ("003", "\u{fffd} \u{fffd}"),
    ] {
        std::fs::write(lan.path().join(name), text).unwrap();
    }
    let _inside = runtime.enter();
    let seed = Identity::from_seed(&[8; 32]).unwrap();
    let bound = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut trap = Listener::new(bound, &seed, Limits::default()).unwrap();
    let port = trap.address().unwrap().port();
    for (place, (_, signs)) in announced.iter().enumerate() {
        std::fs::write(lan.path().join(format!("01{place}")), format!("{port} {signs}")).unwrap();
    }
    // Who calls next calls the trap, and tells it nothing.
    b.run(&["engine", "stop"]);
    let mut watched = Dialogue::start(&b, &["sync", "watch"]);
    let fell = runtime.block_on(async {
        let mut caught = tokio::time::timeout(patience, trap.accept())
            .await
            .unwrap()
            .unwrap();
        tokio::time::timeout(patience, caught.events.next())
            .await
            .unwrap()
    });
    assert!(matches!(fell, Event::Closed(_)), "the trap was told {fell:?}");
    assert!(watched.line()["account"].is_string());

    // All of it has changed nothing between the two.
    a.json(&["memory", "add", "The tide turns at noon"]);
    eventually("they find each other all the same", || find(&b, "tide"));
    for profile in [&a, &b] {
        let status = profile.json(&["account", "status"]);
        assert_eq!(status["devices"].as_array().map(Vec::len), Some(2), "{status}");
        assert!(
            status["findings"].as_array().is_none_or(Vec::is_empty),
            "{status}"
        );
    }
}

#[test]
fn a_server_that_comes_and_goes_between_loses_and_doubles_nothing() {
    let (models, lan) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let network = Network::Folder(lan.path().to_owned());
    let (a, b) = (bare(models.path(), network.clone()), bare(models.path(), network));
    let mut server = SyncServer::start();
    a.json(&["account", "create", "--server", &server.address, "--name", "desk"]);
    pair(&a, &b, &server);
    let _there = [&a, &b].map(|profile| Dialogue::start(profile, &["sync", "watch"]));
    let (one, two) = (device(&a), device(&b));
    let things = ["anchor", "buoy", "compass", "dinghy", "engine", "fender"];
    for (round, pair) in things.chunks(2).enumerate() {
        if round == 1 {
            server.stop();
            eventually("they meet", || met(&a, &two).and_then(|()| met(&b, &one)));
        }
        for (profile, thing) in [&a, &b].into_iter().zip(pair) {
            profile.json(&["memory", "add", &format!("The {thing} is in locker {round}")]);
        }
        if round == 1 {
            // Right behind the edits.
            server.resume();
        }
    }
    for profile in [&a, &b] {
        eventually("it is in sync with the server", || {
            profile.run(&["sync", "once", "--limit", "2"]);
            let status = profile.json(&["account", "status"]);
            (status["state"] == "live" && status["settled"] == true).then_some(())
        });
    }
    for profile in [&a, &b] {
        for thing in things {
            eventually("it is there once", || {
                let listed = profile.json(&["memory", "list", "--text", thing]);
                (listed["memories"].as_array().map(Vec::len) == Some(1)).then_some(())
            });
        }
        let doctor = profile.run(&["sync", "doctor"]);
        assert!(!doctor.stdout.contains("PROOF"), "{doctor:?}");
    }
}
