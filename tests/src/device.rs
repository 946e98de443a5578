//! A device of an account: a profile without models, and an engine of its own that can be killed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hearth::{Profile, Ran};
use crate::sync_server::let_in;

/// How long something may take on a slow machine that has other things to do: it only ends what hangs.
pub const LIMIT: Duration = Duration::from_mins(2);

/// A profile without models, and its engine.
pub struct Device {
    /// The profile.
    pub profile: Profile,
    engine: Mutex<Option<Child>>,
    _models: tempfile::TempDir,
}

impl Device {
    /// A device without an account, whose engine doesn't run.
    pub fn new() -> Self {
        let models = tempfile::tempdir().expect("a temporary folder");
        Self {
            profile: Profile::with_models(models.path()),
            engine: Mutex::new(None),
            _models: models,
        }
    }

    /// An account of so many devices at a server's address, each with its engine running; and the recovery phrase.
    pub fn account(count: usize, address: &str) -> (Vec<Self>, String) {
        let devices: Vec<Self> = (0..count).map(|_| Self::new()).collect();
        for device in &devices {
            // The first command makes the profile.
            device.profile.json(&["status"]);
            device.start();
        }
        let first = &devices[0].profile;
        let created = first.json(&["account", "create", "--server", address, "--name", "device 0"]);
        for (number, device) in devices.iter().enumerate().skip(1) {
            let begun = Instant::now();
            let_in(first, &device.profile, address, &format!("device {number}"));
            println!("device {number} was let in within {:?}", begun.elapsed());
        }
        let phrase = created["phrase"].as_str().expect("a phrase").to_owned();
        (devices, phrase)
    }

    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts its engine, and waits until it can be attached to. A short command that is just at work has the profile, or an
    /// engine that a longer one has started: it tries again until the one is done, and the other has ended.
    pub fn start(&self) {
        let deadline = Instant::now() + LIMIT;
        let mut running = self.running();
        while running.is_none() {
            let log = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(self.profile.scratch().join("engine.log"))
                .expect("a log");
            let mut child = self
                .profile
                .command(&["engine", "--json"])
                .stdout(Stdio::piped())
                .stderr(log)
                .spawn()
                .expect("hearth starts");
            let mut line = String::new();
            let stdout = child.stdout.take().expect("standard output is piped");
            let _ = BufReader::new(stdout).read_line(&mut line);
            if line.contains("\"ready\":true") {
                *running = Some(child);
            } else {
                let _ = child.wait();
                self.profile.run(&["engine", "stop"]);
                assert!(Instant::now() < deadline, "the engine starts: {}", self.log());
            }
        }
    }

    /// Ends its engine as a power cut would.
    pub fn kill(&self) {
        if let Some(mut child) = self.running().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends its engine in order.
    pub fn stop(&self) {
        let ran = self.profile.run(&["engine", "stop"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        if let Some(mut child) = self.running().take() {
            let _ = child.wait();
        }
    }

    /// What its engine has written to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.profile.scratch().join("engine.log")).unwrap_or_default()
    }

    /// Every memory by its id, without what is counted on each device apart.
    pub fn memories(&self) -> BTreeMap<String, Value> {
        self.try_memories().expect("memories are listed")
    }

    /// The same, unless the engine just goes away.
    pub fn try_memories(&self) -> Option<BTreeMap<String, Value>> {
        let mut found = BTreeMap::new();
        loop {
            let offset = found.len().to_string();
            let listed = said(
                &self
                    .profile
                    .run(&["memory", "list", "--limit", "1000", "--offset", &offset, "--json"]),
            )?;
            let page = listed["memories"].as_array()?;
            for memory in page {
                let mut memory = memory.clone();
                for counted in ["use_count", "last_used_at_ms"] {
                    memory.as_object_mut()?.remove(counted);
                }
                found.insert(memory["id"].as_str()?.to_owned(), memory);
            }
            if page.len() < 1000 {
                return Some(found);
            }
        }
    }

    /// The memory with these letters, of those there are.
    pub fn find(&self, text: &str) -> Option<Value> {
        let listed = self.profile.json(&["memory", "list", "--text", text]);
        listed["memories"].as_array()?.first().cloned()
    }

    /// Keeps a memory; its id.
    pub fn add(&self, text: &str) -> String {
        let kept = self.profile.json(&["memory", "add", text]);
        kept["memory"]["id"].as_str().expect("an id").to_owned()
    }

    /// All chats as they are exported, the latest change of each, by its id.
    pub fn chats(&self) -> BTreeMap<String, Value> {
        let exported = self.profile.json(&["chats", "export"]);
        let chats = exported["chats"].as_array().cloned().unwrap_or_default();
        chats
            .into_iter()
            .map(|chat| (chat["id"].as_str().unwrap_or_default().to_owned(), chat))
            .collect()
    }

    /// How sync stands.
    pub fn status(&self) -> Value {
        self.profile.json(&["account", "status"])
    }
}

impl Default for Device {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A device without an account, whose engine runs.
pub fn ready() -> Device {
    let device = Device::new();
    device.profile.json(&["status"]);
    device.start();
    device
}

/// What a person reads who asks what is wrong.
pub fn doctor(device: &Device) -> String {
    let ran = device.profile.run(&["sync", "doctor"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout
}

/// Each of these words is in what was said.
pub fn assert_says(said: &str, words: &[&str]) {
    println!("{}", said.trim());
    for word in words {
        assert!(said.contains(word), "{word:?} isn't in {said:?}");
    }
}

/// What a command said, if it succeeded.
pub fn said(ran: &Ran) -> Option<Value> {
    (ran.code == 0).then(|| ran.value())
}

/// Asks until something is there: each try takes as long as a process; at most [`LIMIT`].
pub fn eventually<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, found)
}

/// The same with another limit.
pub fn within<T>(limit: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
    }
}

/// Waits until all devices have the same memories and chats and nothing on the way; gives the memories.
///
/// Fails when that takes longer than `limit`, and when one of them accuses anybody of an attack or shows another problem.
pub fn converged(devices: &[Device], limit: Duration) -> BTreeMap<String, Value> {
    let deadline = Instant::now() + limit;
    loop {
        let states: Vec<Ran> = devices
            .iter()
            .map(|device| device.profile.run(&["sync", "once", "--limit", "20", "--json"]))
            .collect();
        let all: Vec<_> = devices.iter().map(Device::memories).collect();
        let chats: Vec<_> = devices.iter().map(Device::chats).collect();
        let same = all.iter().all(|other| *other == all[0]) && chats.iter().all(|other| *other == chats[0]);
        if same && states.iter().all(|ran| ran.code == 0) {
            for device in devices {
                let status = device.status();
                assert!(status["problem"].is_null(), "{status}");
                assert!(!device.log().contains("panicked"), "{}", device.log());
            }
            return all.into_iter().next().unwrap_or_default();
        }
        for ran in states.iter().filter(|ran| ran.code != 0) {
            println!("not yet: {}", ran.stderr.trim());
        }
        if Instant::now() > deadline {
            let mut lines = String::new();
            for (device, (memories, ran)) in devices.iter().zip(all.iter().zip(&states)) {
                let differ: Vec<_> = memories
                    .iter()
                    .filter(|(id, memory)| all[0].get(*id) != Some(memory))
                    .map(|(id, memory)| (memory, all[0].get(id)))
                    .take(3)
                    .collect();
                let _ = write!(
                    lines,
                    "\n{} memories, {differ:?} differ; {ran:?}\n{}",
                    memories.len(),
                    device.status()
                );
            }
            panic!("the devices haven't converged within {limit:?}: {lines}");
        }
    }
}
