//! The same sixteen blocks in vectors of sixteen or eight words, one vector for each word of the state.
//!
//! The one source for all widths computes block by block; a compiler then spends more on gathering words than on making
//! them.
#![allow(unsafe_code)]

use super::{BLOCKS, GROUP, Words, start};
use std::arch::x86_64::*;

/// The rounds on vectors of words, and the start added. All indices are constants, so that the state stays in registers.
macro_rules! rounds {
    ($start:expr, $add:ident, $xor:ident, $rotate:ident) => {{
        let start = $start;
        let mut v = start;
        macro_rules! quarter {
            ($a:literal, $b:literal, $c:literal, $d:literal) => {
                v[$a] = $add(v[$a], v[$b]);
                v[$d] = $rotate::<16, 16>($xor(v[$d], v[$a]));
                v[$c] = $add(v[$c], v[$d]);
                v[$b] = $rotate::<12, 20>($xor(v[$b], v[$c]));
                v[$a] = $add(v[$a], v[$b]);
                v[$d] = $rotate::<8, 24>($xor(v[$d], v[$a]));
                v[$c] = $add(v[$c], v[$d]);
                v[$b] = $rotate::<7, 25>($xor(v[$b], v[$c]));
            };
        }
        for _ in 0..4 {
            quarter!(0, 4, 8, 12);
            quarter!(1, 5, 9, 13);
            quarter!(2, 6, 10, 14);
            quarter!(3, 7, 11, 15);
            quarter!(0, 5, 10, 15);
            quarter!(1, 6, 11, 12);
            quarter!(2, 7, 8, 13);
            quarter!(3, 4, 9, 14);
        }
        for i in 0..16 {
            v[i] = $add(v[i], start[i]);
        }
        v
    }};
}

/// Words `256 group ..` of the stream.
#[target_feature(enable = "avx512f")]
pub(super) fn group512(words: &Words, group: u32, out: &mut [u32; GROUP]) {
    let mut from = [_mm512_setzero_si512(); 16];
    for (from, word) in from.iter_mut().zip(start(words, group * BLOCKS as u32)) {
        *from = _mm512_set1_epi32(word as i32);
    }
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    from[12] = _mm512_add_epi32(from[12], lanes);
    let v = rounds!(from, _mm512_add_epi32, _mm512_xor_si512, rotate512);
    for (v, out) in v.iter().zip(out.as_chunks_mut::<16>().0) {
        // SAFETY: sixteen words are 64 bytes, and no alignment is asked for.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), *v) };
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn rotate512<const LEFT: i32, const RIGHT: i32>(v: __m512i) -> __m512i {
    _mm512_rol_epi32::<LEFT>(v)
}

/// Words `256 group ..` of the stream.
#[target_feature(enable = "avx2")]
pub(super) fn group256(words: &Words, group: u32, out: &mut [u32; GROUP]) {
    for half in 0..2 {
        let mut from = [_mm256_setzero_si256(); 16];
        for (from, word) in from
            .iter_mut()
            .zip(start(words, group * BLOCKS as u32 + half * 8))
        {
            *from = _mm256_set1_epi32(word as i32);
        }
        from[12] = _mm256_add_epi32(from[12], _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
        let v = rounds!(from, _mm256_add_epi32, _mm256_xor_si256, rotate256);
        let halves = out
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .skip(half as usize)
            .step_by(2);
        for (v, out) in v.iter().zip(halves) {
            // SAFETY: eight words are 32 bytes, and no alignment is asked for.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), *v) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate256<const LEFT: i32, const RIGHT: i32>(v: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(v), _mm256_srli_epi32::<RIGHT>(v))
}
