//! SPEC 2.4 on AVX2: eight rows in the eight lanes of a register, sixteen rows in two.
//!
//! The instruction that multiplies unsigned by signed bytes sums two products in 16 bits, with saturation. So sums are
//! widened as often as the largest code demands, and codes of 8 bits are multiplied by magnitude, the sign moved over to
//! the activation: nothing ever saturates.
#![allow(unsafe_code)]
#![expect(
    clippy::needless_range_loop,
    reason = "registers are indexed across several arrays"
)]

use super::activation::{Activations, Quad, Tile};
use super::columns::{Columns, put};
use super::x86::{load128, load256};
use crate::kernel::matrix::{LANES, Matrix, QUAD, Record, STRIP};
use crate::kernel::quant::{Kind, Shape};
use std::arch::x86_64::*;

/// Multiplies the groups of rows in `data` with every row of `x`.
#[target_feature(enable = "avx2")]
pub(super) fn multiply(matrix: &Matrix, data: &[u8], x: &Activations, out: &mut Columns<'_>) {
    crate::kernel::columns::for_kind!(matrix.kind, groups(matrix, data, x, out));
}

/// One group after the other, so that a batch reads the weights from memory once.
#[target_feature(enable = "avx2")]
fn groups<const KIND: usize>(matrix: &Matrix, data: &[u8], x: &Activations, out: &mut Columns<'_>) {
    for (g, group) in data.chunks_exact(matrix.group_len()).enumerate() {
        for (i, out) in out.chunks_mut(x.width()).enumerate() {
            match x.width() {
                1 => tile::<KIND, 1>(group, x.tile(i), 0, g, out),
                2 => tile::<KIND, 2>(group, x.tile(i), 0, g, out),
                _ => {
                    for (j, out) in out.chunks_mut(FEW).enumerate() {
                        tile::<KIND, FEW>(group, x.tile(i), j * FEW, g, out);
                    }
                }
            }
        }
    }
}

/// Rows of activations that fit sixteen registers.
const FEW: usize = 4;
/// Rows of the matrix in a register.
const HALF: usize = LANES / 2;

/// Group number `g` against `T` rows of a tile from `row` on, of which the first `out.len()` are wanted.
#[inline]
#[target_feature(enable = "avx2")]
fn tile<const KIND: usize, const T: usize>(
    group: &[u8],
    x: Tile<'_>,
    row: usize,
    g: usize,
    out: &mut Columns<'_>,
) {
    let halves = [
        half_tile::<KIND, T>(group, x, row, 0),
        half_tile::<KIND, T>(group, x, row, 1),
    ];
    for (t, out) in out.iter_mut().enumerate() {
        let mut lanes = [0.0; LANES];
        for (lanes, half) in lanes.as_chunks_mut::<HALF>().0.iter_mut().zip(halves) {
            // SAFETY: eight floats are 32 bytes, and no alignment is asked for.
            unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), half[t]) };
        }
        put(out, g, &lanes);
    }
}

/// Half of a group of rows against `T` rows of a tile from `row` on.
#[inline]
#[target_feature(enable = "avx2")]
fn half_tile<const KIND: usize, const T: usize>(
    group: &[u8],
    x: Tile<'_>,
    row: usize,
    half: usize,
) -> [__m256; T] {
    let shape = const { Kind::ALL[KIND].shape() };
    let Shape {
        block,
        sub,
        zero,
        mins: has_mins,
        signed,
        bits,
        ..
    } = shape;
    let record = const { Record::of(Kind::ALL[KIND]) };
    // Codes of 8 bits are taken less their zero.
    let zero = if bits == 8 { 0 } else { zero };
    let mut totals = [_mm256_setzero_ps(); T];
    for (b, bytes) in group.chunks_exact(record.len).enumerate() {
        let mut dots = [_mm256_setzero_si256(); T];
        let mut mins = [_mm256_setzero_si256(); T];
        let strips = bytes[record.codes..].chunks_exact(shape.strip_len());
        for (s, strip) in strips.enumerate() {
            let at = b * (block / STRIP) + s;
            let codes = &x.codes[8 * at * x.width + row..];
            // One sub-block of the strip, or two.
            for part in 0..STRIP / sub.min(STRIP) {
                let quads = part * sub.min(STRIP) / 4..(part + 1) * sub.min(STRIP) / 4;
                let mut parts = [_mm256_setzero_si256(); T];
                if zero != 0 {
                    for t in 0..T {
                        let sum = if sub == 16 {
                            x.half_sum(2 * at + part, row + t)
                        } else {
                            x.sum(at, row + t)
                        };
                        parts[t] = _mm256_set1_epi32(-zero * sum);
                    }
                }
                dot::<KIND, T>(strip, half, quads, codes, x.width, &mut parts);
                if block == 32 {
                    dots = parts;
                    continue;
                }
                let place = at - b * (block / STRIP);
                let place = record.subs + (place * (STRIP / sub) + part) * LANES + half * HALF;
                let scales = if signed {
                    _mm256_cvtepi8_epi32(load64(bytes, place))
                } else {
                    _mm256_cvtepu8_epi32(load64(bytes, place))
                };
                for t in 0..T {
                    dots[t] = _mm256_add_epi32(dots[t], _mm256_mullo_epi32(parts[t], scales));
                }
            }
        }
        if has_mins && block == 256 {
            for pair in 0..4 {
                let place = record.submins + pair * 2 * LANES + half * LANES;
                let submins = _mm256_cvtepu8_epi16(load128(bytes, place));
                for t in 0..T {
                    let (low, high) = (
                        x.sum(b * 8 + 2 * pair, row + t),
                        x.sum(b * 8 + 2 * pair + 1, row + t),
                    );
                    let sums = _mm256_set1_epi32(low & 0xffff | high << 16);
                    mins[t] = _mm256_add_epi32(mins[t], _mm256_madd_epi16(submins, sums));
                }
            }
        }
        let d = load_ps(bytes, 4 * half * HALF);
        for t in 0..T {
            let scale = _mm256_mul_ps(d, _mm256_set1_ps(x.scales[b * x.width + row + t]));
            let product = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(dots[t]));
            totals[t] = _mm256_add_ps(totals[t], product);
        }
        if has_mins {
            let m = load_ps(bytes, record.mins + 4 * half * HALF);
            for t in 0..T {
                let scale = _mm256_mul_ps(m, _mm256_set1_ps(x.scales[b * x.width + row + t]));
                totals[t] = if block == 256 {
                    _mm256_sub_ps(totals[t], _mm256_mul_ps(scale, _mm256_cvtepi32_ps(mins[t])))
                } else {
                    let sum = _mm256_set1_ps(x.sum(b, row + t) as f32);
                    _mm256_add_ps(totals[t], _mm256_mul_ps(scale, sum))
                };
            }
        }
    }
    totals
}

/// Adds the products of some quads of a strip to `parts`.
#[inline]
#[target_feature(enable = "avx2")]
fn dot<const KIND: usize, const T: usize>(
    strip: &[u8],
    half: usize,
    quads: std::ops::Range<usize>,
    codes: &[Quad],
    width: usize,
    parts: &mut [__m256i; T],
) {
    let bits = const { Kind::ALL[KIND].shape().bits };
    let ones = _mm256_set1_epi16(1);
    if bits == 8 {
        for j in quads {
            let quad = _mm256_xor_si256(load256(strip, j * QUAD + half * QUAD / 2), _mm256_set1_epi8(-128));
            let magnitude = _mm256_abs_epi8(quad);
            for t in 0..T {
                // 128 * 127 * 2 fits 16 bits.
                let signed = _mm256_sign_epi8(broadcast(codes[j * width + t]), quad);
                let pairs = _mm256_maddubs_epi16(magnitude, signed);
                parts[t] = _mm256_add_epi32(parts[t], _mm256_madd_epi16(pairs, ones));
            }
        }
        return;
    }
    // Quads whose sums fit 16 bits together: the largest code times 127, two products each.
    let together = const {
        let bits = Kind::ALL[KIND].shape().bits;
        let together = if bits == 4 {
            8
        } else if bits == 5 {
            4
        } else {
            2
        };
        assert!(bits == 8 || ((1 << bits) - 1) * 127 * 2 * together <= i16::MAX as i32);
        together as usize
    };
    for from in quads.clone().step_by(together) {
        let mut small = [_mm256_setzero_si256(); T];
        for j in from..(from + together).min(quads.end) {
            let quad = quad::<KIND>(strip, half, j);
            for t in 0..T {
                let pairs = _mm256_maddubs_epi16(quad, broadcast(codes[j * width + t]));
                small[t] = _mm256_add_epi16(small[t], pairs);
            }
        }
        for t in 0..T {
            parts[t] = _mm256_add_epi32(parts[t], _mm256_madd_epi16(small[t], ones));
        }
    }
}

/// Half of quad `j` of a strip: codes of 4 to 6 bits as unsigned bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn quad<const KIND: usize>(strip: &[u8], half: usize, j: usize) -> __m256i {
    let offset = half * QUAD / 2;
    let low = load256(strip, j % 4 * QUAD + offset);
    let low = if j < 4 { low } else { _mm256_srli_epi16::<4>(low) };
    let low = _mm256_and_si256(low, _mm256_set1_epi8(15));
    // Shifts of 16 bits move bits between bytes; the mask takes only those that came from the right one.
    let (high, mask) = match const { Kind::ALL[KIND].shape().bits } {
        5 => {
            let high = load256(strip, 4 * QUAD + offset);
            let high = match j {
                0 => _mm256_slli_epi16::<4>(high),
                1 => _mm256_slli_epi16::<3>(high),
                2 => _mm256_slli_epi16::<2>(high),
                3 => _mm256_slli_epi16::<1>(high),
                4 => high,
                5 => _mm256_srli_epi16::<1>(high),
                6 => _mm256_srli_epi16::<2>(high),
                _ => _mm256_srli_epi16::<3>(high),
            };
            (high, 0x10)
        }
        6 => {
            let high = load256(strip, (4 + j / 4) * QUAD + offset);
            let high = match j % 4 {
                0 => _mm256_slli_epi16::<4>(high),
                1 => _mm256_slli_epi16::<2>(high),
                2 => high,
                _ => _mm256_srli_epi16::<2>(high),
            };
            (high, 0x30)
        }
        _ => return low,
    };
    _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(mask)))
}

/// Four codes of activations in every lane.
#[inline]
#[target_feature(enable = "avx2")]
fn broadcast(codes: Quad) -> __m256i {
    _mm256_set1_epi32(i32::from_le_bytes(codes.map(|code| code as u8)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load64(bytes: &[u8], at: usize) -> __m128i {
    let bytes: &[u8] = &bytes[at..at + 8];
    // SAFETY: 8 bytes from here on are in the slice, and no alignment is asked for.
    unsafe { _mm_loadl_epi64(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_ps(bytes: &[u8], at: usize) -> __m256 {
    let bytes: &[u8] = &bytes[at..at + 32];
    // SAFETY: 32 bytes from here on are in the slice, no alignment is asked for, and any bits are floats.
    unsafe { _mm256_loadu_ps(bytes.as_ptr().cast()) }
}
