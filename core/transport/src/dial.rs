//! A device calls a server, or a peer on the local network.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hearth_protocol::error::ErrorCode;
use quinn::{
    ClientConfig, ConnectionError, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt,
};

use crate::connection::{Connection, Role, Shared};
use crate::limits::{KEEP_ALIVE, Limits, STREAMS};
use crate::tls::{self, Identity};

/// Why a call didn't come through.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody answered in time.
    #[error("nobody answers there")]
    Unreachable,
    /// Somebody answered that speaks another protocol, or another version of this one.
    #[error("what answers there isn't a sync server of this version")]
    NotSync,
    /// The server takes no more connections now.
    #[error("the server is busy")]
    Busy,
    /// The server closed with a reason.
    #[error("the server closed the connection: {0:?}")]
    Closed(ErrorCode),
    /// The handshake failed.
    #[error("the connection couldn't be secured: {0}")]
    Handshake(String),
    /// This side can't.
    #[error("no connection can be made: {0}")]
    Local(String),
}

/// Makes connections, all from one socket.
#[derive(Debug, Clone)]
pub struct Dialer {
    endpoint: quinn::Endpoint,
    shared: Shared,
}

impl Dialer {
    /// Takes over a socket. Needs a running tokio runtime. `limits.idle`, `grace`, `pace` and `queue_bytes` count here.
    pub fn new(socket: UdpSocket, limits: Limits) -> io::Result<Self> {
        let endpoint = quinn::Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
        Ok(Self {
            endpoint,
            shared: Shared::new(limits),
        })
    }

    /// Connects as this device. `name` is what the handshake asks for, a host's name; nothing is checked against it.
    ///
    /// Whom the connection is with is not known before `Welcome.proof`: see PROTOCOL.md, section 9.
    pub async fn connect(
        &self,
        identity: &Identity,
        address: SocketAddr,
        name: &str,
    ) -> Result<Connection, DialError> {
        let config = client_config(identity, &self.shared.limits)?;
        let connecting = self
            .endpoint
            .connect_with(config, address, name)
            .map_err(|error| DialError::Local(error.to_string()))?;
        let quic = tokio::time::timeout(self.shared.limits.handshake, connecting)
            .await
            .map_err(|_| DialError::Unreachable)?
            .map_err(|error| dial_error(&error))?;
        Connection::new(quic, Role::Device, &self.shared, None)
            .ok_or_else(|| DialError::Handshake("no keying material".into()))
    }

    /// Waits until everything that was said has been heard, or given up.
    pub async fn idle(&self) {
        self.endpoint.wait_idle().await;
    }
}

fn client_config(identity: &Identity, limits: &Limits) -> Result<ClientConfig, DialError> {
    let crypto = tls::client(identity).map_err(|error| DialError::Local(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(limits)));
    Ok(config)
}

/// What QUIC is to do as this device: for tests that write to streams by themselves.
#[doc(hidden)]
pub fn quic_config(identity: &Identity) -> Result<ClientConfig, DialError> {
    client_config(identity, &Limits::default())
}

fn transport(limits: &Limits) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS))
        .stream_receive_window(VarInt::from_u32(2 << 20))
        .receive_window(VarInt::from_u32(8 << 20))
        .send_window(4 << 20)
        .send_fairness(false)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(idle_timeout(limits.idle));
    transport
}

pub(crate) fn idle_timeout(idle: Duration) -> Option<IdleTimeout> {
    idle.try_into().ok()
}

fn dial_error(error: &ConnectionError) -> DialError {
    // RFC 9001, section 4.8: a TLS alert is 0x100 and its number. 120: no common application protocol.
    const NO_APPLICATION_PROTOCOL: u64 = 0x178;
    const CONNECTION_REFUSED: u64 = 0x2;
    match error {
        ConnectionError::TimedOut => DialError::Unreachable,
        ConnectionError::VersionMismatch => DialError::NotSync,
        ConnectionError::ConnectionClosed(close) => match u64::from(close.error_code) {
            NO_APPLICATION_PROTOCOL => DialError::NotSync,
            CONNECTION_REFUSED => DialError::Busy,
            _ => DialError::Handshake(error.to_string()),
        },
        ConnectionError::ApplicationClosed(close) => {
            let number = close.error_code.into_inner();
            let code = ErrorCode::ALL.iter().copied().find(|code| *code as u64 == number);
            code.map_or_else(|| DialError::Handshake(error.to_string()), DialError::Closed)
        }
        ConnectionError::TransportError(transport)
            if u64::from(transport.code) == NO_APPLICATION_PROTOCOL =>
        {
            DialError::NotSync
        }
        other => DialError::Handshake(other.to_string()),
    }
}
