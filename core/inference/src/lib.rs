//! Weights in, tokens out: language and embedding networks, on the CPU or a graphics card.
//!
//! Standard threads only: no async runtime, no network, no user interface, no clock of its own.
//! The CPU path is the reference; the `cuda` and `metal` features add speed, never behaviour.

pub mod chat_template;
pub mod constraint;
pub mod decoder;
pub mod embedding;
pub mod gguf;
pub mod kernels;
pub mod model;
pub mod reasoning;
pub mod sampling;
#[cfg(test)]
mod testing;
pub mod text_stream;
pub mod tokenizer;
