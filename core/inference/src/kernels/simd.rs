//! What the kernels need of a processor: sixteen lanes of floats and integers, and dot products of bytes.
//!
//! The algorithms in [`super::generic`] and [`super::attention`] are written once against [`Simd`]; a processor
//! family adds one implementation of it. Sixteen is the number of rows in a packed panel, so lane `r` is row `r`
//! everywhere. [`Portable`] is the reference: plain Rust, used on processors without an implementation of their own
//! and by the tests.
#![allow(
    unsafe_code,
    reason = "vector intrinsics and raw loads: see the contract of `Simd`"
)]

use half::f16;

/// Lanes in a vector and rows in a panel.
pub(crate) const LANES: usize = 16;

/// One processor family's vectors.
///
/// Every function is unsafe for two reasons only: the processor must have the family's instructions, and pointers
/// must be valid for the lanes read or written (16 numbers, or 64 bytes for `Bytes`). No alignment is asked for.
pub(crate) trait Simd: Copy {
    /// Sixteen `f32`.
    type Floats: Copy;
    /// Sixteen `i32`.
    type Ints: Copy;
    /// Sixteen groups of four bytes.
    type Bytes: Copy;

    /// Tokens that share one pass over a panel; bounded by the number of registers.
    const TOKEN_TILE: usize;
    /// What [`Self::dot_signed`] adds to each weight; callers start the sum at `-SIGNED_OFFSET · Σ activations`.
    const SIGNED_OFFSET: i32;

    unsafe fn splat(value: f32) -> Self::Floats;
    unsafe fn load(from: *const f32) -> Self::Floats;
    unsafe fn store(to: *mut f32, value: Self::Floats);
    /// Loads sixteen half-precision numbers.
    unsafe fn load_half(from: *const u16) -> Self::Floats;
    /// Stores as half precision, rounding to nearest.
    unsafe fn store_half(to: *mut u16, value: Self::Floats);
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn div(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a · b + c`.
    unsafe fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    unsafe fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn min(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn abs(a: Self::Floats) -> Self::Floats;
    unsafe fn sum(a: Self::Floats) -> f32;
    unsafe fn largest(a: Self::Floats) -> f32;

    unsafe fn splat_int(value: i32) -> Self::Ints;
    unsafe fn to_floats(a: Self::Ints) -> Self::Floats;
    /// Rounds to nearest, ties to even.
    unsafe fn round(a: Self::Floats) -> Self::Ints;
    unsafe fn sum_ints(a: Self::Ints) -> i32;
    /// `2^a` for `a` in -126..=127.
    unsafe fn power_of_two(a: Self::Ints) -> Self::Floats;
    /// Stores the low byte of every lane.
    unsafe fn store_low_bytes(to: *mut i8, a: Self::Ints);

    unsafe fn load_bytes(from: *const u8) -> Self::Bytes;
    /// `byte & 15`.
    unsafe fn low_nibbles(a: Self::Bytes) -> Self::Bytes;
    /// `byte >> 4`.
    unsafe fn high_nibbles(a: Self::Bytes) -> Self::Bytes;
    /// `low | (bit BIT of each byte of high) << 4`.
    unsafe fn with_fifth_bit<const BIT: usize>(low: Self::Bytes, high: Self::Bytes) -> Self::Bytes;
    /// `low | (bits 2·PAIR and 2·PAIR+1 of each byte of high) << 4`.
    unsafe fn with_two_bits<const PAIR: usize>(low: Self::Bytes, high: Self::Bytes) -> Self::Bytes;
    /// Adds to each lane the dot product of its four weights, each at most 63, and four signed activations.
    unsafe fn dot_unsigned(sum: Self::Ints, weights: Self::Bytes, activations: *const i8) -> Self::Ints;
    /// The same for signed weights, each raised by [`Self::SIGNED_OFFSET`].
    unsafe fn dot_signed(sum: Self::Ints, weights: Self::Bytes, activations: *const i8) -> Self::Ints;
}

/// `e^x`, relative error below 3e-7, for `x` in -87..=88; smaller gives about 1e-38, larger about 1e38.
///
/// Argument reduction by ln 2 in two parts and a degree-6 polynomial.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::Floats) -> S::Floats {
    // SAFETY: no pointers; the caller vouches for the instructions.
    unsafe {
        let x = S::min(S::max(x, S::splat(-87.0)), S::splat(88.0));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let nf = S::to_floats(n);
        let r = S::mul_add(nf, S::splat(-355.0 / 512.0), x);
        let r = S::mul_add(nf, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.0 / 720.0);
        p = S::mul_add(p, r, S::splat(1.0 / 120.0));
        p = S::mul_add(p, r, S::splat(1.0 / 24.0));
        p = S::mul_add(p, r, S::splat(1.0 / 6.0));
        p = S::mul_add(p, r, S::splat(0.5));
        p = S::mul_add(p, r, S::splat(1.0));
        p = S::mul_add(p, r, S::splat(1.0));
        S::mul(p, S::power_of_two(n))
    }
}

/// `tanh(x)`.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::Floats) -> S::Floats {
    // SAFETY: no pointers; the caller vouches for the instructions.
    unsafe {
        // 1 - 2 / (e^2x + 1): exact at both ends, and near 0 within 1e-7 absolute.
        let e = exp::<S>(S::min(S::mul(x, S::splat(2.0)), S::splat(80.0)));
        S::sub(S::splat(1.0), S::div(S::splat(2.0), S::add(e, S::splat(1.0))))
    }
}

/// Plain Rust in lanes of arrays.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn map<T: Copy, U: Copy + Default>(a: [T; LANES], f: impl Fn(T) -> U) -> [U; LANES] {
    let mut out = [U::default(); LANES];
    for i in 0..LANES {
        out[i] = f(a[i]);
    }
    out
}

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for i in 0..LANES {
        out[i] = f(a[i], b[i]);
    }
    out
}

#[inline(always)]
fn map_bytes(a: [u8; 64], f: impl Fn(u8) -> u8) -> [u8; 64] {
    let mut out = [0; 64];
    for i in 0..64 {
        out[i] = f(a[i]);
    }
    out
}

#[inline(always)]
fn zip_bytes(a: [u8; 64], b: [u8; 64], f: impl Fn(u8, u8) -> u8) -> [u8; 64] {
    let mut out = [0; 64];
    for i in 0..64 {
        out[i] = f(a[i], b[i]);
    }
    out
}

// SAFETY (of every block below): reads and writes stay within the lanes that the trait's contract makes valid.
impl Simd for Portable {
    type Floats = [f32; LANES];
    type Ints = [i32; LANES];
    type Bytes = [u8; 64];
    const TOKEN_TILE: usize = 1;
    const SIGNED_OFFSET: i32 = 0;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Floats {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Floats {
        unsafe { from.cast::<[f32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::Floats) {
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> Self::Floats {
        map(unsafe { from.cast::<[u16; LANES]>().read_unaligned() }, |bits| {
            f16::from_bits(bits).to_f32()
        })
    }
    #[inline(always)]
    unsafe fn store_half(to: *mut u16, value: Self::Floats) {
        unsafe {
            to.cast::<[u16; LANES]>()
                .write_unaligned(map(value, |x| f16::from_f32(x).to_bits()));
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        zip(a, b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        zip(a, b, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        zip(a, b, |x, y| x * y)
    }
    #[inline(always)]
    unsafe fn div(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        zip(a, b, |x, y| x / y)
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        let mut out = c;
        for i in 0..LANES {
            out[i] += a[i] * b[i];
        }
        out
    }
    #[inline(always)]
    unsafe fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        zip(a, b, f32::max)
    }
    #[inline(always)]
    unsafe fn min(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        zip(a, b, f32::min)
    }
    #[inline(always)]
    unsafe fn abs(a: Self::Floats) -> Self::Floats {
        map(a, f32::abs)
    }
    #[inline(always)]
    unsafe fn sum(a: Self::Floats) -> f32 {
        a.iter().sum()
    }
    #[inline(always)]
    unsafe fn largest(a: Self::Floats) -> f32 {
        a.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Self::Ints {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn to_floats(a: Self::Ints) -> Self::Floats {
        map(a, |x| x as f32)
    }
    #[inline(always)]
    unsafe fn round(a: Self::Floats) -> Self::Ints {
        map(a, |x| x.round_ties_even() as i32)
    }
    #[inline(always)]
    unsafe fn sum_ints(a: Self::Ints) -> i32 {
        a.iter().sum()
    }
    #[inline(always)]
    unsafe fn power_of_two(a: Self::Ints) -> Self::Floats {
        map(a, |x| f32::from_bits(((x + 127) << 23) as u32))
    }
    #[inline(always)]
    unsafe fn store_low_bytes(to: *mut i8, a: Self::Ints) {
        unsafe { to.cast::<[i8; LANES]>().write_unaligned(map(a, |x| x as i8)) }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self::Bytes {
        unsafe { from.cast::<[u8; 64]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn low_nibbles(a: Self::Bytes) -> Self::Bytes {
        map_bytes(a, |x| x & 15)
    }
    #[inline(always)]
    unsafe fn high_nibbles(a: Self::Bytes) -> Self::Bytes {
        map_bytes(a, |x| x >> 4)
    }
    #[inline(always)]
    unsafe fn with_fifth_bit<const BIT: usize>(low: Self::Bytes, high: Self::Bytes) -> Self::Bytes {
        zip_bytes(low, high, |l, h| l | ((h >> BIT) & 1) << 4)
    }
    #[inline(always)]
    unsafe fn with_two_bits<const PAIR: usize>(low: Self::Bytes, high: Self::Bytes) -> Self::Bytes {
        zip_bytes(low, high, |l, h| l | ((h >> (2 * PAIR)) & 3) << 4)
    }
    #[inline(always)]
    unsafe fn dot_unsigned(mut sum: Self::Ints, weights: Self::Bytes, activations: *const i8) -> Self::Ints {
        let a = unsafe { activations.cast::<[i8; 4]>().read_unaligned() };
        for i in 0..LANES {
            for j in 0..4 {
                sum[i] += i32::from(weights[4 * i + j]) * i32::from(a[j]);
            }
        }
        sum
    }
    #[inline(always)]
    unsafe fn dot_signed(mut sum: Self::Ints, weights: Self::Bytes, activations: *const i8) -> Self::Ints {
        let a = unsafe { activations.cast::<[i8; 4]>().read_unaligned() };
        for i in 0..LANES {
            for j in 0..4 {
                sum[i] += i32::from(weights[4 * i + j] as i8) * i32::from(a[j]);
            }
        }
        sum
    }
}
