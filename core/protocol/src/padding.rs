//! How long a sealed body is: Padmé (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication
//! with PURBs", 2019) with a least length.
//!
//! A body of `L` bytes tells at most `log2 log2 L` bits of its length; it costs at most 12 %. Small edits are all one
//! length.

/// The least length of a padded plaintext.
pub const MIN_PADDED_BYTES: usize = 64;

/// The padded length of a plaintext of `length` bytes: room for at least one byte of padding, then Padmé.
pub fn padded_length(length: usize) -> usize {
    let wanted = (length.saturating_add(1)).max(MIN_PADDED_BYTES);
    let exponent = wanted.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1usize << (exponent - kept)) - 1;
    wanted.saturating_add(mask) & !mask
}
