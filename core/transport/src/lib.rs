//! The sync protocol over QUIC: connections from either end, and the loop that drives a relay.
//!
//! Devices ([`dial`]), servers and peers on the local network ([`listen`], [`host`]) share it, so that framing, limits and
//! closing are written once. Invariant: it moves bytes and looks into none, but for the few that tell a batch's log and
//! that a session was welcomed. No other package that ships names QUIC.

pub mod address;
pub mod connection;
pub mod dial;
pub mod host;
pub mod limits;
pub mod listen;
pub mod tls;

mod certificate;
mod order;

pub use address::{Endpoint, ServerAddress};
pub use connection::{Closed, Connection, Event, Events, SendError, Sender};
pub use dial::{DialError, Dialer};
pub use host::{Host, Machine};
pub use limits::Limits;
pub use listen::Listener;
pub use tls::{Identity, IdentityError};
