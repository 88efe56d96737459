//! Logits to integer weights: fixed-point exp relative to the best logit, and their exact sum.

use super::elementary::exp_in_range;
use super::lanes::{self, Pass};
use crate::{Error, Kernel};

/// Weight of the best logit: weights have 30 bits behind the point.
pub const ONE: u32 = 1 << 30;

/// Floats handled together; a multiple of every vector width.
const LANES: usize = 16;

/// Weights whose halves are summed in 32 bits: 2^15 times 2^16 fits.
const SUMMED: usize = 1 << 15;

/// `floor(e^x * 2^30)` for `x <= 0`, with the polynomial of [`exp`](super::exp) (SPEC 4.1).
#[inline(always)]
pub fn exp_weight(x: f32) -> u32 {
    // Below -87 the weight is 0 anyway, and the polynomial needs its range.
    let x = if x > -87.0 { x } else { -87.0 };
    let x = if x < 0.0 { x } else { 0.0 };
    truncate(exp_in_range(x) * ONE as f32)
}

/// `floor(y)` for `0 <= y <= 2^30`, in one vector instruction: `as` would also test for what cannot be.
#[allow(unsafe_code)]
#[inline(always)]
fn truncate(y: f32) -> u32 {
    // SAFETY: the only caller clamps x to -87..=0 (a NaN too), so y is at most 2^30.
    unsafe { y.to_int_unchecked::<i32>() as u32 }
}

/// Unnormalised probabilities of a row of logits: `weights[i] / sum` is the softmax.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// `floor(e^(logit - max) * 2^30)` of each token.
    pub weights: Vec<u32>,
    /// Sum of all weights; at least [`ONE`].
    pub sum: u64,
    /// The best logit.
    pub max: f32,
    /// Best logit of every [`Weights::BLOCK`] tokens.
    pub block_max: Vec<f32>,
}

impl Weights {
    /// Tokens of one entry in `block_max`.
    pub const BLOCK: usize = 64;

    /// Computes the weights of `logits` into the buffers kept here.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a logit is infinite or NaN, or there is none; [`Error::FloatEnv`] on a thread that does not
    /// round as it should.
    pub fn set(&mut self, kernel: Kernel, logits: &[f32]) -> Result<(), Error> {
        self.maximum(kernel, logits)?;
        self.weights.resize(logits.len(), 0);
        let pass = Exp {
            logits,
            max: self.max,
            scale: 1.0,
            weights: &mut self.weights,
        };
        self.sum = lanes::run(kernel, pass);
        Ok(())
    }

    /// The same for `logits / temperature`, which is formed as `(logit - max) * (1 / temperature)`.
    ///
    /// # Errors
    /// As [`Weights::set`].
    pub fn set_scaled(&mut self, kernel: Kernel, logits: &[f32], temperature: f32) -> Result<(), Error> {
        self.maximum(kernel, logits)?;
        self.weights.resize(logits.len(), 0);
        let scale = 1.0 / temperature;
        self.sum = lanes::run(
            kernel,
            Exp {
                logits,
                max: self.max,
                scale,
                weights: &mut self.weights,
            },
        );
        Ok(())
    }

    /// Only `max` and `block_max`.
    ///
    /// # Errors
    /// As [`Weights::set`].
    pub fn maximum(&mut self, kernel: Kernel, logits: &[f32]) -> Result<(), Error> {
        // Every use begins here, on whatever thread the caller likes.
        crate::float_env::check()?;
        self.block_max.resize(logits.len().div_ceil(Self::BLOCK), 0.0);
        let finite = lanes::run(
            kernel,
            Maximum {
                logits,
                block_max: &mut self.block_max,
            },
        );
        self.max = self.block_max.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if finite && self.max.is_finite() {
            Ok(())
        } else {
            Err(Error::NotFinite)
        }
    }
}

struct Maximum<'a> {
    logits: &'a [f32],
    block_max: &'a mut [f32],
}

impl Pass for Maximum<'_> {
    /// Whether every logit is finite.
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        // x * 0 is NaN for whatever is not finite, and NaN stays.
        let mut poison = [0.0f32; LANES];
        for (block, best) in self.logits.chunks(Weights::BLOCK).zip(self.block_max) {
            let mut max = [f32::NEG_INFINITY; LANES];
            let (rows, rest) = block.as_chunks::<LANES>();
            for row in rows {
                for lane in 0..LANES {
                    let x = row[lane];
                    max[lane] = if x > max[lane] { x } else { max[lane] };
                    poison[lane] += x * 0.0;
                }
            }
            for &x in rest {
                max[0] = if x > max[0] { x } else { max[0] };
                poison[0] += x * 0.0;
            }
            let mut all = max[0];
            for x in max {
                all = if x > all { x } else { all };
            }
            *best = all;
        }
        poison.iter().all(|x| !x.is_nan())
    }
}

struct Exp<'a> {
    logits: &'a [f32],
    max: f32,
    scale: f32,
    weights: &'a mut [u32],
}

impl Pass for Exp<'_> {
    /// Sum of the weights.
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let mut sum = 0;
        // Halves of so few weights cannot overflow, and need no lanes of 64 bits.
        for (logits, weights) in self.logits.chunks(SUMMED).zip(self.weights.chunks_mut(SUMMED)) {
            let (mut low, mut high) = (0u32, 0u32);
            for (&x, weight) in logits.iter().zip(weights) {
                *weight = exp_weight((x - self.max) * self.scale);
                low += *weight & 0xffff;
                high += *weight >> 16;
            }
            sum += u64::from(low) + (u64::from(high) << 16);
        }
        sum
    }
}
