//! The small fixed network that scores the entrants (SPEC 4.6). Its weights are part of the specification.

use weir_exact::{Column, Kernel, ROWS};

use super::features::{ENTRANT, Features, GLOBAL};
use super::regime::Regime;

/// Units of each of the two hidden layers.
pub const HIDDEN: usize = 64;

/// Weights of all networks as the file has them: little-endian f32.
pub(crate) const BYTES: &[u8; 2 * 4 * SIZE] = include_bytes!("network.bin");

/// Floats of one network.
pub const SIZE: usize = layout::END;

/// Where the parts of a network begin.
pub mod layout {
    use super::{ENTRANT, GLOBAL, HIDDEN};
    /// First layer, of an entrant's numbers: one row for each unit.
    pub const FIRST: usize = 0;
    /// First layer, of the numbers that all entrants share: one row for each unit.
    pub const SHARED: usize = FIRST + HIDDEN * ENTRANT;
    /// Bias of the first layer.
    pub const FIRST_BIAS: usize = SHARED + HIDDEN * GLOBAL;
    /// Second layer: one row for each unit.
    pub const SECOND: usize = FIRST_BIAS + HIDDEN;
    /// Bias of the second layer.
    pub const SECOND_BIAS: usize = SECOND + HIDDEN * HIDDEN;
    /// What the second layer's units add to an entrant's score.
    pub const OUT: usize = SECOND_BIAS + HIDDEN;
    /// Two slopes of the score, in the entrant's first and second number: bias, then weights of the shared numbers.
    pub const SLOPES: usize = OUT + HIDDEN;
    /// What is added to the score of candidates that are no entrants.
    pub const OTHERS: usize = SLOPES + 2 * (1 + GLOBAL);
    /// Logit of the escape: bias, weights of the shared numbers, weight of what is outside.
    pub const ESCAPE: usize = OTHERS + 1;
    /// The size of it all.
    pub const END: usize = ESCAPE + 1 + GLOBAL + 1;
}

/// Networks of greedy and of seeded decoding.
static NETWORKS: [[f32; SIZE]; 2] = floats(BYTES);

/// Network of the tokens of `regime`, if there is one.
pub(super) fn of(regime: Regime) -> Option<&'static [f32; SIZE]> {
    match regime {
        Regime::Greedy => Some(&NETWORKS[0]),
        Regime::Open | Regime::Filtered => Some(&NETWORKS[1]),
        Regime::Unknown | Regime::LossyGreedy | Regime::LossySampled => None,
    }
}

/// Buffers of a forward pass.
#[derive(Clone, Debug)]
pub(super) struct Scorer {
    first: Box<[Column; HIDDEN]>,
    second: Box<[Column; HIDDEN]>,
}

impl Default for Scorer {
    fn default() -> Self {
        Self {
            first: Box::new([[0.0; ROWS]; HIDDEN]),
            second: Box::new([[0.0; ROWS]; HIDDEN]),
        }
    }
}

impl Scorer {
    /// Fills `scores` with one for each candidate of `features`: log probabilities up to a constant. Gives the probability that
    /// none of them wins.
    pub(super) fn score(
        &mut self,
        kernel: Kernel,
        net: &[f32; SIZE],
        features: &Features,
        scores: &mut Vec<f32>,
    ) -> f32 {
        let shared = features.shared();
        let mut bias = [0.0; HIDDEN];
        bias.copy_from_slice(&net[layout::FIRST_BIAS..][..HIDDEN]);
        for (unit, bias) in bias.iter_mut().enumerate() {
            *bias = affine(*bias, &net[layout::SHARED + unit * GLOBAL..][..GLOBAL], shared);
        }
        let columns = features.columns();
        weir_exact::dense(kernel, &net[layout::FIRST..], &bias, columns, &mut *self.first);
        let bias = &net[layout::SECOND_BIAS..][..HIDDEN];
        weir_exact::dense(
            kernel,
            &net[layout::SECOND..],
            bias,
            &*self.first,
            &mut *self.second,
        );

        let slope = |k: usize| {
            let at = layout::SLOPES + k * (1 + GLOBAL);
            affine(net[at], &net[at + 1..][..GLOBAL], shared)
        };
        let (a, b) = (slope(0), slope(1));
        let mut out = [0.0; ROWS];
        for row in 0..ROWS {
            out[row] = a * columns[0][row] + b * columns[1][row];
        }
        for (column, &weight) in self.second.iter().zip(&net[layout::OUT..][..HIDDEN]) {
            for row in 0..ROWS {
                out[row] += weight * column[row];
            }
        }

        let others = net[layout::OTHERS];
        scores.clear();
        scores.extend(features.behind().iter().map(|behind| others + behind));
        for (&i, score) in features.entrants().iter().zip(out) {
            scores[i as usize] = score;
        }

        let escape = &net[layout::ESCAPE..];
        let logit =
            affine(escape[0], &escape[1..][..GLOBAL], shared) + escape[1 + GLOBAL] * features.outside();
        let odds = weir_exact::exp(logit.clamp(-LEAST_LIKELY, MOST_LIKELY));
        odds / (1.0 + odds)
    }
}

/// Bounds of the escape's logit: it is never certain, and never out of the question.
const LEAST_LIKELY: f32 = 12.0;
const MOST_LIKELY: f32 = 3.0;

/// `bias` and the products of `weights` and `x`, added from the first to the last.
fn affine(bias: f32, weights: &[f32], x: &[f32]) -> f32 {
    weights.iter().zip(x).fold(bias, |sum, (w, x)| sum + w * x)
}

/// The file's floats; a file of another length does not compile.
const fn floats(bytes: &[u8; 2 * 4 * SIZE]) -> [[f32; SIZE]; 2] {
    let mut networks = [[0.0; SIZE]; 2];
    let mut i = 0;
    while i < 2 * SIZE {
        let at = 4 * i;
        let bits = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let x = f32::from_bits(bits);
        assert!(x.is_finite());
        networks[i / SIZE][i % SIZE] = x;
        i += 1;
    }
    networks
}
