//! The float steps of the network: SPEC 2.5 to 2.8. Each operation is a single IEEE one, in the order written.

use weir_exact::exp;
use weir_exact::lanes::Pass;

/// A block of activations whose largest magnitude is below this (2^-100) is taken as zero: its scale would overflow.
pub(crate) const TINY: f32 = f32::from_bits((127 - 100) << 23);

/// Lanes of a sum that is divided in lanes.
const LANES: usize = 16;

/// The nearest integer, ties to even, of `-2^21 < x < 2^21`.
#[inline(always)]
pub(crate) fn round(x: f32) -> i32 {
    // Adding 1.5 * 2^23 leaves the integer in the low bits, rounded as every addition is.
    const SHIFT: f32 = 12_582_912.0;
    ((x + SHIFT).to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32)
}

/// Sixteen lanes to one: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
#[inline(always)]
pub(crate) fn tree(lanes: [f32; LANES]) -> f32 {
    reduce(lanes, |x, y| x + y)
}

/// Sixteen lanes to one by `two`, in the order of [`tree`]. Every step has an array of its own, so that it stays in registers.
#[inline(always)]
pub(crate) fn reduce(lanes: [f32; LANES], two: impl Fn(f32, f32) -> f32) -> f32 {
    let (mut eight, mut four) = ([0.0; 8], [0.0; 4]);
    for i in 0..8 {
        eight[i] = two(lanes[i], lanes[i + 8]);
    }
    for i in 0..4 {
        four[i] = two(eight[i], eight[i + 4]);
    }
    two(two(four[0], four[2]), two(four[1], four[3]))
}

/// Rows of `x`, to which `y` is added first if there is one, scaled to a root mean square of one, times `weight`: SPEC 2.5.
pub(crate) struct RmsNorm<'a> {
    pub(crate) x: &'a mut [f32],
    pub(crate) y: Option<&'a [f32]>,
    pub(crate) weight: &'a [f32],
    pub(crate) epsilon: f32,
    pub(crate) out: &'a mut [f32],
}

impl Pass for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let len = self.weight.len();
        if let Some(y) = self.y {
            add(self.x, y);
        }
        for (x, out) in self.x.chunks_exact(len).zip(self.out.chunks_exact_mut(len)) {
            let mut sums = [0.0; LANES];
            let (whole, rest) = x.as_chunks::<LANES>();
            for x in whole {
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum += x * x;
                }
            }
            for (sum, x) in sums.iter_mut().zip(rest) {
                *sum += x * x;
            }
            let scale = 1.0 / (tree(sums) / len as f32 + self.epsilon).sqrt();
            for ((out, x), weight) in out.iter_mut().zip(x).zip(self.weight) {
                *out = x * scale * weight;
            }
        }
    }
}

/// `gate = silu(gate) * up`: SPEC 2.8.
pub(crate) struct SwiGlu<'a> {
    pub(crate) gate: &'a mut [f32],
    pub(crate) up: &'a [f32],
}

impl Pass for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (gate, up) in self.gate.iter_mut().zip(self.up) {
            *gate = *gate / (1.0 + exp(-*gate)) * up;
        }
    }
}

/// `x += y`
#[inline(always)]
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}
