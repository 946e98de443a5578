//! Weights in, tokens out: language and embedding networks, on the CPU or a graphics card.
//!
//! Standard threads only: no async runtime, no network, no user interface, no clock of its own.
//! The CPU path is the reference; the `cuda` and `metal` features add speed, never behaviour.
//!
//! # From a question to an answer
//!
//! ```text
//! model.gguf ──▶ gguf ─┬─▶ tokenizer ─────▶ constraint (JSON, by the vocabulary's bytes)
//!                      ├─▶ chat_template          │
//!                      └─▶ decoder ◀── kernels    │
//!                             ▲  │ logits         ▼
//! messages ─▶ chat_template   │  └─────────▶ sampling ─▶ token
//!                 │ text      │                           │
//!                 └▶ tokenizer┘ token ids (prefill)       │ bytes
//!                             ▲                           ▼
//!                             └──────── next token ── text_stream ─▶ reasoning ─▶ events
//! ```
//!
//! - [`gguf`] maps the file and checks all of it; nothing else reads model files. What it hands out are
//!   metadata values and tensors' byte ranges, never copies.
//! - [`tokenizer`] and [`chat_template`] are made from the file's metadata: messages become text, text
//!   becomes ids. Control tokens quoted in a message stay text.
//! - [`decoder`] runs the network: ids in, logits out, with the keys and values of earlier tokens cached
//!   per slot. Its weights are repacked for [`kernels`] at load.
//! - [`sampling`] draws the next token, from what [`constraint`] allows if an answer has a form to keep.
//! - [`text_stream`] turns the tokens' bytes into text that never splits a character or shows half of a
//!   stop string; [`reasoning`] tells thoughts from the answer.
//! - [`model`] owns all of this on one thread per model, behind a handle that takes requests and sends
//!   events; it decides what is reused of a conversation seen before.
//! - [`embedding`] stands beside: texts in, vectors out, for search.

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
