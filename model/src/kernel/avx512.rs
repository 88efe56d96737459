//! SPEC 2.4 on AVX-512 with VNNI: sixteen rows in the sixteen lanes of a register, one instruction for the products of a
//! quad, which sums four products of unsigned and signed bytes into a lane without rounding or saturation.
#![allow(unsafe_code)]
#![expect(
    clippy::needless_range_loop,
    reason = "registers are indexed across several arrays"
)]

use super::Activations;
use super::activation::Row;
use super::x86::{load128, load256};
use crate::quant::{Kind, Shape};
use crate::weights::{LANES, Matrix, QUAD, Record, STRIP};
use std::arch::x86_64::*;

/// Multiplies the groups of rows in `data` with every row of `x`; `out` is `[group][row of x][lane]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn multiply(matrix: &Matrix, data: &[u8], x: &Activations, out: &mut [f32]) {
    super::for_kind!(matrix.kind, groups(matrix, data, x, out));
}

/// One group after the other, so that a batch reads the weights from memory once.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn groups<const KIND: usize>(matrix: &Matrix, data: &[u8], x: &Activations, out: &mut [f32]) {
    let rows = x.rows();
    let groups = data.chunks_exact(matrix.group_len());
    for (group, out) in groups.zip(out.chunks_exact_mut(rows * LANES)) {
        let (out, _) = out.as_chunks_mut::<LANES>();
        let (tiles, rest) = out.as_chunks_mut::<MAX_TILE>();
        for (i, out) in tiles.iter_mut().enumerate() {
            tile::<KIND, MAX_TILE>(group, x, i * MAX_TILE, out);
        }
        let mut row = rows - rest.len();
        let (fours, rest) = rest.as_chunks_mut::<4>();
        for out in fours {
            tile::<KIND, 4>(group, x, row, out);
            row += 4;
        }
        let (twos, rest) = rest.as_chunks_mut::<2>();
        for out in twos {
            tile::<KIND, 2>(group, x, row, out);
            row += 2;
        }
        for (i, out) in rest.iter_mut().enumerate() {
            tile::<KIND, 1>(group, x, row + i, std::array::from_mut(out));
        }
    }
}

/// Rows of activations side by side: their sums and those of one strip fit the registers.
const MAX_TILE: usize = 8;

/// One group of rows against `T` rows of activations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tile<const KIND: usize, const T: usize>(
    group: &[u8],
    x: &Activations,
    row: usize,
    out: &mut [[f32; LANES]; T],
) {
    let shape = const { Kind::ALL[KIND].shape() };
    let Shape {
        block,
        sub,
        zero,
        mins: has_mins,
        signed,
        ..
    } = shape;
    let record = const { Record::of(Kind::ALL[KIND]) };
    let x: [Row<'_>; T] = std::array::from_fn(|t| x.row(row + t));
    let mut totals = [_mm512_setzero_ps(); T];
    for (b, bytes) in group.chunks_exact(record.len).enumerate() {
        let mut dots = [_mm512_setzero_si512(); T];
        let mut mins = [_mm512_setzero_si512(); T];
        let strips = bytes[record.codes..].chunks_exact(shape.strip_len());
        for (s, strip) in strips.enumerate() {
            let at = b * (block / STRIP) + s;
            let codes: [&[[i8; 4]; 8]; T] = std::array::from_fn(|t| x[t].strip(at));
            if block == 256 && sub == 16 {
                for half in 0..2 {
                    let mut parts: [__m512i; T] =
                        std::array::from_fn(|t| _mm512_set1_epi32(-zero * x[t].sums[2 * at + half]));
                    for j in 4 * half..4 * half + 4 {
                        let quad = quad::<KIND>(strip, j);
                        for t in 0..T {
                            parts[t] = _mm512_dpbusd_epi32(parts[t], quad, broadcast(codes[t][j]));
                        }
                    }
                    let scales = load128(bytes, record.subs + (2 * s + half) * LANES);
                    let scales = if signed {
                        _mm512_cvtepi8_epi32(scales)
                    } else {
                        _mm512_cvtepu8_epi32(scales)
                    };
                    for t in 0..T {
                        dots[t] = _mm512_add_epi32(dots[t], _mm512_mullo_epi32(parts[t], scales));
                    }
                }
                continue;
            }
            let mut parts: [__m512i; T] = if zero == 0 {
                [_mm512_setzero_si512(); T]
            } else {
                std::array::from_fn(|t| _mm512_set1_epi32(-zero * x[t].sum(at)))
            };
            for j in 0..8 {
                let quad = quad::<KIND>(strip, j);
                for t in 0..T {
                    parts[t] = _mm512_dpbusd_epi32(parts[t], quad, broadcast(codes[t][j]));
                }
            }
            if block == 32 {
                dots = parts;
                continue;
            }
            let scales = _mm512_cvtepu8_epi32(load128(bytes, record.subs + s * LANES));
            for t in 0..T {
                dots[t] = _mm512_add_epi32(dots[t], _mm512_mullo_epi32(parts[t], scales));
            }
        }
        if has_mins && block == 256 {
            for pair in 0..4 {
                let submins = _mm512_cvtepu8_epi16(load256(bytes, record.submins + pair * 2 * LANES));
                for t in 0..T {
                    let sums = _mm512_set1_epi32(x[t].sum_pair(b * 8 + 2 * pair));
                    mins[t] = _mm512_dpwssd_epi32(mins[t], submins, sums);
                }
            }
        }
        let d = load_ps(bytes, 0);
        for t in 0..T {
            let scale = _mm512_mul_ps(d, _mm512_set1_ps(x[t].scales[b]));
            let product = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(dots[t]));
            totals[t] = _mm512_add_ps(totals[t], product);
        }
        if has_mins {
            let m = load_ps(bytes, record.mins);
            for t in 0..T {
                let scale = _mm512_mul_ps(m, _mm512_set1_ps(x[t].scales[b]));
                totals[t] = if block == 256 {
                    _mm512_sub_ps(totals[t], _mm512_mul_ps(scale, _mm512_cvtepi32_ps(mins[t])))
                } else {
                    let sum = _mm512_set1_ps(x[t].sum(b) as f32);
                    _mm512_add_ps(totals[t], _mm512_mul_ps(scale, sum))
                };
            }
        }
    }
    for (out, total) in out.iter_mut().zip(totals) {
        // SAFETY: sixteen floats are 64 bytes, and no alignment is asked for.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), total) };
    }
}

/// Quad `j` of a strip: codes as unsigned bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn quad<const KIND: usize>(strip: &[u8], j: usize) -> __m512i {
    let bits = const { Kind::ALL[KIND].shape().bits };
    if bits == 8 {
        return load512(strip, j * QUAD);
    }
    let low = load512(strip, j % 4 * QUAD);
    let low = if j < 4 { low } else { _mm512_srli_epi16::<4>(low) };
    let low = _mm512_and_si512(low, _mm512_set1_epi8(15));
    match bits {
        5 => {
            let high = load512(strip, 4 * QUAD);
            // Shifts of 16 bits move bits between bytes; the mask takes only those that came from the right one.
            let high = match j {
                0 => _mm512_slli_epi16::<4>(high),
                1 => _mm512_slli_epi16::<3>(high),
                2 => _mm512_slli_epi16::<2>(high),
                3 => _mm512_slli_epi16::<1>(high),
                4 => high,
                5 => _mm512_srli_epi16::<1>(high),
                6 => _mm512_srli_epi16::<2>(high),
                _ => _mm512_srli_epi16::<3>(high),
            };
            or_masked(low, high, 0x10)
        }
        6 => {
            let high = load512(strip, (4 + j / 4) * QUAD);
            let high = match j % 4 {
                0 => _mm512_slli_epi16::<4>(high),
                1 => _mm512_slli_epi16::<2>(high),
                2 => high,
                _ => _mm512_srli_epi16::<2>(high),
            };
            or_masked(low, high, 0x30)
        }
        _ => low,
    }
}

/// `low | high & mask`
#[inline]
#[target_feature(enable = "avx512f")]
fn or_masked(low: __m512i, high: __m512i, mask: i8) -> __m512i {
    _mm512_ternarylogic_epi32::<0xf8>(low, high, _mm512_set1_epi8(mask))
}

/// Four codes of activations in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn broadcast(codes: [i8; 4]) -> __m512i {
    _mm512_set1_epi32(i32::from_le_bytes(codes.map(|code| code as u8)))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load512(bytes: &[u8], at: usize) -> __m512i {
    let bytes: &[u8] = &bytes[at..at + 64];
    // SAFETY: 64 bytes from here on are in the slice, and no alignment is asked for.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_ps(bytes: &[u8], at: usize) -> __m512 {
    let bytes: &[u8] = &bytes[at..at + 64];
    // SAFETY: 64 bytes from here on are in the slice, no alignment is asked for, and any bits are floats.
    unsafe { _mm512_loadu_ps(bytes.as_ptr().cast()) }
}
