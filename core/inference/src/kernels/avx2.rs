//! AVX2 with FMA and half-precision conversion, two registers a vector; with AVX-VNNI where the processor has it.
#![allow(
    unsafe_code,
    reason = "intrinsics; the caller has checked the processor: see the contract of `Simd`"
)]

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _MM_FROUND_TO_NEAREST_INT, _mm_add_epi32, _mm_add_ps, _mm_add_ss,
    _mm_cvtsi128_si32, _mm_cvtss_f32, _mm_loadu_si128, _mm_max_ps, _mm_max_ss, _mm_movehl_ps,
    _mm_packs_epi16, _mm_packs_epi32, _mm_shuffle_epi32, _mm_shuffle_ps, _mm_storeu_si128, _mm256_abs_epi8,
    _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_and_si256, _mm256_castps256_ps128,
    _mm256_castsi256_ps, _mm256_castsi256_si128, _mm256_cvtepi32_ps, _mm256_cvtph_ps, _mm256_cvtps_epi32,
    _mm256_cvtps_ph, _mm256_div_ps, _mm256_dpbusd_avx_epi32, _mm256_extractf128_ps, _mm256_extracti128_si256,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_sign_epi8, _mm256_slli_epi16, _mm256_slli_epi32,
    _mm256_srli_epi16, _mm256_storeu_ps, _mm256_sub_ps, _mm256_xor_si256,
};

use super::simd::Simd;

/// Marker for the family; `VNNI` says whether byte dot products are one instruction.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<const VNNI: bool>;

macro_rules! both {
    ($a:expr, $operation:expr) => {
        [$operation($a[0]), $operation($a[1])]
    };
    ($a:expr, $b:expr, $operation:expr) => {
        [$operation($a[0], $b[0]), $operation($a[1], $b[1])]
    };
}

// SAFETY (of every block below): the trait's contract gives the instructions and valid pointers.
impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type Floats = [__m256; 2];
    type Ints = [__m256i; 2];
    type Bytes = [__m256i; 2];
    const TOKEN_TILE: usize = 2;
    const SIGNED_OFFSET: i32 = if VNNI { 128 } else { 0 };

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Floats {
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Floats {
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::Floats) {
        unsafe {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
    }
    #[inline(always)]
    unsafe fn load_half(from: *const u16) -> Self::Floats {
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast::<__m128i>())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast::<__m128i>())),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_half(to: *mut u16, value: Self::Floats) {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT;
        unsafe {
            _mm_storeu_si128(to.cast::<__m128i>(), _mm256_cvtps_ph::<NEAREST>(value[0]));
            _mm_storeu_si128(to.add(8).cast::<__m128i>(), _mm256_cvtps_ph::<NEAREST>(value[1]));
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(a, b, _mm256_add_ps) }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(a, b, _mm256_sub_ps) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(a, b, _mm256_mul_ps) }
    }
    #[inline(always)]
    unsafe fn div(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(a, b, _mm256_div_ps) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], c[0]),
                _mm256_fmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn max(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(a, b, _mm256_max_ps) }
    }
    #[inline(always)]
    unsafe fn min(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        unsafe { both!(a, b, _mm256_min_ps) }
    }
    #[inline(always)]
    unsafe fn abs(a: Self::Floats) -> Self::Floats {
        unsafe {
            let mask = _mm256_castsi256_ps(_mm256_set1_epi32(i32::MAX));
            [_mm256_and_ps(a[0], mask), _mm256_and_ps(a[1], mask)]
        }
    }
    #[inline(always)]
    unsafe fn sum(a: Self::Floats) -> f32 {
        unsafe {
            let eight = _mm256_add_ps(a[0], a[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    unsafe fn largest(a: Self::Floats) -> f32 {
        unsafe {
            let eight = _mm256_max_ps(a[0], a[1]);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    unsafe fn splat_int(value: i32) -> Self::Ints {
        unsafe { [_mm256_set1_epi32(value); 2] }
    }
    #[inline(always)]
    unsafe fn to_floats(a: Self::Ints) -> Self::Floats {
        unsafe { both!(a, _mm256_cvtepi32_ps) }
    }
    #[inline(always)]
    unsafe fn round(a: Self::Floats) -> Self::Ints {
        unsafe { both!(a, _mm256_cvtps_epi32) }
    }
    #[inline(always)]
    unsafe fn sum_ints(a: Self::Ints) -> i32 {
        unsafe {
            let eight = _mm256_add_epi32(a[0], a[1]);
            let four = _mm_add_epi32(
                _mm256_castsi256_si128(eight),
                _mm256_extracti128_si256::<1>(eight),
            );
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
        }
    }
    #[inline(always)]
    unsafe fn power_of_two(a: Self::Ints) -> Self::Floats {
        unsafe {
            let bias = _mm256_set1_epi32(127);
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(a[0], bias))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(a[1], bias))),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(to: *mut i8, a: Self::Ints) {
        unsafe {
            let pack = |a| _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
            _mm_storeu_si128(to.cast::<__m128i>(), _mm_packs_epi16(pack(a[0]), pack(a[1])));
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self::Bytes {
        unsafe {
            [
                _mm256_loadu_si256(from.cast::<__m256i>()),
                _mm256_loadu_si256(from.add(32).cast::<__m256i>()),
            ]
        }
    }
    #[inline(always)]
    unsafe fn low_nibbles(a: Self::Bytes) -> Self::Bytes {
        unsafe {
            let mask = _mm256_set1_epi8(15);
            [_mm256_and_si256(a[0], mask), _mm256_and_si256(a[1], mask)]
        }
    }
    #[inline(always)]
    unsafe fn high_nibbles(a: Self::Bytes) -> Self::Bytes {
        unsafe { Self::low_nibbles([_mm256_srli_epi16::<4>(a[0]), _mm256_srli_epi16::<4>(a[1])]) }
    }
    #[inline(always)]
    unsafe fn with_fifth_bit<const BIT: usize>(low: Self::Bytes, high: Self::Bytes) -> Self::Bytes {
        // Shifts of 16-bit lanes carry bits across bytes, but never into the masked ones.
        unsafe {
            let mask = _mm256_set1_epi8(0x10);
            let place = |low, high| {
                let moved = match BIT {
                    0 => _mm256_slli_epi16::<4>(high),
                    1 => _mm256_slli_epi16::<3>(high),
                    2 => _mm256_slli_epi16::<2>(high),
                    3 => _mm256_slli_epi16::<1>(high),
                    4 => high,
                    5 => _mm256_srli_epi16::<1>(high),
                    6 => _mm256_srli_epi16::<2>(high),
                    _ => _mm256_srli_epi16::<3>(high),
                };
                _mm256_or_si256(low, _mm256_and_si256(moved, mask))
            };
            both!(low, high, place)
        }
    }
    #[inline(always)]
    unsafe fn with_two_bits<const PAIR: usize>(low: Self::Bytes, high: Self::Bytes) -> Self::Bytes {
        unsafe {
            let mask = _mm256_set1_epi8(0x30);
            let place = |low, high| {
                let moved = match PAIR {
                    0 => _mm256_slli_epi16::<4>(high),
                    1 => _mm256_slli_epi16::<2>(high),
                    2 => high,
                    _ => _mm256_srli_epi16::<2>(high),
                };
                _mm256_or_si256(low, _mm256_and_si256(moved, mask))
            };
            both!(low, high, place)
        }
    }
    #[inline(always)]
    unsafe fn dot_unsigned(sum: Self::Ints, weights: Self::Bytes, activations: *const i8) -> Self::Ints {
        unsafe {
            let a = _mm256_set1_epi32(activations.cast::<i32>().read_unaligned());
            let dot = |sum, weights| {
                if VNNI {
                    return _mm256_dpbusd_avx_epi32(sum, weights, a);
                }
                // Two products of at most 63 · 127 fit sixteen bits.
                let pairs = _mm256_maddubs_epi16(weights, a);
                _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            };
            both!(sum, weights, dot)
        }
    }
    #[inline(always)]
    unsafe fn dot_signed(sum: Self::Ints, weights: Self::Bytes, activations: *const i8) -> Self::Ints {
        unsafe {
            if VNNI {
                let flip = _mm256_set1_epi8(-128);
                let raised = [
                    _mm256_xor_si256(weights[0], flip),
                    _mm256_xor_si256(weights[1], flip),
                ];
                return Self::dot_unsigned(sum, raised, activations);
            }
            let a = _mm256_set1_epi32(activations.cast::<i32>().read_unaligned());
            let dot = |sum, weights| {
                // |w| · (±a): two products of at most 128 · 127 fit sixteen bits.
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(a, weights));
                _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            };
            both!(sum, weights, dot)
        }
    }
}
