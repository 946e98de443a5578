//! One connection, from either end: frames on the control stream, batches on streams of their own.
//!
//! Memory is bounded in both directions. What comes in waits for [`Events::next`], and reading stops at a few MiB; what
//! goes out waits in a queue that the sender can look at, and that closes the connection above its limit.

mod incoming;
mod outgoing;

use std::net::SocketAddr;
use std::sync::Arc;

use hearth_protocol::error::ErrorCode;
use hearth_protocol::message::EXPORTER_LABEL;
use quinn::{ConnectionError, VarInt};
use tokio::sync::Semaphore;

use crate::limits::Limits;
use crate::tls;

pub use incoming::Events;
pub use outgoing::{SendError, Sender};

/// Something that the other end sent.
#[derive(Debug)]
pub enum Event {
    /// A frame of the control stream, without its length.
    Frame(Vec<u8>),
    /// A whole batch. Those of one log come in the order in which they were sent.
    Batch(Vec<u8>),
    /// The end. Nothing follows but this again.
    Closed(Closed),
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The protocol's reason, if there is one: an ordinary end has none.
    pub code: Option<ErrorCode>,
    /// Whether the other end closed it.
    pub by_peer: bool,
    /// In words, for a log.
    pub detail: String,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    /// The Ed25519 key that the other end proved in the handshake. A server's certificate may have a key of another kind.
    pub key: Option<[u8; 32]>,
    /// Keying material of this connection alone, for `Welcome.proof`.
    pub exporter: [u8; 32],
    /// Where the other end is.
    pub address: SocketAddr,
    /// The way out.
    pub sender: Sender,
    /// What comes in.
    pub events: Events,
}

/// Which end this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Opens the control stream.
    Device,
    /// Waits for it.
    Server,
}

/// What all connections of an endpoint share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) limits: Arc<Limits>,
    /// How many frames and batches above a few KiB may be in the making at once.
    pub(crate) large: Arc<Semaphore>,
    /// The same for who isn't known yet.
    pub(crate) strangers: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(limits: Limits) -> Self {
        let large = Arc::new(Semaphore::new(limits.large));
        Self {
            strangers: Arc::new(Semaphore::new(limits.large_of_strangers)),
            limits: Arc::new(limits),
            large,
        }
    }
}

/// Something that lives as long as the connection.
pub(crate) type Guard = Box<dyn std::any::Any + Send>;

impl Connection {
    /// Takes over a connection whose handshake is done.
    pub(crate) fn new(
        quic: quinn::Connection,
        role: Role,
        shared: &Shared,
        guard: Option<Guard>,
    ) -> Option<Self> {
        let mut exporter = [0; 32];
        quic.export_keying_material(&mut exporter, EXPORTER_LABEL, &[])
            .ok()?;
        let key = quic
            .peer_identity()
            .and_then(|identity| {
                identity
                    .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
                    .ok()
            })
            .and_then(|chain| tls::key_of(chain.first()?).ok()?);
        let address = quic.remote_address();
        let (control, opened) = tokio::sync::oneshot::channel();
        let sender = Sender::start(quic, &shared.limits, opened);
        let events = Events::start(sender.clone(), role, shared, control, guard);
        Some(Self {
            key,
            exporter,
            address,
            sender,
            events,
        })
    }
}

/// The code on the wire: 0 is an ordinary end.
fn close_code(code: Option<ErrorCode>) -> VarInt {
    VarInt::from_u32(code.map_or(0, |code| code as u32))
}

fn closed(error: &ConnectionError) -> Closed {
    let (code, by_peer) = match error {
        ConnectionError::ApplicationClosed(close) => {
            let number = close.error_code.into_inner();
            (
                ErrorCode::ALL.iter().copied().find(|code| *code as u64 == number),
                true,
            )
        }
        ConnectionError::ConnectionClosed(_) | ConnectionError::Reset => (None, true),
        _ => (None, false),
    };
    Closed {
        code,
        by_peer,
        detail: error.to_string(),
    }
}
