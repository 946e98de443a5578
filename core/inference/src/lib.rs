//! Weights in, tokens out.

pub mod gguf;
