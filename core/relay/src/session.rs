//! What goes in and what comes out: whole messages as bytes, never sockets.

use hearth_protocol::error::ErrorCode;
use hearth_protocol::message::Priority;

/// One connection, as its owner numbers them. A number is never used again by one relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What happened on a connection.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// The TLS handshake is over.
    Connected {
        /// The Ed25519 key of the client's certificate, whose possession the handshake has proved.
        transport_key: [u8; 32],
        /// Keying material of this connection: see [`hearth_protocol::message::EXPORTER_LABEL`].
        exporter: [u8; 32],
    },
    /// One whole frame of the control stream, without its length prefix.
    Frame(&'a [u8]),
    /// The whole content of one unidirectional stream.
    Batch(&'a [u8]),
    /// What was put out for this connection has left, or nearly so (less than 1 MiB is still queued): more may follow.
    Drained,
    /// The connection is gone.
    Closed,
}

/// What has to happen on a connection. Outputs for one connection are in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// One frame of the control stream, without its length prefix.
    Frame {
        /// The connection.
        to: SessionId,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// One unidirectional stream.
    Batch {
        /// The connection.
        to: SessionId,
        /// The whole content.
        bytes: Vec<u8>,
        /// Its urgency.
        priority: Priority,
    },
    /// The connection ends, once what was put out for it before has left. No [`Input::Closed`] is needed after it.
    Close {
        /// The connection.
        to: SessionId,
        /// Why: the close's application code.
        code: ErrorCode,
    },
}
