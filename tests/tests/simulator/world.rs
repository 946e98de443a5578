//! Devices, a server, the network between them, and a clock. Everything that happens is drawn from one seed:
//! [`World::trace`] is the hash of all of it.

use std::collections::{BTreeMap, VecDeque};

use hearth_core::engine::testing::{Done, Driver, ToSend};
use hearth_faults::{Cut, Fault};
use hearth_protocol::codec::Wire;
use hearth_protocol::control::{ServerIdentity, device_proof_id};
use hearth_protocol::entropy::Entropy;
use hearth_protocol::envelope::Batch;
use hearth_protocol::hash::sha256;
use hearth_protocol::id::{Hash, LogId};
use hearth_relay::{Input as ToRelay, Output as FromRelay};
use hearth_store::StoreError;
use hearth_sync::device::{Device, Founding, Input, Joining, Keychain, Notice, Peer};
use hearth_sync::recovery::Phrase;

use super::home::Home;
use super::model::{Model, Pending};
use super::random::Seeded;
use super::server::{Server, digest};

/// Beginning of the world's time.
const BEGINNING_MS: u64 = 1_800_000_000_000;

#[derive(Default)]
struct Pipe {
    control: VecDeque<Vec<u8>>,
    batches: BTreeMap<LogId, VecDeque<Vec<u8>>>,
    ends: bool,
}

impl Pipe {
    fn streams(&self) -> usize {
        usize::from(!self.control.is_empty()) + self.batches.len()
    }

    fn batch(&mut self, bytes: Vec<u8>) {
        // Batches of one log stay in order, as the senders see to; all else overtakes.
        let log = match Batch::decode(&bytes) {
            Ok(Batch::Run(run)) => run.log,
            _ => LogId([0; 16]),
        };
        self.batches.entry(log).or_default().push_back(bytes);
    }

    /// The next message of a stream; true: a batch.
    fn take(&mut self, stream: usize) -> Option<(bool, Vec<u8>)> {
        let mut stream = stream;
        if !self.control.is_empty() {
            if stream == 0 {
                return self.control.pop_front().map(|bytes| (false, bytes));
            }
            stream -= 1;
        }
        let log = *self.batches.keys().nth(stream)?;
        let queue = self.batches.get_mut(&log)?;
        let bytes = queue.pop_front();
        if queue.is_empty() {
            self.batches.remove(&log);
        }
        bytes.map(|bytes| (true, bytes))
    }
}

struct Connection {
    home: usize,
    up: Pipe,
    down: Pipe,
}

pub struct World {
    pub seed: u64,
    pub random: Seeded,
    pub homes: Vec<Home>,
    pub server: Server,
    pub model: Model,
    pub now_ms: u64,
    /// Faults of disks and connections come by themselves: once in so many events; 0: never.
    pub trouble: usize,
    connections: BTreeMap<u64, Connection>,
    next_session: u64,
    trace: Hash,
    events: u64,
    verbose: bool,
}

impl Drop for World {
    fn drop(&mut self) {
        hearth_store::testing::randomness(None);
    }
}

enum Choice {
    Connect(usize),
    HandOver(usize),
    Wake(usize),
    Up(u64),
    Down(u64),
    End(u64),
    ServerTick,
}

impl World {
    /// One device with an account at the server.
    pub fn new(seed: u64) -> World {
        Home::prepare();
        let mut random = Seeded::new(seed);
        let mut inner = Seeded::new(random.number());
        hearth_store::testing::randomness(Some(Box::new(move |bytes| inner.fill(bytes))));
        let server = Server::new(&mut random);
        let identity = ServerIdentity {
            key: server.key(),
            endpoint: "server:1".to_string().try_into().unwrap(),
        };
        let phrase = Phrase::random(&mut random);
        let founding = Founding {
            phrase,
            server: Some(identity),
            invitation: String::new(),
        };
        let mut world = World {
            seed,
            homes: vec![Home::new()],
            server,
            model: Model::default(),
            now_ms: BEGINNING_MS,
            trouble: 0,
            connections: BTreeMap::new(),
            next_session: 1,
            trace: Hash::ZERO,
            events: 0,
            verbose: std::env::var_os("WORLD").is_some(),
            random,
        };
        let keys = Keychain::random(&mut world.random);
        let (device, outputs) = Device::create(founding, keys, world.now_ms, &mut world.random).unwrap();
        let home = &mut world.homes[0];
        let mut store = home.open().unwrap();
        home.driver = Some(Driver::begin(&mut store, device, outputs, BEGINNING_MS as i64).unwrap());
        home.store = Some(store);
        home.online = true;
        world
    }

    /// Hash of everything that happened.
    pub fn trace(&self) -> Hash {
        self.trace
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn log(&mut self, what: &str, bytes: &[u8]) {
        self.events += 1;
        self.trace = sha256(&[&self.trace.0, what.as_bytes(), &digest(bytes).0].concat());
        if self.verbose {
            println!("{:6} {what} {} bytes", self.events, bytes.len());
        }
    }

    /// Prints details, where everything is to be printed.
    pub fn tell(&self, what: &dyn std::fmt::Debug) {
        if self.verbose {
            println!("       {what:?}");
        }
    }

    pub fn clock(&self, home: usize) -> u64 {
        self.now_ms.saturating_add_signed(self.homes[home].skew_ms)
    }

    pub fn device(&self, home: usize) -> Option<&Device> {
        self.homes[home].driver.as_ref().map(Driver::device)
    }

    /// Devices that are of the account, as far as is asked of them.
    pub fn living(&self) -> Vec<usize> {
        (0..self.homes.len())
            .filter(|home| !self.homes[*home].leaving)
            .collect()
    }

    /// Lets a device in, by one that is a member and works. False: that one can't now.
    pub fn enrol(&mut self, new: usize, by: usize) -> bool {
        let Some(old) = self.device(by) else { return false };
        if old.account().member(&old.id()).is_none() {
            return false;
        }
        let (account, genesis) = (old.account_id(), old.control_log()[0].clone());
        let (control, checkpoint) = (old.account().head(), old.checkpoint().unwrap_or(Hash::ZERO));
        let keys = Keychain::random(&mut self.random);
        let public = keys.public().unwrap();
        let transcript = sha256(&self.random.number().to_be_bytes());
        let proof = keys
            .signing()
            .unwrap()
            .sign(&device_proof_id(&account, &public, &transcript));
        let joining = Joining {
            genesis,
            control,
            checkpoint,
            transcript,
        };
        let now = self.clock(new);
        let (device, outputs) = Device::join(joining, keys, now, &mut self.random).unwrap();
        let home = &mut self.homes[new];
        let mut store = home.store.take().unwrap_or_else(|| home.open().unwrap());
        home.driver = Some(Driver::begin(&mut store, device, outputs, now as i64).unwrap());
        home.store = Some(store);
        home.online = true;
        self.log(&format!("enrol {new} by {by}"), &public.log.0);
        self.give(
            by,
            Input::Enrol {
                keys: public,
                proof,
                transcript,
            },
        );
        true
    }

    fn connect(&mut self, home: usize) {
        let Some(device) = self.device(home) else { return };
        let transport_key = device.keychain().transport_public().unwrap().0;
        let session = self.next_session;
        self.next_session += 1;
        let mut exporter = [0; 32];
        self.random.fill(&mut exporter);
        self.log(&format!("connect {home}"), &[]);
        let connected = ToRelay::Connected {
            transport_key,
            exporter,
        };
        self.connections.insert(
            session,
            Connection {
                home,
                up: Pipe::default(),
                down: Pipe::default(),
            },
        );
        self.homes[home].session = Some(session);
        if self.tell_server(session, connected) {
            self.give(
                home,
                Input::Connected {
                    exporter,
                    peer: Peer::Server,
                },
            );
        }
    }

    /// Gives the server something; false: it failed, and with it every connection.
    fn tell_server(&mut self, session: u64, input: ToRelay<'_>) -> bool {
        let made = self.server.step(session, input, self.now_ms, &mut self.random);
        self.server_says(made)
    }

    fn server_says(&mut self, made: Result<Vec<FromRelay>, hearth_relay::StoreError>) -> bool {
        if self.server.disk.is_dead() {
            self.end_server();
            return false;
        }
        let Ok(outputs) = made else {
            self.log("the server fails", &[]);
            self.server.disk.relieve();
            self.drop_all();
            return false;
        };
        for output in outputs {
            match output {
                FromRelay::Frame { to, bytes } => {
                    if let Some(connection) = self.connections.get_mut(&to.0) {
                        connection.down.control.push_back(bytes);
                    }
                }
                FromRelay::Batch { to, bytes, .. } => {
                    if let Some(connection) = self.connections.get_mut(&to.0) {
                        connection.down.batch(bytes);
                    }
                }
                FromRelay::Close { to, .. } => {
                    if let Some(connection) = self.connections.get_mut(&to.0) {
                        connection.down.ends = true;
                    }
                }
            }
        }
        true
    }

    /// The server's process ends.
    pub fn end_server(&mut self) {
        let cut = self.random.one_of(&[Cut::Process, Cut::Power]);
        self.log(&format!("the server ends, {cut:?}"), &[]);
        self.server.end(cut, &mut self.random);
        self.drop_all();
    }

    pub fn restore_server(&mut self) {
        if self.server.image.is_some() {
            self.drop_all();
            self.server.restore();
            self.log("the server is restored", &[]);
        }
    }

    fn drop_all(&mut self) {
        for connection in std::mem::take(&mut self.connections).into_values() {
            self.homes[connection.home].session = None;
            self.give(connection.home, Input::Disconnected);
        }
    }

    /// A connection ends, for both.
    pub fn drop_connection(&mut self, session: u64) {
        let Some(connection) = self.connections.remove(&session) else {
            return;
        };
        self.tell_server(session, ToRelay::Closed);
        let home = connection.home;
        if self.homes[home].session == Some(session) {
            self.homes[home].session = None;
            self.log(&format!("disconnect {home}"), &[]);
            self.give(home, Input::Disconnected);
        }
    }

    pub fn offline(&mut self, home: usize) {
        self.homes[home].online = false;
        if let Some(session) = self.homes[home].session {
            self.drop_connection(session);
        }
    }

    /// Gives a device an input, and does what it says.
    pub fn give(&mut self, home: usize, input: Input) {
        self.step_device(home, Some(input));
    }

    fn step_device(&mut self, home: usize, input: Option<Input>) {
        let now = self.clock(home) as i64;
        let this = &mut self.homes[home];
        let (Some(driver), Some(store)) = (this.driver.as_mut(), this.store.as_mut()) else {
            return;
        };
        this.changed = false;
        let done = driver.step(store, input, now);
        if this.disk.is_dead() {
            self.end(home, None);
            return;
        }
        match done {
            Ok(done) => self.follow(home, done),
            Err(error) => self.fail(home, &error.to_string()),
        }
    }

    /// A step failed, and its process goes on: as the engine's task does, with another machine and connection.
    fn fail(&mut self, home: usize, error: &str) {
        let this = &mut self.homes[home];
        assert!(
            this.disk.counts().failed > 0 && self.trouble > 0,
            "seed {}: device {home} fails on a sound disk: {error}",
            self.seed
        );
        this.driver = None;
        this.disk.relieve();
        this.disk.unplan();
        let session = this.session.take();
        self.log(&format!("a step of {home} fails"), &[]);
        if self.verbose {
            println!("       {error}");
        }
        if let Some(session) = session {
            self.connections.remove(&session);
            self.tell_server(session, ToRelay::Closed);
        }
    }

    fn follow(&mut self, home: usize, done: Done) {
        for send in done.send {
            let session = self.homes[home].session;
            let Some(connection) = session.and_then(|session| self.connections.get_mut(&session)) else {
                break;
            };
            match send {
                ToSend::Frame(bytes) => connection.up.control.push_back(bytes),
                ToSend::Batch(bytes) => connection.up.batch(bytes),
                ToSend::Close => {
                    if let Some(session) = self.homes[home].session.take() {
                        self.connections.remove(&session);
                        self.log(&format!("{home} hangs up"), &[]);
                        self.tell_server(session, ToRelay::Closed);
                    }
                }
            }
        }
        let this = &mut self.homes[home];
        if let Some(at) = done.wake_at_ms {
            let at = at.saturating_add_signed(-this.skew_ms);
            this.wake_ms = Some(this.wake_ms.map_or(at, |other| other.min(at)));
        }
        for notice in done.notices {
            if self.verbose {
                println!("       device {home}: {notice:?}");
            }
            match &notice {
                Notice::RestoredOrCopied => this.asked = true,
                Notice::Revoked => this.online = false,
                _ => {}
            }
            this.notices.push(notice);
        }
    }

    /// A device's process ends; `during` is what the person was doing just then.
    pub fn end(&mut self, home: usize, during: Option<Pending>) {
        let cut = self.random.one_of(&[Cut::Process, Cut::Power]);
        self.log(&format!("{home} ends, {cut:?}"), &[]);
        let this = &mut self.homes[home];
        this.disk.kill();
        this.driver = None;
        this.store = None;
        this.wake_ms = None;
        let random = &mut self.random;
        this.disk
            .restart(cut, &mut |limit| random.number() % limit)
            .unwrap();
        if let Some(session) = this.session.take() {
            self.connections.remove(&session);
            self.tell_server(session, ToRelay::Closed);
        }
        if during.is_some() {
            self.open(home);
            self.model.resolve(&self.homes[home], home, during, false);
        }
    }

    /// Opens a device's database again, whatever it takes.
    pub fn open(&mut self, home: usize) {
        for _ in 0..20 {
            let this = &mut self.homes[home];
            match this.open() {
                Ok(store) => {
                    this.store = Some(store);
                    return;
                }
                Err(error) => {
                    let dead = this.disk.is_dead();
                    assert!(
                        dead || (self.trouble > 0 && this.disk.counts().failed > 0),
                        "seed {}: device {home} can't be opened: {error}",
                        self.seed
                    );
                    if dead {
                        let cut = self.random.one_of(&[Cut::Process, Cut::Power]);
                        let random = &mut self.random;
                        let chance = &mut |limit| random.number() % limit;
                        self.homes[home].disk.restart(cut, chance).unwrap();
                    } else {
                        this.disk.relieve();
                        this.disk.unplan();
                    }
                    self.log(&format!("{home} can't start"), &[]);
                }
            }
        }
        panic!("seed {}: device {home} can't be opened", self.seed);
    }

    /// Starts what doesn't run; true: something was started.
    fn start_one(&mut self) -> bool {
        for home in 0..self.homes.len() {
            if self.homes[home].store.is_none() {
                self.open(home);
                return true;
            }
            if self.homes[home].driver.is_none() {
                let this = &mut self.homes[home];
                let loaded = this.store.as_mut().map(Driver::load);
                if this.disk.is_dead() {
                    self.end(home, None);
                    return true;
                }
                match loaded {
                    Some(Ok(Some(driver))) => {
                        this.driver = Some(driver);
                        self.log(&format!("start {home}"), &[]);
                        self.give(home, Input::Tick);
                        return true;
                    }
                    Some(Ok(None)) | None => {}
                    Some(Err(error)) => {
                        self.fail(home, &error.to_string());
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Starts everything.
    pub fn start_all(&mut self) {
        for _ in 0..200 {
            if !self.start_one() {
                return;
            }
        }
        panic!("seed {}: a device doesn't start", self.seed);
    }

    /// What a person says to a device that asks whether it was restored or copied.
    fn answer(&mut self) -> bool {
        for home in 0..self.homes.len() {
            let this = &self.homes[home];
            if !this.asked || this.leaving || this.driver.is_none() || this.store.is_none() {
                continue;
            }
            if this.copied {
                let Some(by) = self.living().into_iter().find(|other| {
                    let other = &self.homes[*other];
                    // Two devices are paired where they reach each other: over the server.
                    let works = other.online && other.driver.is_some() && other.store.is_some();
                    works && !other.copied && !other.asked
                }) else {
                    continue;
                };
                return self.rejoin(home, by);
            }
            self.homes[home].asked = false;
            self.log(&format!("{home} was restored"), &[]);
            self.give(home, Input::Restored);
            return true;
        }
        false
    }

    /// A copy leaves the account, and comes in again as a device of its own.
    fn rejoin(&mut self, home: usize, by: usize) -> bool {
        let this = &mut self.homes[home];
        this.driver = None;
        let ended = this.store.as_mut().map(hearth_store::Store::end_sync);
        if this.disk.is_dead() {
            self.end(home, None);
        } else if let Some(Err(error)) = ended
            // With the log in use it has ended all the same.
            && !matches!(error, StoreError::LogInUse)
        {
            self.fail(home, &error.to_string());
        } else {
            let trouble = std::mem::take(&mut self.trouble);
            self.homes[home].disk.unplan();
            self.homes[home].disk.relieve();
            if self.enrol(home, by) {
                let this = &mut self.homes[home];
                (this.asked, this.copied) = (false, false);
                self.model.rejoined(home);
            }
            self.trouble = trouble;
        }
        true
    }

    fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (number, home) in self.homes.iter().enumerate() {
            if home.driver.is_none() {
                continue;
            }
            if home.online && home.session.is_none() {
                choices.push(Choice::Connect(number));
            }
            if home.changed {
                choices.push(Choice::HandOver(number));
            }
            if home.wake_ms.is_some_and(|at| at <= self.now_ms) {
                choices.push(Choice::Wake(number));
            }
        }
        for (session, connection) in &self.connections {
            choices.extend((0..connection.up.streams()).map(|_| Choice::Up(*session)));
            choices.extend((0..connection.down.streams()).map(|_| Choice::Down(*session)));
            if connection.down.streams() == 0 && connection.down.ends {
                choices.push(Choice::End(*session));
            }
        }
        if self.server.wants_tick().is_some_and(|at| at <= self.now_ms) {
            choices.push(Choice::ServerTick);
        }
        choices
    }

    /// One event, drawn from the seed; false: there is nothing to do now.
    pub fn step(&mut self) -> bool {
        self.now_ms += 1 + self.random.number() % 20;
        if self.start_one() || self.answer() {
            return true;
        }
        let choices = self.choices();
        if choices.is_empty() {
            return false;
        }
        if self.trouble > 0 && self.random.once_in(self.trouble) {
            self.some_trouble();
        }
        match choices[self.random.below(choices.len())] {
            Choice::Connect(home) => self.connect(home),
            Choice::HandOver(home) => {
                self.log(&format!("{home} hands over"), &[]);
                self.step_device(home, None);
            }
            Choice::Wake(home) => {
                self.homes[home].wake_ms = None;
                self.log(&format!("tick {home}"), &[]);
                self.give(home, Input::Tick);
            }
            Choice::Up(session) => self.deliver_up(session),
            Choice::Down(session) => self.deliver_down(session),
            Choice::End(session) => self.drop_connection(session),
            Choice::ServerTick => {
                self.log("the server ticks", &[]);
                let made = self.server.tick(self.now_ms, &mut self.random);
                self.server_says(made);
            }
        }
        true
    }

    /// A fault that comes soon, or a connection that breaks.
    fn some_trouble(&mut self) {
        let fault = self.random.one_of(&[
            Fault::Crash,
            Fault::Crash,
            Fault::CrashWithin,
            Fault::CrashWithin,
            Fault::Broken,
            Fault::Full,
        ]);
        let after = self.random.below(40) as u64;
        match self.random.below(8) {
            0 | 1 => {
                let all: Vec<u64> = self.connections.keys().copied().collect();
                if !all.is_empty() {
                    let session = self.random.one_of(&all);
                    self.drop_connection(session);
                }
            }
            2 => self.server.disk.plan(after, fault),
            3 => {
                let reads = self.random.once_in(2);
                let home = self.random.below(self.homes.len());
                self.log(&format!("{home} is read elsewhere: {reads}"), &[]);
                self.homes[home].disk.read_elsewhere(reads);
            }
            _ => {
                let home = self.random.below(self.homes.len());
                self.homes[home].disk.plan(after, fault);
            }
        }
    }

    fn deliver_up(&mut self, session: u64) {
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        let stream = self.random.below(connection.up.streams());
        let Some((is_batch, bytes)) = connection.up.take(stream) else {
            return;
        };
        let what = format!("{} → server", connection.home);
        self.log(&what, &bytes);
        if self.verbose && !is_batch {
            let text = format!("{:?}", hearth_protocol::message::RequestFrame::decode(&bytes));
            println!("       {text:.200}");
        }
        let input = if is_batch {
            ToRelay::Batch(&bytes)
        } else {
            ToRelay::Frame(&bytes)
        };
        self.tell_server(session, input);
    }

    fn deliver_down(&mut self, session: u64) {
        let Some(connection) = self.connections.get_mut(&session) else {
            return;
        };
        let stream = self.random.below(connection.down.streams());
        let Some((is_batch, bytes)) = connection.down.take(stream) else {
            return;
        };
        let (home, drained) = (connection.home, connection.down.streams() == 0);
        self.log(&format!("server → {home}"), &bytes);
        if self.verbose && !is_batch {
            let text = format!("{:?}", hearth_protocol::message::ReplyFrame::decode(&bytes));
            println!("       {text:.200}");
        }
        let input = if is_batch {
            Input::Batch(bytes)
        } else {
            Input::Frame(bytes)
        };
        self.give(home, input);
        if drained && self.connections.contains_key(&session) {
            self.tell_server(session, ToRelay::Drained);
        }
    }

    /// Runs so many events.
    pub fn run(&mut self, events: usize) {
        for _ in 0..events {
            if !self.step() {
                return;
            }
        }
    }

    /// Runs until nothing happens any more and no clock is due within `patience_ms`.
    pub fn settle(&mut self, patience_ms: u64) {
        let end = self.now_ms + patience_ms;
        let mut steps = 0;
        loop {
            while self.step() {
                steps += 1;
                assert!(steps < 100_000, "seed {}: it never comes to rest", self.seed);
            }
            let wakes = self.homes.iter().filter(|home| home.driver.is_some());
            let next = wakes
                .filter_map(|home| home.wake_ms)
                .chain(self.server.wants_tick())
                .min();
            match next {
                Some(at) if at <= end => self.now_ms = self.now_ms.max(at),
                _ => return,
            }
        }
    }

    /// No more faults: all are online, with clocks that are right.
    pub fn heal(&mut self) {
        self.trouble = 0;
        self.server.disk.unplan();
        self.server.disk.relieve();
        for home in &mut self.homes {
            home.disk.unplan();
            home.disk.relieve();
            home.disk.read_elsewhere(false);
            home.skew_ms = 0;
            home.wake_ms = Some(self.now_ms);
            home.online = true;
            home.changed = true;
        }
        if !self.server.is_up() {
            self.drop_all();
        }
        self.log("all is well", &[]);
    }

    /// Names that a test gives, each once.
    pub fn word(&mut self, what: &str) -> String {
        let word = format!("{what}{:012x}", self.random.number() >> 16);
        self.model.words.insert(word.clone());
        word
    }
}
