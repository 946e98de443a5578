//! Properties that every wire type has, and the vectors that `PROTOCOL.md` refers to.

mod accounts;
mod certificate;
mod codec;
mod envelope;
mod pairing;
mod vectors;
