//! SPEC 2.4 with sixteen rows of the matrix in sixteen lanes.
//!
//! Codes are multiplied and summed in 16 bits, as many as cannot overflow, and only then widened: 127 times the largest
//! code bounds a product. That needs no shuffle, so any compiler turns the loops over lanes into vectors of any width.

use super::Activations;
use super::activation::Row;
use crate::math::lanes::Pass;
use crate::quant::{Kind, Shape};
use crate::weights::{LANES, Matrix};

/// Multiplies the groups of rows in `data` with every row of `x`; `out` is `[group][row of x][lane]`.
pub(super) struct Multiply<'a> {
    pub(super) matrix: &'a Matrix,
    pub(super) data: &'a [u8],
    pub(super) x: &'a Activations,
    pub(super) out: &'a mut [f32],
}

impl Pass for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // Sub-block and products per 16-bit sum, as array lengths have to be literal.
        match self.matrix.kind {
            Kind::Q4_0 => self.groups::<0, 32, 16>(),
            Kind::Q4_1 => self.groups::<1, 32, 16>(),
            Kind::Q5_0 => self.groups::<2, 32, 16>(),
            Kind::Q5_1 => self.groups::<3, 32, 8>(),
            Kind::Q8_0 => self.groups::<4, 32, 2>(),
            Kind::Q4K => self.groups::<5, 32, 16>(),
            Kind::Q5K => self.groups::<6, 32, 8>(),
            Kind::Q6K => self.groups::<7, 16, 8>(),
        }
    }
}

type Ints = [i32; LANES];
type Floats = [f32; LANES];

const fn shape(kind: usize) -> Shape {
    Kind::ALL[kind].shape()
}

impl Multiply<'_> {
    #[inline(always)]
    fn groups<const KIND: usize, const SUB: usize, const SUM: usize>(self) {
        const {
            let shape = shape(KIND);
            // Nibbles are multiplied as they are, bytes less their zero.
            let below = if shape.packed() { 0 } else { shape.zero };
            let above = (1 << shape.bits) - 1 - below;
            let largest = if above > below { above } else { below };
            assert!(shape.sub == SUB && SUB.is_multiple_of(SUM));
            assert!(!shape.packed() || SUB == 32 && SUM == 16);
            assert!(largest * 127 * SUM as i32 <= i16::MAX as i32);
        }
        let rows = self.x.rows();
        let group_len = self.matrix.group_len();
        for (group, out) in self
            .data
            .chunks_exact(group_len)
            .zip(self.out.chunks_exact_mut(rows * LANES))
        {
            for (row, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                group_dot::<KIND, SUB, SUM>(group, self.x.row(row), out);
            }
        }
    }
}

/// One group of sixteen rows against one row of activations.
#[inline(always)]
fn group_dot<const KIND: usize, const SUB: usize, const SUM: usize>(
    group: &[u8],
    x: Row<'_>,
    out: &mut Floats,
) {
    let Shape {
        block,
        mins: has_mins,
        zero,
        signed,
        ..
    } = const { shape(KIND) };
    let packed = const { shape(KIND).packed() };
    let subs_len = if block == 256 { block / SUB * LANES } else { 0 };
    let mins_len = if has_mins { 4 * LANES } else { 0 };
    let submins_len = if has_mins { subs_len } else { 0 };
    let sub_len = SUB * LANES / if packed { 2 } else { 1 };
    let record_len = 4 * LANES + mins_len + subs_len + submins_len + block / SUB * sub_len;

    let mut total = [0.0; LANES];
    let parts = group.chunks_exact(record_len).zip(x.scales);
    let parts = parts
        .zip(x.codes.chunks_exact(block))
        .zip(x.sums.chunks_exact(block / 16));
    for (((record, &scale), codes), sums) in parts {
        let (d, rest) = record.split_at(4 * LANES);
        let (m, rest) = rest.split_at(mins_len);
        let (subs, rest) = rest.split_at(subs_len);
        let (submins, weights) = rest.split_at(submins_len);

        let mut dots = [0i32; LANES];
        let mut mins = [0i32; LANES];
        let codes = codes.as_chunks::<SUB>().0.iter().zip(sums.chunks_exact(SUB / 16));
        for (s, ((codes, sums), weights)) in codes.zip(weights.chunks_exact(sub_len)).enumerate() {
            let sum: i32 = sums.iter().sum();
            let mut part = [0; LANES];
            if packed {
                dot_nibbles(weights, codes, &mut part);
                for dot in &mut part {
                    *dot -= zero * sum;
                }
            } else {
                dot_bytes::<SUB, SUM>(weights, codes, &mut part);
            }
            if block == 32 {
                dots = part;
                mins = [sum; LANES];
                continue;
            }
            for r in 0..LANES {
                let sub = subs[s * LANES + r];
                dots[r] += part[r]
                    * if signed {
                        i32::from(sub as i8)
                    } else {
                        i32::from(sub)
                    };
                if has_mins {
                    mins[r] += i32::from(submins[s * LANES + r]) * sum;
                }
            }
        }
        for (r, d) in d.as_chunks::<4>().0.iter().enumerate() {
            total[r] += f32::from_le_bytes(*d) * scale * dots[r] as f32;
        }
        for (r, m) in m.as_chunks::<4>().0.iter().enumerate() {
            let min = f32::from_le_bytes(*m) * scale * mins[r] as f32;
            total[r] = if block == 32 {
                total[r] + min
            } else {
                total[r] - min
            };
        }
    }
    *out = total;
}

/// Sums of products of one sub-block; `weights` is `[column][lane]`, signed; `out` is zero before.
#[inline(always)]
fn dot_bytes<const SUB: usize, const SUM: usize>(weights: &[u8], x: &[i16; SUB], out: &mut Ints) {
    let weights = weights
        .as_chunks::<LANES>()
        .0
        .first_chunk::<SUB>()
        .expect("a whole sub-block");
    if SUM < 8 {
        // So few products per sum that loops of their own would cost more than narrow vectors do.
        for (r, out) in out.iter_mut().enumerate() {
            let mut sum = 0;
            for from in (0..SUB).step_by(SUM) {
                sum += i32::from(dot_small::<SUB, SUM>(weights, x, from, r));
            }
            *out = sum;
        }
        return;
    }
    for from in (0..SUB).step_by(SUM) {
        // A loop of 16-bit numbers alone fills vectors with twice as many.
        let mut small = [0i16; LANES];
        for (r, small) in small.iter_mut().enumerate() {
            *small = dot_small::<SUB, SUM>(weights, x, from, r);
        }
        for (out, small) in out.iter_mut().zip(small) {
            *out += i32::from(small);
        }
    }
}

/// Products of `SUM` columns in lane `r`.
#[inline(always)]
fn dot_small<const SUB: usize, const SUM: usize>(
    weights: &[[u8; LANES]; SUB],
    x: &[i16; SUB],
    from: usize,
    r: usize,
) -> i16 {
    let mut sum = 0i16;
    for k in from..from + SUM {
        sum = sum.wrapping_add(i16::from(weights[k][r] as i8).wrapping_mul(x[k]));
    }
    sum
}

/// The same with column k in the low half of byte k and column k + 16 in the high one, not signed.
#[inline(always)]
fn dot_nibbles(weights: &[u8], x: &[i16], out: &mut Ints) {
    let x = x.first_chunk::<32>().expect("a whole sub-block");
    let weights = weights
        .as_chunks::<LANES>()
        .0
        .first_chunk::<16>()
        .expect("a whole sub-block");
    let (mut low, mut high) = ([0i16; LANES], [0i16; LANES]);
    for r in 0..LANES {
        let mut sums = (0i16, 0i16);
        for k in 0..16 {
            let byte = weights[k][r];
            sums.0 = sums.0.wrapping_add(i16::from(byte & 15).wrapping_mul(x[k]));
            sums.1 = sums.1.wrapping_add(i16::from(byte >> 4).wrapping_mul(x[k + 16]));
        }
        (low[r], high[r]) = sums;
    }
    for r in 0..LANES {
        out[r] = i32::from(low[r]) + i32::from(high[r]);
    }
}
