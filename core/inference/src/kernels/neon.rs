//! 64-bit ARM with the dot-product extension (Apple M1, Cortex-A76 and later), four registers a vector.
#![allow(
    unsafe_code,
    reason = "intrinsics; the caller has checked the processor: see the contract of `Simd`"
)]

use std::arch::aarch64::{
    float32x4_t, int8x16_t, int32x4_t, uint8x16_t, uint16x4_t, vabsq_f32, vaddq_f32, vaddq_s32, vaddvq_f32,
    vaddvq_s32, vandq_u8, vcombine_s8, vcombine_s16, vcvtnq_s32_f32, vcvtq_f32_s32, vdivq_f32, vdupq_n_f32,
    vdupq_n_s32, vdupq_n_u8, vfmaq_f32, vld1_u16, vld1q_f32, vld1q_u8, vmaxq_f32, vmaxvq_f32, vminq_f32,
    vmovn_s16, vmovn_s32, vmulq_f32, vorrq_u8, vreinterpretq_f32_s32, vreinterpretq_s8_s32,
    vreinterpretq_s8_u8, vshlq_n_s32, vshlq_n_u8, vshrq_n_u8, vst1_u16, vst1q_f32, vst1q_s8, vsubq_f32,
};
use std::arch::asm;

use super::simd::Simd;

/// Marker for the family.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

macro_rules! each {
    ($a:expr, $operation:expr) => {
        [
            $operation($a[0]),
            $operation($a[1]),
            $operation($a[2]),
            $operation($a[3]),
        ]
    };
    ($a:expr, $b:expr, $operation:expr) => {
        [
            $operation($a[0], $b[0]),
            $operation($a[1], $b[1]),
            $operation($a[2], $b[2]),
            $operation($a[3], $b[3]),
        ]
    };
}

#[inline(always)]
unsafe fn widen(halves: uint16x4_t) -> float32x4_t {
    let floats: float32x4_t;
    // SAFETY: part of every 64-bit ARM processor; touches registers only.
    unsafe {
        asm!("fcvtl {o:v}.4s, {i:v}.4h", o = lateout(vreg) floats, i = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags));
    }
    floats
}

#[inline(always)]
unsafe fn narrow(floats: float32x4_t) -> uint16x4_t {
    let halves: uint16x4_t;
    // SAFETY: part of every 64-bit ARM processor; touches registers only.
    unsafe {
        asm!("fcvtn {o:v}.4h, {i:v}.4s", o = lateout(vreg) halves, i = in(vreg) floats,
            options(pure, nomem, nostack, preserves_flags));
    }
    halves
}

#[inline(always)]
unsafe fn dot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the caller vouches for the dot-product extension; touches registers only.
    unsafe {
        asm!(".arch_extension dotprod", "sdot {s:v}.4s, {a:v}.16b, {b:v}.16b",
            s = inlateout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

// SAFETY (of every block below): the trait's contract gives the instructions and valid pointers.
impl Simd for Neon {
    type Floats = [float32x4_t; 4];
    type Ints = [int32x4_t; 4];
    type Bytes = [uint8x16_t; 4];
    const TOKEN_TILE: usize = 2;
    const SIGNED_OFFSET: i32 = 0;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Floats {
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Floats {
        unsafe {
            [
                vld1q_f32(from),
                vld1q_f32(from.add(4)),
                vld1q_f32(from.add(8)),
                vld1q_f32(from.add(12)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::Floats) {
        unsafe {
            for (i, four) in value.into_iter().enumerate() {
                vst1q_f32(to.add(4 * i), four);
            }
        }
    }
    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> Self::Floats {
        unsafe {
            let four = |i: usize| widen(vld1_u16(from.add(4 * i)));
            [four(0), four(1), four(2), four(3)]
        }
    }
    #[inline(always)]
    unsafe fn store_half(to: *mut u16, value: Self::Floats) {
        unsafe {
            for (i, four) in value.into_iter().enumerate() {
                vst1_u16(to.add(4 * i), narrow(four));
            }
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { each!(a, b, vaddq_f32) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { each!(a, b, vsubq_f32) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { each!(a, b, vmulq_f32) }
    }
    #[inline(always)]
    unsafe fn div(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { each!(a, b, vdivq_f32) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        unsafe {
            [
                vfmaq_f32(c[0], a[0], b[0]),
                vfmaq_f32(c[1], a[1], b[1]),
                vfmaq_f32(c[2], a[2], b[2]),
                vfmaq_f32(c[3], a[3], b[3]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { each!(a, b, vmaxq_f32) }
    }
    #[inline(always)]
    unsafe fn min(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { each!(a, b, vminq_f32) }
    }
    #[inline(always)]
    unsafe fn abs(a: Self::Floats) -> Self::Floats {
        unsafe { each!(a, vabsq_f32) }
    }
    #[inline(always)]
    unsafe fn sum(a: Self::Floats) -> f32 {
        unsafe { vaddvq_f32(vaddq_f32(vaddq_f32(a[0], a[1]), vaddq_f32(a[2], a[3]))) }
    }
    #[inline(always)]
    unsafe fn largest(a: Self::Floats) -> f32 {
        unsafe { vmaxvq_f32(vmaxq_f32(vmaxq_f32(a[0], a[1]), vmaxq_f32(a[2], a[3]))) }
    }
    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Self::Ints {
        unsafe { [vdupq_n_s32(value); 4] }
    }
    #[inline(always)]
    unsafe fn to_floats(a: Self::Ints) -> Self::Floats {
        unsafe { each!(a, vcvtq_f32_s32) }
    }
    #[inline(always)]
    unsafe fn round(a: Self::Floats) -> Self::Ints {
        unsafe { each!(a, vcvtnq_s32_f32) }
    }
    #[inline(always)]
    unsafe fn sum_ints(a: Self::Ints) -> i32 {
        unsafe { vaddvq_s32(vaddq_s32(vaddq_s32(a[0], a[1]), vaddq_s32(a[2], a[3]))) }
    }
    #[inline(always)]
    unsafe fn power_of_two(a: Self::Ints) -> Self::Floats {
        unsafe {
            let shifted = |a| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(a, vdupq_n_s32(127))));
            each!(a, shifted)
        }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(to: *mut i8, a: Self::Ints) {
        unsafe {
            let pair = |a, b| vmovn_s16(vcombine_s16(vmovn_s32(a), vmovn_s32(b)));
            vst1q_s8(to, vcombine_s8(pair(a[0], a[1]), pair(a[2], a[3])));
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self::Bytes {
        unsafe {
            [
                vld1q_u8(from),
                vld1q_u8(from.add(16)),
                vld1q_u8(from.add(32)),
                vld1q_u8(from.add(48)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn low_nibbles(a: Self::Bytes) -> Self::Bytes {
        unsafe {
            let low = |a| vandq_u8(a, vdupq_n_u8(15));
            each!(a, low)
        }
    }
    #[inline(always)]
    unsafe fn high_nibbles(a: Self::Bytes) -> Self::Bytes {
        unsafe {
            let high = |a| vshrq_n_u8::<4>(a);
            each!(a, high)
        }
    }
    #[inline(always)]
    unsafe fn with_fifth_bit<const BIT: usize>(low: Self::Bytes, high: Self::Bytes) -> Self::Bytes {
        unsafe {
            let place = |low, high| {
                let moved = match BIT {
                    0 => vshlq_n_u8::<4>(high),
                    1 => vshlq_n_u8::<3>(high),
                    2 => vshlq_n_u8::<2>(high),
                    3 => vshlq_n_u8::<1>(high),
                    4 => high,
                    5 => vshrq_n_u8::<1>(high),
                    6 => vshrq_n_u8::<2>(high),
                    _ => vshrq_n_u8::<3>(high),
                };
                vorrq_u8(low, vandq_u8(moved, vdupq_n_u8(0x10)))
            };
            each!(low, high, place)
        }
    }
    #[inline(always)]
    unsafe fn with_two_bits<const PAIR: usize>(low: Self::Bytes, high: Self::Bytes) -> Self::Bytes {
        unsafe {
            let place = |low, high| {
                let moved = match PAIR {
                    0 => vshlq_n_u8::<4>(high),
                    1 => vshlq_n_u8::<2>(high),
                    2 => high,
                    _ => vshrq_n_u8::<2>(high),
                };
                vorrq_u8(low, vandq_u8(moved, vdupq_n_u8(0x30)))
            };
            each!(low, high, place)
        }
    }
    #[inline(always)]
    unsafe fn dot_unsigned(sum: Self::Ints, weights: Self::Bytes, activations: *const i8) -> Self::Ints {
        // Weights of at most 63 are the same numbers as signed bytes.
        unsafe { Self::dot_signed(sum, weights, activations) }
    }
    #[inline(always)]
    unsafe fn dot_signed(sum: Self::Ints, weights: Self::Bytes, activations: *const i8) -> Self::Ints {
        unsafe {
            let a = vreinterpretq_s8_s32(vdupq_n_s32(activations.cast::<i32>().read_unaligned()));
            let add = |sum, weights| dot(sum, vreinterpretq_s8_u8(weights), a);
            each!(sum, weights, add)
        }
    }
}
