//! What the other end may take of this one: connections, streams, memory, patience.

use std::time::Duration;

use hearth_protocol::limits::{HELLO_TIMEOUT_MS, KEEP_ALIVE_MS};

/// How many batches are received at once on one connection, and sent at once.
pub(crate) const STREAMS: u32 = 8;

/// Bytes that wait to be handed on before reading stops.
pub(crate) const INBOX_BYTES: usize = 8 << 20;

/// How long a flush before closing may take.
pub(crate) const LINGER: Duration = Duration::from_secs(3);

/// How often a device shows that it is there.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_millis(KEEP_ALIVE_MS);

/// Limits of one end. The defaults are for a server on the internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address (IPv6: of one /64).
    pub connections_per_address: usize,
    /// Handshakes under way; above it new ones are dropped without an answer.
    pub handshakes: usize,
    /// Handshakes under way above which a new one must first show that its address is real (QUIC retry).
    pub handshakes_before_retry: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long the first frame may take, from the end of the handshake.
    pub first_frame: Duration,
    /// How long a frame or batch may be behind its pace before the connection closes.
    pub grace: Duration,
    /// The slowest pace of a frame or batch, bytes per second.
    pub pace: u64,
    /// How long nothing at all may be heard of the other end.
    pub idle: Duration,
    /// Frames and batches above 64 KiB that may be in the making at once, over all connections: 4 MiB each at most.
    pub large: usize,
    /// The same for connections that weren't welcomed yet, apart from the others.
    pub large_of_strangers: usize,
    /// How long one frame of such a connection may take.
    pub frame_of_stranger: Duration,
    /// Bytes that may wait to be sent on one connection; beyond it the connection closes.
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_address: 64,
            handshakes: 512,
            handshakes_before_retry: 32,
            handshake: Duration::from_secs(10),
            first_frame: Duration::from_millis(HELLO_TIMEOUT_MS),
            grace: Duration::from_secs(15),
            pace: 8 << 10,
            idle: Duration::from_mins(1),
            large: 128,
            large_of_strangers: 16,
            frame_of_stranger: Duration::from_mins(1),
            queue_bytes: 64 << 20,
        }
    }
}
