//! Layers of a small network over many rows at once, for the codec's winner prediction: rows lie side by side in lanes.

use super::lanes::{self, Pass};
use crate::Kernel;

/// Rows that go through a layer together; a multiple of every vector width.
pub const ROWS: usize = 64;

/// One number of each row.
pub type Column = [f32; ROWS];

/// A layer with as many units as `out` has columns: `out[u][r] = max(0, bias[u] + sum of weights[u * n + f] * input[f][r])`
/// over the n columns of `input`, from the first to the last (SPEC 4.6).
///
/// # Panics
/// If `weights` or `bias` are shorter than that.
pub fn dense(kernel: Kernel, weights: &[f32], bias: &[f32], input: &[Column], out: &mut [Column]) {
    lanes::run(
        kernel,
        Dense {
            weights,
            bias,
            input,
            out,
        },
    );
}

/// For each of `of`: how many of `x` are greater, and the sum of their `mass`, modulo 2^32 (SPEC 4.6).
pub fn precede(kernel: Kernel, x: &[f32], mass: &[u32], of: &[f32], found: &mut Vec<(u32, u32)>) {
    lanes::run(kernel, Precede { x, mass, of, found });
}

struct Dense<'a> {
    weights: &'a [f32],
    bias: &'a [f32],
    input: &'a [Column],
    out: &'a mut [Column],
}

impl Pass for Dense<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            weights,
            bias,
            input,
            out,
        } = self;
        let n = input.len();
        for (unit, out) in out.iter_mut().enumerate() {
            let weights = &weights[unit * n..][..n];
            // A few rows at a time, whose sums stay in a register.
            for (part, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let mut sums = [bias[unit]; LANES];
                for (&weight, column) in weights.iter().zip(input) {
                    let column = &column.as_chunks::<LANES>().0[part];
                    for lane in 0..LANES {
                        sums[lane] += weight * column[lane];
                    }
                }
                for lane in 0..LANES {
                    out[lane] = if sums[lane] > 0.0 { sums[lane] } else { 0.0 };
                }
            }
        }
    }
}

/// Rows of a sum; a multiple of every vector width.
const LANES: usize = 16;

struct Precede<'a> {
    x: &'a [f32],
    mass: &'a [u32],
    of: &'a [f32],
    found: &'a mut Vec<(u32, u32)>,
}

impl Pass for Precede<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { x, mass, of, found } = self;
        found.clear();
        for &bar in of {
            let (mut count, mut sum) = (0u32, 0u32);
            for (&x, &mass) in x.iter().zip(mass) {
                count += u32::from(x > bar);
                sum = sum.wrapping_add(if x > bar { mass } else { 0 });
            }
            found.push((count, sum));
        }
    }
}
