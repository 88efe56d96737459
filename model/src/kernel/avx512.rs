//! SPEC 2.4 on AVX-512 with VNNI: sixteen rows in the sixteen lanes of a register, one instruction for the products of a
//! quad, which sums four products of unsigned and signed bytes into a lane without rounding or saturation.
#![allow(unsafe_code)]

use super::activation::{Activations, Quad, TILE, Tile};
use super::columns::Columns;
use super::x86::{load128, load256, prefetch};
use crate::kernel::matrix::{LANES, Matrix, QUAD, Record, STRIP};
use crate::kernel::quant::{Kind, Shape};
use std::arch::x86_64::*;

/// Multiplies the groups of rows in `data` with every row of `x`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn multiply(matrix: &Matrix, data: &[u8], x: &Activations, out: &mut Columns<'_>) {
    crate::kernel::columns::for_kind!(matrix.kind, groups(matrix, data, x, out));
}

/// One group after the other, so that a batch reads the weights from memory once; while tiles are multiplied with one
/// group, the next is brought near.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn groups<const KIND: usize>(matrix: &Matrix, data: &[u8], x: &Activations, out: &mut Columns<'_>) {
    let starts = starts::<KIND>(x);
    let tiles = x.rows().div_ceil(x.width());
    let mut groups = data.chunks_exact(matrix.group_len()).enumerate();
    while let Some((g, group)) = groups.next() {
        let next = groups.clone().next().filter(|_| tiles > 1);
        let mut ahead = next
            .map_or(&[][..], |(_, next)| next)
            .chunks(group.len().div_ceil(tiles));
        let starts = starts.chunks_exact(starts.len() / tiles);
        for ((i, starts), out) in starts.enumerate().zip(out.chunks_mut(x.width())) {
            prefetch(ahead.next().unwrap_or_default());
            match x.width() {
                1 => product::<KIND, 1>(group, x.tile(i), starts, g, out),
                2 => product::<KIND, 2>(group, x.tile(i), starts, g, out),
                4 => product::<KIND, 4>(group, x.tile(i), starts, g, out),
                _ => product::<KIND, TILE>(group, x.tile(i), starts, g, out),
            }
        }
    }
}

/// What a kind takes sums of activations for, `[tile][sub-block][row]`. Where a kind has minimums, they are multiplied with
/// the sums: in blocks of 256 by pairs of sub-blocks, so these are pairs of 16 bits. Else the sum of a sub-block's products
/// begins with minus the code of zero times the sum of its activations.
fn starts<const KIND: usize>(x: &Activations) -> Vec<i32> {
    let Shape {
        block,
        sub,
        zero,
        mins,
        ..
    } = const { Kind::ALL[KIND].shape() };
    let factor = if mins { 1 } else { -zero };
    if sub == 16 {
        return x.sums().iter().map(|sum| factor * sum).collect();
    }
    let mut strips = Vec::with_capacity(x.sums().len() / 2);
    for halves in x.sums().chunks_exact(2 * x.width()) {
        let (low, high) = halves.split_at(x.width());
        strips.extend(low.iter().zip(high).map(|(low, high)| factor * (low + high)));
    }
    if block == 32 || !mins {
        return strips;
    }
    let mut pairs = Vec::with_capacity(strips.len() / 2);
    for strips in strips.chunks_exact(2 * x.width()) {
        let (low, high) = strips.split_at(x.width());
        pairs.extend(low.iter().zip(high).map(|(low, high)| low & 0xffff | high << 16));
    }
    pairs
}

/// Group number `g` against the `T` rows of a tile, of which the first `out.len()` are wanted. All sums stay in registers.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn product<const KIND: usize, const T: usize>(
    group: &[u8],
    x: Tile<'_>,
    starts: &[i32],
    g: usize,
    out: &mut Columns<'_>,
) {
    let record = const { Record::of(Kind::ALL[KIND]) };
    let Shape {
        block,
        sub,
        zero,
        mins: has_mins,
        signed,
        ..
    } = record.shape;
    let strips = block / STRIP;
    let per_strip = STRIP / sub.min(STRIP);
    let mut totals = [_mm512_setzero_ps(); T];
    let records = group.chunks_exact(record.len).zip(x.scales.as_chunks::<T>().0);
    let codes = x.codes.as_chunks::<T>().0.as_chunks::<8>().0.chunks_exact(strips);
    let starts_len = if block == 256 && has_mins {
        strips / 2
    } else {
        strips * per_strip
    };
    let starts = starts.as_chunks::<T>().0.chunks_exact(starts_len);
    for (((bytes, scales), codes), starts) in records.zip(codes).zip(starts) {
        let mut dots = [_mm512_setzero_si512(); T];
        for s in 0..strips {
            let strip = &bytes[record.codes + s * record.shape.strip_len()..][..record.shape.strip_len()];
            for part in 0..per_strip {
                let mut parts = [_mm512_setzero_si512(); T];
                if zero != 0 {
                    for t in 0..T {
                        parts[t] = _mm512_set1_epi32(starts[s * per_strip + part][t]);
                    }
                }
                // Written out, so that no shift and no register is chosen at run time.
                if part == 0 {
                    add_quad::<KIND, T, 0>(strip, &codes[s], &mut parts);
                    add_quad::<KIND, T, 1>(strip, &codes[s], &mut parts);
                    add_quad::<KIND, T, 2>(strip, &codes[s], &mut parts);
                    add_quad::<KIND, T, 3>(strip, &codes[s], &mut parts);
                }
                if part == 1 || per_strip == 1 {
                    add_quad::<KIND, T, 4>(strip, &codes[s], &mut parts);
                    add_quad::<KIND, T, 5>(strip, &codes[s], &mut parts);
                    add_quad::<KIND, T, 6>(strip, &codes[s], &mut parts);
                    add_quad::<KIND, T, 7>(strip, &codes[s], &mut parts);
                }
                if block == 32 {
                    dots = parts;
                    continue;
                }
                let scales = load128(bytes, record.subs + (s * per_strip + part) * LANES);
                let scales = if signed {
                    _mm512_cvtepi8_epi32(scales)
                } else {
                    _mm512_cvtepu8_epi32(scales)
                };
                for t in 0..T {
                    dots[t] = _mm512_add_epi32(dots[t], _mm512_mullo_epi32(parts[t], scales));
                }
            }
        }
        let d = load_ps(bytes, 0);
        for t in 0..T {
            let scale = _mm512_mul_ps(d, _mm512_set1_ps(scales[t]));
            let product = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(dots[t]));
            totals[t] = _mm512_add_ps(totals[t], product);
        }
        if !has_mins {
            continue;
        }
        let mut mins = [_mm512_setzero_si512(); T];
        if block == 256 {
            for (pair, sums) in starts.iter().enumerate() {
                let submins = _mm512_cvtepu8_epi16(load256(bytes, record.submins + pair * 2 * LANES));
                for t in 0..T {
                    mins[t] = _mm512_dpwssd_epi32(mins[t], submins, _mm512_set1_epi32(sums[t]));
                }
            }
        } else {
            for t in 0..T {
                mins[t] = _mm512_set1_epi32(starts[0][t]);
            }
        }
        let m = load_ps(bytes, record.mins);
        for t in 0..T {
            let scale = _mm512_mul_ps(m, _mm512_set1_ps(scales[t]));
            let min = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(mins[t]));
            totals[t] = if block == 256 {
                _mm512_sub_ps(totals[t], min)
            } else {
                _mm512_add_ps(totals[t], min)
            };
        }
    }
    for (out, total) in out.iter_mut().zip(totals) {
        let out = &mut out[g * LANES..];
        match out.first_chunk_mut::<LANES>() {
            // SAFETY: sixteen floats are 64 bytes, and no alignment is asked for.
            Some(out) => unsafe { _mm512_storeu_ps(out.as_mut_ptr(), total) },
            // SAFETY: of the sixteen floats only those in the slice are written.
            None => unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), (1 << out.len()) - 1, total) },
        }
    }
}

/// Adds the products of quad `J` of a strip.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_quad<const KIND: usize, const T: usize, const J: usize>(
    strip: &[u8],
    codes: &[[Quad; T]; 8],
    parts: &mut [__m512i; T],
) {
    let quad = quad::<KIND>(strip, J);
    for t in 0..T {
        parts[t] = _mm512_dpbusd_epi32(parts[t], quad, broadcast(codes[J][t]));
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
fn broadcast(codes: Quad) -> __m512i {
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
