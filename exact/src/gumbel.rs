//! Gumbel variates of 32-bit words, many at once (SPEC 4.4).

use super::elementary::exp;
use super::lanes::{self, Pass};
use crate::Kernel;

/// Gumbel variate of a word, `-ln(-ln(1 - (word + 1/2) / 2^32))`: small words have large ones, and both ends are precise.
#[inline(always)]
pub fn gumbel(word: u32) -> f32 {
    const UNIT: f32 = 1.0 / 4_294_967_296.0;
    let is_small = word < 1 << 30;
    // Of the side that is nearer, as the float has its digits there.
    let side = ((if is_small { word } else { !word }) as f32 + 0.5) * UNIT;
    let (k, f) = split(side);
    let exponential = -join(if is_small { 0.0 } else { k }, if is_small { -side } else { f });
    let (k, f) = split(exponential);
    -join(k, f)
}

/// Fills `out[i]` with the variate of `words[i]`.
pub fn gumbels(kernel: Kernel, words: &[u32], out: &mut [f32]) {
    lanes::run(kernel, Gumbels { words, out });
}

/// Fills `out[i]` with `weights[i]` (31 bits) times `e^(temperature * gumbel)` of `words[i]`, the exponent no more than `most`.
pub fn favour(
    kernel: Kernel,
    (temperature, most): (f32, f32),
    words: &[u32],
    weights: &[u32],
    out: &mut [f32],
) {
    lanes::run(
        kernel,
        Favour {
            temperature,
            most,
            words,
            weights,
            out,
        },
    );
}

/// A positive normal x as `2^k (1 + f)`, 0.707 < 1 + f < 1.4141, as [`ln`](super::ln) does for f64.
#[inline(always)]
fn split(x: f32) -> (f32, f32) {
    const HALF_ROOT: u32 = 0x3f35_0000;
    let offset = x.to_bits().wrapping_sub(HALF_ROOT);
    let k = (offset as i32 >> 23) as f32;
    let m = f32::from_bits((offset & 0x007f_ffff) + HALF_ROOT);
    (k, m - 1.0)
}

/// `k ln 2 + ln(1 + f)`: 2 artanh(s), s = f / (2 + f), |s| < 0.172, of which five terms reach f32's precision.
#[inline(always)]
fn join(k: f32, f: f32) -> f32 {
    let s = f / (2.0 + f);
    let z = s * s;
    let sum = z * (1.0 / 9.0) + 1.0 / 7.0;
    let sum = sum * z + 1.0 / 5.0;
    let sum = sum * z + 1.0 / 3.0;
    k * std::f32::consts::LN_2 + (2.0 * s + 2.0 * s * (z * sum))
}

struct Gumbels<'a> {
    words: &'a [u32],
    out: &'a mut [f32],
}

impl Pass for Gumbels<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (&word, out) in self.words.iter().zip(self.out) {
            *out = gumbel(word);
        }
    }
}

struct Favour<'a> {
    temperature: f32,
    most: f32,
    words: &'a [u32],
    weights: &'a [u32],
    out: &'a mut [f32],
}

impl Pass for Favour<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self.words.iter().zip(self.weights);
        for ((&word, &weight), out) in rows.zip(self.out) {
            let nats = self.temperature * gumbel(word);
            let nats = if nats < self.most { nats } else { self.most };
            *out = weight as i32 as f32 * exp(nats);
        }
    }
}
