//! Sound in, words out: capture, voice activity, streaming recognition, speech.
//!
//! Invariant: no network and no store; names and prompts are passed in. Empty until voice is built.
