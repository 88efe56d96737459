//! Softmax over a few candidates at a time, for the experts of the codec's winner prediction.

use super::lanes::{self, Pass};
use super::weights::exp_weight;
use crate::Kernel;

/// Fills `out[i]` with the weight of `a * x[i] + b * y[i]` relative to the best of them, and gives the sum of weights; all
/// slices are equally long and not empty (SPEC 4.6).
pub fn expert(kernel: Kernel, (a, x): (f32, &[f32]), (b, y): (f32, &[f32]), out: &mut [u32]) -> u64 {
    lanes::run(kernel, Expert { a, x, b, y, out })
}

/// `mix[i] += factor * weights[i]`, the weight as the nearest f32.
pub fn add_scaled(kernel: Kernel, factor: f32, weights: &[u32], mix: &mut [f32]) {
    lanes::run(kernel, AddScaled { factor, weights, mix });
}

struct Expert<'a> {
    a: f32,
    x: &'a [f32],
    b: f32,
    y: &'a [f32],
    out: &'a mut [u32],
}

impl Pass for Expert<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        const LANES: usize = 16;
        let Self { a, x, b, y, out } = self;
        let mut best = [f32::NEG_INFINITY; LANES];
        let ((x_rows, x_rest), (y_rows, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
        for (x, y) in x_rows.iter().zip(y_rows) {
            for lane in 0..LANES {
                let score = a * x[lane] + b * y[lane];
                best[lane] = if score > best[lane] { score } else { best[lane] };
            }
        }
        for (&x, &y) in x_rest.iter().zip(y_rest) {
            let score = a * x + b * y;
            best[0] = if score > best[0] { score } else { best[0] };
        }
        let mut max = best[0];
        for score in best {
            max = if score > max { score } else { max };
        }
        for ((&x, &y), out) in x.iter().zip(y).zip(&mut *out) {
            *out = exp_weight(a * x + b * y - max);
        }
        out.iter().map(|&weight| u64::from(weight)).sum()
    }
}

struct AddScaled<'a> {
    factor: f32,
    weights: &'a [u32],
    mix: &'a mut [f32],
}

impl Pass for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (&weight, mix) in self.weights.iter().zip(self.mix) {
            // Weights have 31 bits at most, so the signed conversion is the same and is one instruction.
            *mix += self.factor * (weight as i32 as f32);
        }
    }
}
