//! The local network: the account's devices without its server.
//!
//! 1. **When**: an account without a server always, one with a server while it isn't reached; never when the setting
//!    `local_network` is off. A device then announces itself and listens ([`crate::net::Discovery`]), by signs that only members
//!    can read (PROTOCOL.md, section 12). When the server answers again all of it ends, and what was exchanged goes up.
//! 2. **Who serves**: of those who see each other the one with the lowest id ([`discovery::serves`]). The others call it. Its
//!    own machine calls its own relay, over the loopback interface: the same path and the same checks as everybody's. Whoever
//!    isn't at its own relay lets nobody in, so nobody waits at a place where nothing passes. Whom nobody calls for a while,
//!    as behind a firewall, calls the next one.
//! 3. **Where data enters**: on connections whose key is that of a device of the account, checked before the relay sees a byte
//!    ([`Door`]); the relay checks it again, the signatures of all that is said, and the gate of erasures. The caller calls a
//!    member's address with the key of that member expected, and believes `Welcome.proof` alone.
//! 4. **Who owns it**: this module's relay, on a thread of its own; every step of it is a transaction on the database's thread.
//! 5. **Where it rests**: in the table `sync_peer` of the encrypted database (`hearth-store`, `sync/peer.rs`), sealed and
//!    signed as at a server, so that the next meeting needn't send everything again. Announcements rest nowhere.
//! 6. **How it is erased**: the transaction in which this device carries out an erasure empties that table, and the database's
//!    log is empty before the device confirms. The relay begins anew, and the devices bring again what lives. The relay lets others
//!    in only after this device's own machine has brought it every erasure, so a device that slept can't put an erased body back.
//! 7. **What is missing without the server**: its receipts stay pending and are shown so, and an account that has a server lets
//!    nobody in or out, and changes no keys, before the server is back.
//!
//! **Limits**: IPv4 alone. A device that alone doesn't reach the server waits until it does. Of two members of which one doesn't
//! know yet that the other was let in, they meet through a third or the server.

mod relay;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearth_protocol::control::ControlEntry;
use hearth_protocol::error::ErrorCode;
use hearth_protocol::id::{DeviceId, MailboxId, VerifyKey};
use hearth_sync::device::Device;
use hearth_sync::discovery::{self, Found, Sign};
use hearth_sync::secret::Secret;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::super::store_thread::StoreThread;
use super::super::{Result, lock};
use super::internal;
use crate::clock::Clock;
use crate::net::{
    Connection, DialError, Discovery, Endpoint, Heard, Host, Identity, Limits, Listener, LocalNetwork,
    Machine, Network, listening_socket,
};
use relay::{MailboxMachine, PeerMachine};

/// How long an address that didn't answer isn't called: twice as long each time, …
const SHUNNED_AT_FIRST: Duration = Duration::from_secs(2);
/// … up to this.
const SHUNNED: Duration = Duration::from_secs(30);
/// The same of one that said it doesn't serve now.
const BUSY: Duration = Duration::from_secs(1);
/// How long somebody who knocked counts as there.
const KNOCKED: Duration = Duration::from_secs(20);
/// How long to wait for callers before calling somebody else.
const LONELY: Duration = Duration::from_secs(15);
/// How long a member may take to answer.
const DIAL: Duration = Duration::from_secs(4);
/// Strangers on the network can't take more than this.
const CONNECTIONS: usize = 64;

/// Where the device's machine is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// At the account's server.
    Server,
    /// At this device's own relay.
    Own,
    /// At a member's.
    Member(DeviceId),
    /// At that of somebody of the account, known by its key alone: of a device that was just let in.
    Somebody,
}

/// Whom to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) at: At,
    pub(super) address: SocketAddr,
    /// The key that has to answer; none: the control log will say whose it is.
    pub(super) key: Option<VerifyKey>,
}

/// What came of a call: the connection, or whether somebody answered who doesn't serve now.
pub(super) struct Called {
    pub(super) call: Call,
    pub(super) answer: std::result::Result<Connection, bool>,
}

impl Call {
    /// Calls, and says what came of it.
    pub(super) async fn dial(self, network: Network, identity: Arc<Identity>) -> Called {
        let called = network.connect_to(&identity, self.address, "peer");
        let answer = match tokio::time::timeout(DIAL, called).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(DialError::Busy | DialError::Closed(ErrorCode::Busy))) => Err(true),
            Ok(Err(_)) | Err(_) => Err(false),
        };
        Called { call: self, answer }
    }
}

/// Who may come in, and who is in.
#[derive(Debug)]
struct Door {
    own: [u8; 32],
    /// This device's machine is at its relay and has brought it what it has.
    ready: AtomicBool,
    /// Every device that the account ever had, by transport key.
    known: Mutex<BTreeMap<[u8; 32], Known>>,
    inside: Mutex<BTreeMap<DeviceId, usize>>,
    knocked: Mutex<BTreeMap<DeviceId, Instant>>,
}

/// A device of the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Member(DeviceId),
    ShutOut,
}

/// How long one that was shut out may stay: enough to be told so by the relay.
const SHUT_OUT: Duration = Duration::from_secs(10);

/// What becomes of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Own,
    Device(DeviceId),
    ShutOut,
    Refuse(ErrorCode),
}

impl Door {
    fn judge(&self, key: [u8; 32]) -> Verdict {
        if key == self.own {
            return Verdict::Own;
        }
        let Some(known) = lock(&self.known).get(&key).copied() else {
            return Verdict::Refuse(ErrorCode::WrongTransportKey);
        };
        let ready = self.ready.load(Ordering::Relaxed);
        let device = match known {
            Known::Member(device) if ready => return Verdict::Device(device),
            Known::ShutOut if ready => return Verdict::ShutOut,
            Known::ShutOut => return Verdict::Refuse(ErrorCode::Busy),
            Known::Member(device) => device,
        };
        lock(&self.knocked).insert(device, Instant::now());
        Verdict::Refuse(ErrorCode::Busy)
    }

    async fn serve<M: Machine>(self: Arc<Self>, host: Arc<Host<M>>, connection: Connection) {
        let Some(key) = connection.key else { return };
        match self.judge(key) {
            Verdict::Own => host.serve(connection).await,
            Verdict::Device(device) => {
                *lock(&self.inside).entry(device).or_default() += 1;
                host.serve(connection).await;
                let mut inside = lock(&self.inside);
                if let Some(count) = inside.get_mut(&device) {
                    *count -= 1;
                    if *count == 0 {
                        inside.remove(&device);
                    }
                }
            }
            // It isn't counted: nobody waits for it, and it isn't shown as met.
            Verdict::ShutOut => {
                let sender = connection.sender.clone();
                let mut served = std::pin::pin!(host.serve(connection));
                if tokio::time::timeout(SHUT_OUT, &mut served).await.is_err() {
                    sender.close(Some(ErrorCode::UnknownDevice));
                    served.await;
                }
            }
            Verdict::Refuse(code) => connection.sender.close(Some(code)),
        }
    }
}

/// This device on the local network.
pub(super) struct Local {
    discovery: Discovery,
    port: u16,
    door: Arc<Door>,
    host: Arc<Host<PeerMachine>>,
    accepting: JoinHandle<()>,
    members: BTreeMap<DeviceId, Vec<SocketAddr>>,
    somebody: BTreeSet<SocketAddr>,
    shunned: BTreeMap<SocketAddr, Instant>,
    /// How long an address that didn't answer is left alone next time.
    silent: BTreeMap<SocketAddr, Duration>,
    /// Since when an address says that it doesn't serve yet: it is waited for a while.
    busy_since: BTreeMap<SocketAddr, Instant>,
    /// Since when nobody has called, while this device serves.
    lonely_since: Option<Instant>,
}

impl Local {
    /// Opens a socket and a relay, and listens to the network. Nobody is let in yet.
    pub(super) fn start(
        network: &LocalNetwork,
        device: &Device,
        store: StoreThread,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let keys = device.keychain();
        let seed: Secret = keys.transport.clone();
        let identity = Identity::from_seed(seed.expose()).map_err(internal)?;
        let listener = listen(network, &identity)?;
        let port = listener.address().map_err(internal)?.port();
        let machine = PeerMachine::new(store, clock, seed, device.control_log().to_vec());
        let host = Arc::new(Host::start(machine).map_err(internal)?);
        let door = Arc::new(Door {
            own: identity.public_key().unwrap_or_default(),
            ready: AtomicBool::new(false),
            known: Mutex::default(),
            inside: Mutex::default(),
            knocked: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&host), {
            let door = Arc::clone(&door);
            move |host, connection| Arc::clone(&door).serve(host, connection)
        }));
        Ok(Self {
            discovery: Discovery::new(network),
            port,
            door,
            host,
            accepting,
            members: BTreeMap::new(),
            somebody: BTreeSet::new(),
            shunned: BTreeMap::new(),
            silent: BTreeMap::new(),
            busy_since: BTreeMap::new(),
            lonely_since: None,
        })
    }

    /// Waits until somebody came or went. Safe to drop and to call again.
    pub(super) async fn changed(&mut self) {
        self.discovery.changed().await;
    }

    /// Ends it: who is in is told to call again, nothing is announced any more.
    pub(super) async fn end(self) {
        self.discovery.end().await;
        self.host.stop().await;
        self.accepting.abort();
    }

    /// Says what is to be said now, and reads what was heard.
    pub(super) fn look(&mut self, device: &Device, now_ms: u64, ready: bool) {
        self.discovery.announce(device.announcement(now_ms), self.port);
        let known = device.account().devices().iter();
        *lock(&self.door.known) = known
            .map(|(id, member)| {
                let known = match member.revoked {
                    None => Known::Member(*id),
                    Some(_) => Known::ShutOut,
                };
                (member.keys.transport.0, known)
            })
            .collect();
        self.door.ready.store(ready, Ordering::Relaxed);
        let now = Instant::now();
        lock(&self.door.knocked).retain(|_, at| *at + KNOCKED > now);
        self.shunned.retain(|_, until| *until > now);
        let heard: BTreeSet<SocketAddr> = self
            .discovery
            .heard()
            .flat_map(|heard| heard.addresses.clone())
            .collect();
        self.silent.retain(|address, _| heard.contains(address));
        self.busy_since.retain(|address, _| heard.contains(address));
        (self.members, self.somebody) = sort(self.discovery.heard(), |signs| device.recognize(signs, now_ms));
        if ready && lock(&self.door.inside).is_empty() {
            self.lonely_since.get_or_insert(now);
        } else {
            self.lonely_since = None;
        }
    }

    /// The members that are connected to this device's relay.
    pub(super) fn callers(&self) -> BTreeSet<DeviceId> {
        lock(&self.door.inside).keys().copied().collect()
    }

    /// Whom to call, as things are; none: stay.
    pub(super) fn call(&self, device: &Device, at: Option<At>) -> Option<Call> {
        let me = device.id();
        let waited = |address: &SocketAddr| {
            let since = self.busy_since.get(address);
            since.is_some_and(|since| since.elapsed() < LONELY)
        };
        let called = |address: &SocketAddr| !self.shunned.contains_key(address) || waited(address);
        if device.account().member(&me).is_none() {
            // Just let in: whoever of the account is there has the rest of the story.
            let of_members = self.members.values().flatten();
            let address = of_members.chain(&self.somebody).find(|address| called(address))?;
            return at.is_none().then_some(Call {
                at: At::Somebody,
                address: *address,
                key: None,
            });
        }
        let reachable: BTreeMap<DeviceId, SocketAddr> = self
            .members
            .iter()
            .filter_map(|(id, addresses)| Some((*id, *addresses.iter().find(|address| called(address))?)))
            .collect();
        let knocked: BTreeSet<DeviceId> = lock(&self.door.knocked).keys().copied().collect();
        let lonely = self.lonely_since.is_some_and(|since| since.elapsed() >= LONELY);
        let chosen = choose(
            me,
            &reachable.keys().copied().collect(),
            &knocked,
            device.account().server().is_none(),
            lonely,
        )?;
        let wanted = if chosen == me {
            Call {
                at: At::Own,
                address: (Ipv4Addr::LOCALHOST, self.port).into(),
                key: Some(VerifyKey(self.door.own)),
            }
        } else {
            Call {
                at: At::Member(chosen),
                address: *reachable.get(&chosen)?,
                key: device.transport_key(&chosen),
            }
        };
        if self.shunned.contains_key(&wanted.address) {
            // It is on its way to its own relay.
            return None;
        }
        let move_there = match at {
            None => true,
            Some(At::Own) => wanted.at != At::Own && lock(&self.door.inside).is_empty(),
            Some(At::Member(now)) => matches!(wanted.at, At::Member(better) if better < now),
            Some(At::Server | At::Somebody) => false,
        };
        move_there.then_some(wanted)
    }

    /// A call didn't come through, or ended.
    pub(super) fn shun(&mut self, address: SocketAddr, busy: bool) {
        let own = address.ip().is_loopback() && address.port() == self.port;
        let wait = if busy || own {
            BUSY
        } else {
            let next = self.silent.entry(address).or_insert(SHUNNED_AT_FIRST);
            std::mem::replace(next, (*next * 2).min(SHUNNED))
        };
        if busy {
            self.busy_since.entry(address).or_insert_with(Instant::now);
        } else {
            self.busy_since.remove(&address);
        }
        self.shunned.insert(address, Instant::now() + wait);
    }

    /// A call came through: should the connection end soon, there is a pause.
    pub(super) fn reached(&mut self, address: SocketAddr) {
        self.silent.remove(&address);
        self.shunned.insert(address, Instant::now() + BUSY);
        self.busy_since.insert(address, Instant::now());
    }

    /// The relay begins anew: an erasure has emptied its rows, or the account has grown elsewhere.
    pub(super) async fn renew(&self, history: Option<Vec<ControlEntry>>) {
        self.door.ready.store(false, Ordering::Relaxed);
        self.host.run(move |machine| machine.renew(history)).await;
    }
}

/// Who serves, or is to be called; none: nobody is there. `home`: the account has no server, so that a device alone keeps
/// house at its own relay.
fn choose(
    me: DeviceId,
    reachable: &BTreeSet<DeviceId>,
    knocked: &BTreeSet<DeviceId>,
    home: bool,
    lonely: bool,
) -> Option<DeviceId> {
    if reachable.is_empty() {
        return (home || !knocked.is_empty()).then_some(me);
    }
    let chosen = discovery::serves(me, reachable.iter().copied());
    if chosen == me && lonely && knocked.is_empty() {
        return reachable.first().copied();
    }
    Some(chosen)
}

/// Sorts what was heard by who it is.
fn sort<'a>(
    heard: impl Iterator<Item = &'a Heard>,
    recognize: impl Fn(&[Sign]) -> Option<Found>,
) -> (BTreeMap<DeviceId, Vec<SocketAddr>>, BTreeSet<SocketAddr>) {
    let (mut members, mut somebody) = (BTreeMap::<_, Vec<_>>::new(), BTreeSet::new());
    for heard in heard {
        match recognize(&heard.signs) {
            Some(Found::Member(device)) => members.entry(device).or_default().extend(&heard.addresses),
            Some(Found::Somebody) => somebody.extend(&heard.addresses),
            None => {}
        }
    }
    (members, somebody)
}

fn listen(network: &LocalNetwork, identity: &Identity) -> Result<Listener> {
    let limits = Limits {
        connections: CONNECTIONS,
        ..Limits::default()
    };
    listening_socket(network)
        .and_then(|socket| Listener::new(socket, identity, limits))
        .map_err(internal)
}

/// Lets callers in until it is dropped, and then drops them.
async fn accept<M, F>(
    mut listener: Listener,
    host: Arc<Host<M>>,
    serve: impl Fn(Arc<Host<M>>, Connection) -> F,
) where
    M: Machine,
    F: Future<Output = ()> + Send + 'static,
{
    let mut inside = JoinSet::new();
    loop {
        tokio::select! {
            connection = listener.accept() => match connection {
                Some(connection) => _ = inside.spawn(serve(Arc::clone(&host), connection)),
                None => return,
            },
            Some(_) = inside.join_next() => {}
        }
    }
}

/// A place to pair in, on a device that has no account yet: mailboxes, and an announcement of them.
pub(super) struct Lobby {
    pub(super) endpoint: Endpoint,
    accepting: JoinHandle<()>,
    announcing: JoinHandle<()>,
}

impl Drop for Lobby {
    fn drop(&mut self) {
        self.accepting.abort();
        self.announcing.abort();
    }
}

impl Lobby {
    pub(super) fn open(
        network: &LocalNetwork,
        clock: Arc<dyn Clock>,
        seed: &Secret,
        mailboxes: &[MailboxId],
    ) -> Result<Self> {
        let identity = Identity::from_seed(seed.expose()).map_err(internal)?;
        let listener = listen(network, &identity)?;
        let port = listener.address().map_err(internal)?.port();
        let host = Arc::new(Host::start(MailboxMachine::new(clock, seed)?).map_err(internal)?);
        let accepting = tokio::spawn(accept(listener, host, |host, connection| async move {
            host.serve(connection).await;
        }));
        let mut discovery = Discovery::new(network);
        discovery.announce(mailboxes.iter().map(mailbox_sign).collect(), port);
        let announcing = tokio::spawn(async move {
            loop {
                discovery.changed().await;
            }
        });
        Ok(Self {
            endpoint: Endpoint {
                host: Ipv4Addr::LOCALHOST.to_string(),
                port,
            },
            accepting,
            announcing,
        })
    }
}

fn mailbox_sign(mailbox: &MailboxId) -> Sign {
    Sign {
        tag: discovery::mailbox_tag(mailbox),
        mark: [0; 8],
    }
}

/// Where a device is that shows the code of this mailbox; waits for it as long as it has to.
pub(super) async fn find_lobby(network: &LocalNetwork, mailbox: &MailboxId) -> Endpoint {
    let mut discovery = Discovery::new(network);
    let wanted = mailbox_sign(mailbox);
    loop {
        let found = discovery
            .heard()
            .find(|heard| heard.signs.contains(&wanted))
            .and_then(|heard| heard.addresses.first());
        if let Some(address) = found {
            return Endpoint {
                host: address.ip().to_string(),
                port: address.port(),
            };
        }
        discovery.changed().await;
    }
}

#[cfg(test)]
mod tests;
