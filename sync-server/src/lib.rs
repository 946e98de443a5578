//! The blind server: it stores and forwards ciphertext.
//!
//! Invariant: it depends on neither `sync` nor `store`, so it cannot name a key or a plaintext type.
//! Empty until sync is built.
