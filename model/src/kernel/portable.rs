//! SPEC 2.4 with sixteen rows of the matrix in sixteen lanes, in a form that compilers turn into vectors of any width.
//!
//! Codes are multiplied and summed in 16 bits, as many as cannot overflow, and only then widened: 127 times the largest
//! code bounds a product. A quad is 64 such products, four to a row; the four meet only at the end.

use super::activation::{Activations, Quad, Tile};
use super::columns::{Columns, put};
use crate::kernel::matrix::{LANES, Matrix, QUAD, Record, STRIP};
use crate::kernel::quant::{Kind, Shape};

/// Multiplies the groups of rows in `data` with every row of `x`.
pub(super) fn multiply(matrix: &Matrix, data: &[u8], x: &Activations, out: &mut Columns<'_>) {
    crate::kernel::columns::for_kind!(matrix.kind, groups(matrix, data, x, out));
}

type Ints = [i32; LANES];

fn groups<const KIND: usize>(matrix: &Matrix, data: &[u8], x: &Activations, out: &mut Columns<'_>) {
    for (g, group) in data.chunks_exact(matrix.group_len()).enumerate() {
        for (row, out) in out.iter_mut().enumerate() {
            let total = group_dot::<KIND>(group, x.tile(row / x.width()), row % x.width());
            put(out, g, &total);
        }
    }
}

/// One group of sixteen rows against one row of activations.
fn group_dot<const KIND: usize>(group: &[u8], x: Tile<'_>, row: usize) -> [f32; LANES] {
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
    let mut total = [0.0; LANES];
    for (b, bytes) in group.chunks_exact(record.len).enumerate() {
        let mut dots = [0i32; LANES];
        let mut mins = [0i32; LANES];
        let strips = bytes[record.codes..].chunks_exact(shape.strip_len());
        for (s, strip) in strips.enumerate() {
            let at = b * (block / STRIP) + s;
            let codes: [Quad; 8] = std::array::from_fn(|j| x.quad(8 * at + j, row));
            // One sub-block of the strip, or two.
            let len = sub.min(STRIP);
            for part in 0..STRIP / len {
                let sum = if len == 16 {
                    x.half_sum(2 * at + part, row)
                } else {
                    x.sum(at, row)
                };
                let mut dot = [-zero * sum; LANES];
                dot_quads::<KIND>(strip, &codes, part * len / 4, (part + 1) * len / 4, &mut dot);
                if block == 32 {
                    dots = dot;
                    mins = [sum; LANES];
                    continue;
                }
                let subs = &bytes[record.subs + (s * (STRIP / len) + part) * LANES..][..LANES];
                for (r, dots) in dots.iter_mut().enumerate() {
                    let scale = if signed {
                        i32::from(subs[r] as i8)
                    } else {
                        i32::from(subs[r])
                    };
                    *dots += dot[r] * scale;
                }
                if has_mins {
                    let submins = &bytes[record.submins + s / 2 * 2 * LANES..][..2 * LANES];
                    for (r, mins) in mins.iter_mut().enumerate() {
                        *mins += i32::from(submins[2 * r + s % 2]) * sum;
                    }
                }
            }
        }
        let scale = x.scales[b * x.width + row];
        let floats = |at: usize| bytes[at..at + 4 * LANES].as_chunks::<4>().0;
        for (r, d) in floats(0).iter().enumerate() {
            total[r] += f32::from_le_bytes(*d) * scale * dots[r] as f32;
        }
        if has_mins {
            for (r, m) in floats(record.mins).iter().enumerate() {
                let min = f32::from_le_bytes(*m) * scale * mins[r] as f32;
                total[r] = if block == 32 {
                    total[r] + min
                } else {
                    total[r] - min
                };
            }
        }
    }
    total
}

/// Adds the products of quads `from..to` of a strip to `out`.
#[inline(always)]
fn dot_quads<const KIND: usize>(strip: &[u8], codes: &[Quad; 8], from: usize, to: usize, out: &mut Ints) {
    // Quads whose products fit 16 bits together.
    let together = const {
        let bits = Kind::ALL[KIND].shape().bits;
        let together = match bits {
            4 | 5 => 8,
            6 => 4,
            _ => 1,
        };
        assert!(((1 << bits) - 1) * 127 * together <= i16::MAX as i32);
        together as usize
    };
    for first in (from..to).step_by(together) {
        let mut sums = [0i16; QUAD];
        for (j, x) in codes[..to].iter().enumerate().skip(first).take(together) {
            let x = x.map(i16::from);
            // Shifts by constants: by a variable they would not become vectors.
            match j {
                0 => add_quad::<KIND, 0>(strip, x, &mut sums),
                1 => add_quad::<KIND, 1>(strip, x, &mut sums),
                2 => add_quad::<KIND, 2>(strip, x, &mut sums),
                3 => add_quad::<KIND, 3>(strip, x, &mut sums),
                4 => add_quad::<KIND, 4>(strip, x, &mut sums),
                5 => add_quad::<KIND, 5>(strip, x, &mut sums),
                6 => add_quad::<KIND, 6>(strip, x, &mut sums),
                _ => add_quad::<KIND, 7>(strip, x, &mut sums),
            }
        }
        for (out, sums) in out.iter_mut().zip(sums.as_chunks::<4>().0) {
            *out += sums.iter().map(|&sum| i32::from(sum)).sum::<i32>();
        }
    }
}

/// Adds the products of quad `J` of a strip, whose codes are unsigned, with four activations.
#[inline(always)]
fn add_quad<const KIND: usize, const J: usize>(strip: &[u8], x: [i16; 4], sums: &mut [i16; QUAD]) {
    let bits = const { Kind::ALL[KIND].shape().bits };
    let (parts, _) = strip.as_chunks::<QUAD>();
    let low = &parts[if bits == 8 { J } else { J % 4 }];
    let (high, shift, mask) = match bits {
        5 => (&parts[4], J, 1),
        6 => (&parts[4 + J / 4], J % 4 * 2, 3),
        _ => (low, 0, 0),
    };
    // As long as a vector of bytes, so that the loop is one.
    let x: [i16; 16] = std::array::from_fn(|i| x[i % 4]);
    let (low, high) = (low.as_chunks::<16>().0, high.as_chunks::<16>().0);
    for ((sums, low), high) in sums.as_chunks_mut::<16>().0.iter_mut().zip(low).zip(high) {
        let mut codes = *low;
        if bits != 8 {
            codes = codes.map(|code| code >> (J / 4 * 4) & 15);
        }
        if bits == 5 || bits == 6 {
            for (code, high) in codes.iter_mut().zip(high) {
                *code |= (high >> shift & mask) << 4;
            }
        }
        for ((sum, code), x) in sums.iter_mut().zip(codes).zip(x) {
            *sum = sum.wrapping_add(i16::from(code).wrapping_mul(x));
        }
    }
}
