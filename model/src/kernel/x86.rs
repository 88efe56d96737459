//! Loads that every x86 kernel has use for, and asking for them early.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

/// 32 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load256(bytes: &[u8], at: usize) -> __m256i {
    let bytes: &[u8] = &bytes[at..at + 32];
    // SAFETY: 32 bytes from here on are in the slice, and no alignment is asked for.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// 16 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn load128(bytes: &[u8], at: usize) -> __m128i {
    let bytes: &[u8] = &bytes[at..at + 16];
    // SAFETY: 16 bytes from here on are in the slice, and no alignment is asked for.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// Asks for `bytes` to be brought from memory into the second cache.
#[inline]
pub(super) fn prefetch(bytes: &[u8]) {
    for line in bytes.chunks(64) {
        // SAFETY: a prefetch changes nothing that a program sees, and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
    }
}
