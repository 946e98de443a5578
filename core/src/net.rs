//! The network side of sync: finding a server, calling it, and calling it again.
//!
//! What is said on a connection is `hearth-sync`'s; how bytes travel is `hearth-transport`'s. Names are looked up and
//! sockets opened here and nowhere else.

mod backoff;
mod local;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hearth_protocol::codec::Wire;
use hearth_protocol::envelope::Nothing;
use hearth_protocol::hash::verify;
use hearth_protocol::id::VerifyKey;
use hearth_protocol::message::{Reply, ReplyFrame, Request, RequestFrame, server_id};

pub use backoff::Backoff;
pub use hearth_transport::address::{AddressError, DEFAULT_PORT};
pub use hearth_transport::{
    Closed, Connection, DialError, Dialer, Endpoint, Event, Events, Host, Identity, IdentityError, Limits,
    Listener, Machine, SendError, Sender, ServerAddress,
};
pub use local::{Discovery, Heard, LocalNetwork, listening_socket};

/// How much later a host's next address is tried beside the one before (RFC 8305, section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// How long a name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);
/// How long a server may take to show its key.
const PROOF: Duration = Duration::from_secs(10);
/// Addresses of one host that are tried.
const MAX_ADDRESSES: usize = 8;

/// Why a server wasn't reached.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The name has no address, or nobody could be asked.
    #[error("no address is known for the server's name")]
    Unknown(#[source] Option<io::Error>),
    /// No address of it gave a connection; the last reason.
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// Makes connections to servers and peers, over IPv4 and IPv6.
#[derive(Debug, Clone)]
pub struct Network {
    v4: Dialer,
    /// None on machines without IPv6.
    v6: Option<Dialer>,
}

impl Network {
    /// Opens the sockets. Needs a running tokio runtime.
    pub fn new() -> io::Result<Self> {
        let v4 = Dialer::new(bind((Ipv4Addr::UNSPECIFIED, 0).into())?, Limits::default())?;
        let v6 = bind((Ipv6Addr::UNSPECIFIED, 0).into())
            .and_then(|socket| Dialer::new(socket, Limits::default()))
            .ok();
        Ok(Self { v4, v6 })
    }

    /// Connects to the first address of the host that answers.
    ///
    /// Who it is, isn't known by that. `Welcome.proof` tells, over `Connection::exporter`; [`is_server`] asks for it
    /// sooner.
    pub async fn connect(&self, identity: &Identity, endpoint: &Endpoint) -> Result<Connection, NetError> {
        let addresses = lookup(endpoint).await?;
        let mut calls = FuturesUnordered::new();
        for (index, address) in addresses.into_iter().enumerate() {
            calls.push(async move {
                tokio::time::sleep(NEXT_ADDRESS * index as u32).await;
                self.connect_to(identity, address, &endpoint.host).await
            });
        }
        let mut last = None;
        while let Some(called) = calls.next().await {
            match called {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or(NetError::Unknown(None), NetError::Dial))
    }

    /// Connects to one address.
    pub async fn connect_to(
        &self,
        identity: &Identity,
        address: SocketAddr,
        name: &str,
    ) -> Result<Connection, DialError> {
        let dialer = match (&self.v6, address.is_ipv6()) {
            (Some(v6), true) => v6,
            (None, true) => return Err(DialError::Unreachable),
            (_, false) => &self.v4,
        };
        dialer.connect(identity, address, name).await
    }

    /// Waits until what was said last has been heard, or given up: before a process ends.
    pub async fn idle(&self) {
        self.v4.idle().await;
        if let Some(v6) = &self.v6 {
            v6.idle().await;
        }
    }
}

/// Whether the other end has this server key: the handshake says so when the server made its own certificate; else it is
/// asked, before anything else is said. False also when it doesn't answer in time.
pub async fn is_server(connection: &mut Connection, server: &VerifyKey) -> bool {
    if connection.key == Some(server.0) {
        return true;
    }
    let ask = RequestFrame {
        id: 0,
        request: Request::Prove(Nothing {}),
    };
    if connection.sender.frame(ask.encode()).is_err() {
        return false;
    }
    let Ok(Event::Frame(answer)) = tokio::time::timeout(PROOF, connection.events.next()).await else {
        return false;
    };
    match ReplyFrame::decode(&answer) {
        Ok(ReplyFrame {
            to: 0,
            reply: Reply::Proof(proof),
        }) => verify(server, &server_id(&connection.exporter), &proof).is_ok(),
        _ => false,
    }
}

async fn lookup(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, NetError> {
    let asked = tokio::time::timeout(
        LOOKUP,
        tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)),
    );
    let found = asked
        .await
        .map_err(|_| NetError::Unknown(None))?
        .map_err(|error| NetError::Unknown(Some(error)))?;
    let addresses: Vec<_> = found.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() {
        Err(NetError::Unknown(None))
    } else {
        Ok(addresses)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where sockets come from")]
fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::bind(address)
}

#[cfg(test)]
mod tests {
    use hearth_sync::keys::SigningKey;
    use hearth_sync::secret::Secret;

    use super::*;

    #[tokio::test]
    async fn a_server_is_found_by_name_and_known_by_its_key() {
        let server = Identity::from_seed(&[2; 32]).unwrap();
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let mut listener = Listener::new(socket, &server, Limits::default()).unwrap();
        let endpoint = Endpoint {
            host: "localhost".into(),
            port: listener.address().unwrap().port(),
        };
        let network = Network::new().unwrap();
        let device = Identity::from_seed(&[1; 32]).unwrap();
        let (called, taken) = tokio::join!(network.connect(&device, &endpoint), listener.accept());
        let (mut called, mut taken) = (called.unwrap(), taken.unwrap());
        assert_eq!(taken.key, device.public_key());
        assert!(is_server(&mut called, &VerifyKey(server.public_key().unwrap())).await);
        // Another key than the handshake's: it is asked, as one with a certificate of an authority is.
        let key = |seed| SigningKey::from_seed(&Secret::new([seed; 32])).unwrap();
        let answering = tokio::spawn(async move {
            while let Event::Frame(frame) = taken.events.next().await {
                let asked = RequestFrame::decode(&frame).unwrap();
                assert_eq!((asked.id, asked.request), (0, Request::Prove(Nothing {})));
                let reply = Reply::Proof(key(3).sign(&server_id(&taken.exporter)));
                let _ = taken.sender.frame(ReplyFrame { to: 0, reply }.encode());
            }
        });
        assert!(is_server(&mut called, &key(3).public()).await);
        assert!(!is_server(&mut called, &key(4).public()).await);
        drop(called);
        answering.await.unwrap();
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_a_reason() {
        let network = Network::new().unwrap();
        let endpoint = Endpoint {
            host: "no-such-host.invalid".into(),
            port: 1,
        };
        let called = network
            .connect(&Identity::from_seed(&[1; 32]).unwrap(), &endpoint)
            .await;
        assert!(matches!(called, Err(NetError::Unknown(_))));
    }
}
