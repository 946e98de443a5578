//! Waiting for devices, and for those who only pretend to be some.
//!
//! Until a handshake is done a caller costs no more than a few KiB, and only so many are let in at once: first everybody,
//! then only who shows that the address is real, then nobody new.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hearth_protocol::error::ErrorCode;
use quinn::{Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use tokio::sync::{mpsc, watch};

use crate::connection::{Connection, Guard, Role, Shared};
use crate::dial::idle_timeout;
use crate::limits::Limits;
use crate::tls::{self, Identity};

/// How long QUIC keeps a handshake that failed: three probe timeouts (RFC 9000, 10.2), each a second where no round trip was
/// measured (RFC 9002, 6.2).
const FORGOTTEN: Duration = Duration::from_secs(3);

/// What has been let in and turned away since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that are open now.
    pub open: AtomicUsize,
    /// Handshakes under way now, or failed and not forgotten yet.
    pub handshakes: AtomicUsize,
    /// Handshakes that succeeded.
    pub accepted: AtomicU64,
    /// Handshakes that failed: no certificate, another protocol, too slow, garbage.
    pub failed: AtomicU64,
    /// Asked to show that their address is real.
    pub retried: AtomicU64,
    /// Turned away: too many in all, or of one address.
    pub refused: AtomicU64,
    /// Dropped without an answer.
    pub ignored: AtomicU64,
}

/// A socket that takes connections.
#[derive(Debug)]
pub struct Listener {
    endpoint: quinn::Endpoint,
    arrived: mpsc::Receiver<Connection>,
    counters: Arc<Counters>,
    stop: watch::Sender<bool>,
}

impl Listener {
    /// Takes over a socket. Needs a running tokio runtime.
    pub fn new(socket: UdpSocket, identity: &Identity, limits: Limits) -> io::Result<Self> {
        let shared = Shared::new(limits);
        let config = server_config(identity, &shared.limits)?;
        let endpoint =
            quinn::Endpoint::new(identity.endpoint(), Some(config), socket, Arc::new(TokioRuntime))?;
        let counters = Arc::new(Counters::default());
        let (sender, arrived) = mpsc::channel(64);
        let (stop, stopped) = watch::channel(false);
        let door = Door {
            shared,
            counters: Arc::clone(&counters),
            addresses: Arc::default(),
            sender,
        };
        tokio::spawn(door.keep(endpoint.clone(), stopped));
        Ok(Self {
            endpoint,
            arrived,
            counters,
            stop,
        })
    }

    /// The next connection; none after [`Listener::stop`].
    pub async fn accept(&mut self) -> Option<Connection> {
        self.arrived.recv().await
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// What it has seen.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Shows another certificate from now on; connections stay.
    pub fn replace_identity(&self, identity: &Identity, limits: &Limits) -> io::Result<()> {
        self.endpoint
            .set_server_config(Some(server_config(identity, limits)?));
        Ok(())
    }

    /// Takes no more connections. Those that are open stay.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends what is still open, and waits until the other ends have heard it or a few seconds are over.
    pub async fn close(self) {
        self.stop();
        self.endpoint.close(VarInt::from_u32(ErrorCode::Busy as u32), b"");
        tokio::time::timeout(crate::limits::LINGER, self.endpoint.wait_idle())
            .await
            .ok();
    }
}

fn server_config(identity: &Identity, limits: &Limits) -> io::Result<ServerConfig> {
    let crypto = tls::server(identity).map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    // Narrow until the session is welcomed: see `Sender::identified`.
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(1 << 20))
        .receive_window(VarInt::from_u32(256 << 10))
        .send_window(4 << 20)
        .send_fairness(false)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(idle_timeout(limits.idle));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(4_096)
        .incoming_buffer_size(16 << 10)
        .incoming_buffer_size_total(16 << 20);
    Ok(config)
}

/// What tells who is let in.
struct Door {
    shared: Shared,
    counters: Arc<Counters>,
    addresses: Addresses,
    sender: mpsc::Sender<Connection>,
}

/// Connections and handshakes by address.
type Addresses = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// What becomes of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Admit,
    Retry,
    Refuse,
    Ignore,
}

/// The rule, apart from who counts.
fn judge(limits: &Limits, validated: bool, handshakes: usize, open: usize, of_address: usize) -> Verdict {
    let crowded = handshakes >= limits.handshakes_before_retry;
    let address_full = of_address >= limits.connections_per_address;
    if handshakes >= limits.handshakes {
        Verdict::Ignore
    } else if !validated && (crowded || address_full) {
        // Whoever forges addresses must not be able to lock one out.
        Verdict::Retry
    } else if address_full || open >= limits.connections {
        Verdict::Refuse
    } else {
        Verdict::Admit
    }
}

impl Door {
    async fn keep(self, endpoint: quinn::Endpoint, mut stopped: watch::Receiver<bool>) {
        loop {
            let incoming = tokio::select! {
                incoming = endpoint.accept() => incoming,
                _ = stopped.wait_for(|stopped| *stopped) => break,
            };
            let Some(incoming) = incoming else { break };
            self.answer(incoming);
        }
        // Whoever calls now is told to come back later.
        endpoint.set_server_config(None);
    }

    fn answer(&self, incoming: Incoming) {
        let address = network(incoming.remote_address().ip());
        let of_address = {
            let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            addresses.get(&address).copied().unwrap_or(0)
        };
        let counters = &self.counters;
        let verdict = judge(
            &self.shared.limits,
            incoming.remote_address_validated(),
            counters.handshakes.load(Ordering::Relaxed),
            counters.open.load(Ordering::Relaxed),
            of_address,
        );
        match verdict {
            Verdict::Ignore => {
                counters.ignored.fetch_add(1, Ordering::Relaxed);
                incoming.ignore();
            }
            Verdict::Retry => {
                counters.retried.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = incoming.retry() {
                    error.into_incoming().ignore();
                }
            }
            Verdict::Refuse => {
                counters.refused.fetch_add(1, Ordering::Relaxed);
                incoming.refuse();
            }
            Verdict::Admit => self.admit(incoming, address),
        }
    }

    fn admit(&self, incoming: Incoming, address: IpAddr) {
        let counters = Arc::clone(&self.counters);
        let of_address = Count::of_address(&self.addresses, address);
        let handshake = Count::of(&self.counters, |counters| &counters.handshakes);
        let shared = self.shared.clone();
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let connected = async { incoming.accept().ok()?.await.ok() };
            let quic = tokio::time::timeout(shared.limits.handshake, connected)
                .await
                .ok()
                .flatten();
            let Some(quic) = quic else {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                // It takes memory until it is forgotten: whoever hangs up at once could else have any number of them.
                tokio::time::sleep(FORGOTTEN).await;
                return;
            };
            drop(handshake);
            let open = Count::of(&counters, |counters| &counters.open);
            let guard: Guard = Box::new((of_address, open));
            let Some(connection) = Connection::new(quic, Role::Server, &shared, Some(guard)) else {
                counters.failed.fetch_add(1, Ordering::Relaxed);
                return;
            };
            counters.accepted.fetch_add(1, Ordering::Relaxed);
            sender.send(connection).await.ok();
        });
    }
}

/// The part of an address that one caller has to itself: all of IPv4, the /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

/// One more while it lives.
struct Count(Option<Box<dyn FnOnce() + Send>>);

impl Count {
    fn of(counters: &Arc<Counters>, which: fn(&Counters) -> &AtomicUsize) -> Self {
        which(counters).fetch_add(1, Ordering::Relaxed);
        let counters = Arc::clone(counters);
        Self(Some(Box::new(move || {
            which(&counters).fetch_sub(1, Ordering::Relaxed);
        })))
    }

    fn of_address(addresses: &Addresses, address: IpAddr) -> Self {
        *addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(address)
            .or_default() += 1;
        let addresses = Arc::clone(addresses);
        Self(Some(Box::new(move || {
            let mut addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = addresses.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(&address);
                }
            }
        })))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        if let Some(less) = self.0.take() {
            less();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_let_in_then_asked_then_turned_away() {
        let limits = Limits {
            connections: 10,
            connections_per_address: 3,
            handshakes: 8,
            handshakes_before_retry: 4,
            ..Limits::default()
        };
        let verdict =
            |validated, handshakes, open, of_address| judge(&limits, validated, handshakes, open, of_address);
        assert_eq!(verdict(false, 0, 0, 0), Verdict::Admit);
        assert_eq!(verdict(false, 4, 0, 0), Verdict::Retry);
        assert_eq!(verdict(true, 4, 0, 0), Verdict::Admit);
        assert_eq!(verdict(true, 8, 0, 0), Verdict::Ignore);
        assert_eq!(verdict(false, 0, 10, 0), Verdict::Refuse);
        assert_eq!(
            verdict(false, 0, 0, 3),
            Verdict::Retry,
            "the address may be forged"
        );
        assert_eq!(verdict(true, 0, 0, 3), Verdict::Refuse);
    }

    #[test]
    fn an_address_counts_as_what_one_caller_has() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
