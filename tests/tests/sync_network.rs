//! Several devices and a server, all real processes, over a network that loses, delays and reorders, and while they are
//! killed: what a command has confirmed is on all devices in the end, and what was erased is on none.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use hearth_tests::bad_network::{BadNetwork, Weather};
use hearth_tests::device::{Device, LIMIT, converged, said, within};
use hearth_tests::dice::Dice;
use hearth_tests::pages::{Opened, Texts, files_below};
use hearth_tests::sync_server::SyncServer;

/// What one device's commands have confirmed.
#[derive(Debug, Default)]
struct Confirmed {
    /// Memories that were kept: id and text.
    kept: Vec<(String, String)>,
    /// New texts of corrections.
    corrected: Vec<String>,
    /// Memories that were pinned.
    pinned: Vec<String>,
    /// Texts of turns of chats.
    said: Vec<String>,
    /// Words of memories whose erasure was ordered.
    erased: Vec<String>,
    /// Commands that failed, as they do when the engine dies meanwhile.
    failed: u64,
}

/// Writes on a device until `stop` says so or `most` commands are done; `pause_ms` is between them.
fn write(device: &Device, seed: u64, pause_ms: u64, most: u64, stop: &Receiver<()>) -> Confirmed {
    let mut dice = Dice::new(seed);
    let mut done = Confirmed::default();
    for _ in 0..most {
        match stop.recv_timeout(Duration::from_millis(dice.within(&(0..=pause_ms)))) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => break,
        }
        let words = format!("{} {} {}", dice.word(12), dice.word(9), dice.word(10));
        let chosen = done
            .kept
            .get(dice.bits() as usize % done.kept.len().max(1))
            .cloned();
        let profile = &device.profile;
        let worked = match (dice.bits() % 20, chosen) {
            (0 | 1, Some((id, _))) => {
                let edited = profile.run(&["memory", "edit", &id, &words, "--json"]);
                said(&edited).map(|_| done.corrected.push(words))
            }
            (2 | 3, Some((id, _))) => {
                let pinned = profile.run(&["memory", "pin", &id, "--json"]);
                said(&pinned).map(|_| done.pinned.push(id))
            }
            (4, Some((id, text))) if !done.corrected.contains(&text) => {
                done.kept.retain(|(other, _)| *other != id);
                done.pinned.retain(|other| *other != id);
                let erased = profile.run(&["erase", "--everywhere", &id, "--yes", "--json"]);
                said(&erased).map(|_| done.erased.push(text))
            }
            (5..=7, _) => {
                let file = profile.scratch().join("chat.jsonl");
                let turns = format!(
                    "{{\"role\":\"user\",\"content\":\"{words}\"}}\n{{\"role\":\"assistant\",\"content\":\"Yes.\"}}\n"
                );
                std::fs::write(&file, turns).unwrap();
                let imported = profile.run(&["chats", "import", file.to_str().unwrap(), "--json"]);
                said(&imported).map(|_| done.said.push(words))
            }
            _ => {
                let kept = profile.run(&["memory", "add", &words, "--json"]);
                said(&kept).map(|kept| {
                    let id = kept["memory"]["id"].as_str().unwrap().to_owned();
                    done.kept.push((id, words));
                })
            }
        };
        done.failed += u64::from(worked.is_none());
    }
    done
}

/// Writes on all devices at once, while `meanwhile` goes on; its end ends the writing.
fn all_write(
    devices: &[Device],
    seed: u64,
    pause_ms: u64,
    most: u64,
    meanwhile: impl FnOnce(),
) -> Vec<Confirmed> {
    std::thread::scope(|scope| {
        let (stops, writers): (Vec<Sender<()>>, Vec<_>) = devices
            .iter()
            .zip(1..)
            .map(|(device, number)| {
                let (stop, stopped) = channel();
                let seed = seed.wrapping_mul(1_000).wrapping_add(number);
                (
                    stop,
                    scope.spawn(move || write(device, seed, pause_ms, most, &stopped)),
                )
            })
            .unzip();
        meanwhile();
        drop(stops);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

/// All devices come to the same, with everything that was confirmed and nothing that was erased.
fn check(devices: &[Device], confirmed: &[Confirmed], limit: Duration) {
    let memories = converged(devices, limit);
    let chats = serde_json::to_string(&devices[0].chats()).unwrap();
    let texts: BTreeSet<&str> = memories
        .values()
        .map(|memory| memory["text"].as_str().unwrap())
        .collect();
    let mut counts = [0; 5];
    for done in confirmed {
        for (id, text) in &done.kept {
            let memory = memories.get(id);
            assert!(
                memory.is_some_and(|memory| memory["text"] == text.as_str()),
                "lost: {id} {text}"
            );
        }
        for text in &done.corrected {
            assert!(texts.contains(text.as_str()), "a correction is lost: {text}");
        }
        for id in &done.pinned {
            assert_eq!(memories[id]["pinned"], true, "a pin is lost: {id}");
        }
        for text in &done.said {
            assert!(chats.contains(text.as_str()), "a turn is lost: {text}");
        }
        for text in &done.erased {
            assert!(!texts.contains(text.as_str()), "revived: {text}");
        }
        let done = [
            &done.kept.len(),
            &done.corrected.len(),
            &done.pinned.len(),
            &done.said.len(),
            &done.erased.len(),
        ];
        for (count, more) in counts.iter_mut().zip(done) {
            *count += *more;
        }
    }
    let failed: u64 = confirmed.iter().map(|done| done.failed).sum();
    println!("kept, corrected, pinned, said, erased: {counts:?}; failed {failed}");
    assert!(
        counts[0] > devices.len() && counts[3] > 0,
        "something was written: {counts:?}"
    );
}

/// Nothing of what was erased is in any file or page of the homes, nor in the server's folder.
fn check_erased(devices: &[Device], server: &SyncServer, confirmed: &[Confirmed]) {
    let erased = confirmed.iter().flat_map(|done| &done.erased);
    let erased = Texts::new(erased.map(String::as_str));
    for device in devices {
        device.stop();
        let opened = Opened::of(&device.profile.home(), device.profile.scratch());
        assert_eq!(erased.found_in(&opened.pages()), None, "a page has it");
        for file in files_below(&device.profile.home()) {
            // Locks and sockets come and go.
            let Ok(bytes) = std::fs::read(&file) else { continue };
            assert_eq!(erased.found_in(&bytes), None, "{}", file.display());
        }
        // What long documents deflate is looked for in a few: it takes long.
        let documents = opened.blobs("SELECT document FROM sync_document");
        for document in documents.iter().filter(|it| it.len() > 600).take(100) {
            assert_eq!(erased.found_inflated(document), None, "a document has it");
        }
    }
    for file in files_below(&server.data()) {
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(erased.found_in(&bytes), None, "{}", file.display());
    }
}

fn through_a_storm(count: usize, lost_percent: u64, seed: u64, writes: u64) {
    println!("seed {seed}");
    let server = SyncServer::start();
    let network = BadNetwork::before(server.port(), Weather::stormy(lost_percent), seed);
    let (devices, _) = Device::account(count, &network.address_of(&server.address));
    let begun = Instant::now();
    let confirmed = all_write(&devices, seed, 100, writes, || {
        // In the middle of it nobody reaches anybody for a while, longer than a connection lives without an answer.
        let (_never, event) = channel::<()>();
        let _ = event.recv_timeout(Duration::from_millis(700));
        network.cut(true);
        let _ = event.recv_timeout(Duration::from_millis(1500));
        network.cut(false);
        let _ = event.recv_timeout(Duration::from_millis(100 * writes));
    });
    check(&devices, &confirmed, LIMIT);
    println!("{:?}; {:?}", begun.elapsed(), network.tally());
    let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let tally = network.tally();
    assert!(
        number(&tally.lost) > 20 && number(&tally.overtook) > 20 && number(&tally.cut) > 0,
        "{tally:?}"
    );
    check_erased(&devices, &server, &confirmed);
}

#[test]
fn two_devices_converge_over_a_network_that_loses_a_tenth_and_reorders() {
    through_a_storm(2, 10, 1, 30);
}

#[test]
fn five_devices_converge_over_a_network_that_loses_a_twentieth_and_reorders() {
    through_a_storm(5, 5, 2, 20);
}

/// Kills the server and each engine at random moments while all devices write; each comes back at once or a little later.
fn killed_while_writing(count: usize, seed: u64, lasting: Duration, pause_ms: u64) {
    println!("seed {seed}, {lasting:?}");
    let mut server = SyncServer::start();
    let (devices, _) = Device::account(count, &server.address);
    let mut dice = Dice::new(seed);
    let mut kills = vec![0; count + 1];
    let confirmed = all_write(&devices, seed, pause_ms, u64::MAX, || {
        let (_never, event) = channel::<()>();
        let pause = |dice: &mut Dice, longest: u64| {
            let _ = event.recv_timeout(Duration::from_millis(dice.within(&(0..=longest))));
        };
        let end = Instant::now() + lasting;
        while Instant::now() < end {
            pause(&mut dice, 900);
            // One in five times the server and a device at once.
            let (victim, both) = (dice.bits() as usize % (count + 1), dice.percent(20));
            let stays_away = dice.percent(25);
            if victim == count || both {
                server.kill();
                kills[count] += 1;
            }
            if let Some(device) = devices.get(victim) {
                device.kill();
                kills[victim] += 1;
            }
            if stays_away {
                pause(&mut dice, 1500);
            }
            if victim == count || both {
                server.resume();
            }
            if let Some(device) = devices.get(victim) {
                device.start();
            }
        }
    });
    println!("killed: {kills:?} (the last is the server)");
    assert!(kills.iter().all(|kills| *kills > 0), "{kills:?}");
    check(&devices, &confirmed, LIMIT + lasting / 2);
    check_erased(&devices, &server, &confirmed);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert_eq!(server.operate(&["check"]).trim(), "all is well");
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn two_devices_and_the_server_are_killed_while_they_write_and_nothing_confirmed_is_lost() {
    let seed = number("HEARTH_TEST_SEED", 3);
    killed_while_writing(2, seed, Duration::from_secs(15), 150);
}

/// An hour, or as many seconds as `HEARTH_TEST_KILL_SECONDS` says.
#[test]
fn big_five_devices_and_the_server_are_killed_for_an_hour_and_nothing_confirmed_is_lost() {
    let lasting = Duration::from_secs(number("HEARTH_TEST_KILL_SECONDS", 60 * 60));
    let seed = number("HEARTH_TEST_SEED", 4);
    killed_while_writing(5, seed, lasting, 1_500);
}

/// The network is gone when a device is let in, and when an erasure is ordered: both go on when it is back.
#[test]
fn an_erasure_that_is_ordered_without_a_network_arrives_when_it_is_back() {
    let server = SyncServer::start();
    let network = BadNetwork::before(server.port(), Weather::stormy(5), 9);
    let (devices, _) = Device::account(2, &network.address_of(&server.address));
    let id = devices[0].add("wollemia pinefestival tickets");
    converged(&devices, LIMIT);
    network.cut(true);
    devices[0].profile.json(&["erase", "--everywhere", &id, "--yes"]);
    assert!(devices[0].find("wollemia").is_none());
    assert!(devices[1].find("wollemia").is_some());
    network.cut(false);
    within(LIMIT, "the erasure arrives", || {
        devices[1].find("wollemia").is_none().then_some(())
    });
}
