//! The arithmetic of the forward pass, for whatever the processor offers.
//!
//! [`Kernels`] is the one seam: [`select`] picks an implementation when the program runs, from the processor's own
//! account of itself. All of them compute the same sums in an order that doesn't depend on how work is split
//! between threads or on how many tokens are computed together.

#![allow(
    clippy::inline_always,
    clippy::needless_range_loop,
    clippy::float_cmp,
    clippy::cast_ptr_alignment,
    reason = "vector code must be inlined into functions with the processor's features, indexes several arrays of \
              registers at once, skips work on exact equality, and loads without alignment"
)]

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocks;
mod buffer;
mod generic;
#[cfg(target_arch = "aarch64")]
mod neon;
mod packed;
mod rows;
mod simd;
mod thread_pool;

use std::ops::Range;

pub use blocks::BLOCK;
pub use packed::{Layout, PackedMatrix};
pub use rows::{BlockNumbers, QuantizedRows};
pub use thread_pool::ThreadPool;

pub(crate) use attention::{AttentionInputs, AttentionState, CHUNK};
pub(crate) use blocks::layout_of;
pub(crate) use buffer::Buffer;
pub(crate) use packed::{Placement, pack_panel};
pub(crate) use rows::RowsMut;
pub(crate) use simd::LANES;

/// One implementation of the arithmetic.
///
/// Lengths are multiples of 16, those of quantised rows of 32; functions panic where they aren't.
#[allow(unsafe_code, reason = "`multiply` lets threads share its output")]
pub(crate) trait Kernels: Send + Sync {
    /// What the implementation is made of, such as `avx512-vnni`.
    fn name(&self) -> &'static str;

    /// Quantises to signed bytes with a scale per thirty-two.
    fn quantize(&self, values: &[f32], codes: &mut [i8], numbers: &mut [BlockNumbers]);

    /// `out[t][r] = Σ weights[r][k] · inputs[t][k]` for the rows of some panels (sixteen rows each, also where the
    /// matrix ends within the last), added to what is there if `accumulate`.
    ///
    /// # Safety
    /// Nobody else may use those columns of `out` meanwhile.
    unsafe fn multiply(
        &self,
        weights: &PackedMatrix,
        panels: Range<usize>,
        inputs: &QuantizedRows,
        out: &RowsMut<'_>,
        accumulate: bool,
    );

    /// Root-mean-square norm with a weight per element.
    fn rms_norm(&self, values: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]);

    /// `gate = silu(gate) · up`.
    fn silu_multiply(&self, gate: &mut [f32], up: &[f32]);

    /// `gate = gelu(gate) · up`, tanh approximation.
    fn gelu_multiply(&self, gate: &mut [f32], up: &[f32]);

    /// `values += other`; any length.
    fn add(&self, values: &mut [f32], other: &[f32]);

    /// Rounds to half precision.
    fn to_half(&self, values: &[f32], out: &mut [u16]);

    /// Attention of some query rows over one key-value head; see [`AttentionInputs`].
    fn attend(&self, inputs: &AttentionInputs<'_>, state: &mut AttentionState<'_>);
}

/// Compiles the generic algorithms for one processor family.
macro_rules! kernels_for {
    ($name:ident, $simd:ty, $label:literal $(, $features:literal)?) => {
        /// Exists only where the processor has the family's features: [`select`] makes it.
        struct $name(());

        // SAFETY (of every call below): a value of this type is proof of the features.
        #[allow(unsafe_code, reason = "calls of functions compiled for the family's features")]
        impl Kernels for $name {
            fn name(&self) -> &'static str {
                $label
            }

            fn quantize(&self, values: &[f32], codes: &mut [i8], numbers: &mut [BlockNumbers]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn compiled(values: &[f32], codes: &mut [i8], numbers: &mut [BlockNumbers]) {
                    unsafe { generic::quantize::<$simd>(values, codes, numbers) }
                }
                unsafe { compiled(values, codes, numbers) }
            }

            fn rms_norm(&self, values: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn compiled(values: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
                    unsafe { generic::rms_norm::<$simd>(values, weight, epsilon, out) }
                }
                unsafe { compiled(values, weight, epsilon, out) }
            }

            fn silu_multiply(&self, gate: &mut [f32], up: &[f32]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn compiled(gate: &mut [f32], up: &[f32]) {
                    unsafe { generic::silu_multiply::<$simd>(gate, up) }
                }
                unsafe { compiled(gate, up) }
            }

            fn gelu_multiply(&self, gate: &mut [f32], up: &[f32]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn compiled(gate: &mut [f32], up: &[f32]) {
                    unsafe { generic::gelu_multiply::<$simd>(gate, up) }
                }
                unsafe { compiled(gate, up) }
            }

            fn add(&self, values: &mut [f32], other: &[f32]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn compiled(values: &mut [f32], other: &[f32]) {
                    unsafe { generic::add::<$simd>(values, other) }
                }
                unsafe { compiled(values, other) }
            }

            fn to_half(&self, values: &[f32], out: &mut [u16]) {
                $(#[target_feature(enable = $features)])?
                unsafe fn compiled(values: &[f32], out: &mut [u16]) {
                    unsafe { generic::to_half::<$simd>(values, out) }
                }
                unsafe { compiled(values, out) }
            }

            fn attend(&self, inputs: &AttentionInputs<'_>, state: &mut AttentionState<'_>) {
                $(#[target_feature(enable = $features)])?
                unsafe fn compiled(inputs: &AttentionInputs<'_>, state: &mut AttentionState<'_>) {
                    unsafe { attention::attend::<$simd>(inputs, state) }
                }
                unsafe { compiled(inputs, state) }
            }

            unsafe fn multiply(&self, weights: &PackedMatrix, panels: Range<usize>, inputs: &QuantizedRows, out: &RowsMut<'_>, accumulate: bool) {
                $(#[target_feature(enable = $features)])?
                unsafe fn compiled(weights: &PackedMatrix, panels: Range<usize>, inputs: &QuantizedRows, out: &RowsMut<'_>, accumulate: bool) {
                    unsafe { generic::multiply::<$simd>(weights, panels, inputs, out, accumulate) }
                }
                unsafe { compiled(weights, panels, inputs, out, accumulate) }
            }
        }
    };
}

kernels_for!(PortableKernels, simd::Portable, "portable");
#[cfg(target_arch = "x86_64")]
kernels_for!(
    Avx512Kernels,
    avx512::Avx512,
    "avx512-vnni",
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"
);

#[cfg(target_arch = "x86_64")]
kernels_for!(
    AvxVnniKernels,
    avx2::Avx2<true>,
    "avx2-vnni",
    "avx2,fma,f16c,avxvnni"
);
#[cfg(target_arch = "x86_64")]
kernels_for!(Avx2Kernels, avx2::Avx2<false>, "avx2", "avx2,fma,f16c");
#[cfg(target_arch = "aarch64")]
kernels_for!(NeonKernels, neon::Neon, "neon-dotprod", "neon,dotprod");

/// The fastest implementation that this processor has the instructions for.
pub(crate) fn select() -> &'static dyn Kernels {
    available()[0]
}

/// Every implementation that this processor can run, fastest first; the last is the reference.
pub(crate) fn available() -> Vec<&'static dyn Kernels> {
    let mut found: Vec<&'static dyn Kernels> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma")
        {
            found.push(&Avx512Kernels(()));
        }
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            if is_x86_feature_detected!("avxvnni") {
                found.push(&AvxVnniKernels(()));
            }
            found.push(&Avx2Kernels(()));
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("dotprod") {
        found.push(&NeonKernels(()));
    }
    found.push(&PortableKernels(()));
    found
}

#[cfg(test)]
mod tests;
