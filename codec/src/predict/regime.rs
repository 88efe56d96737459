//! How the tokens of a slot are chosen, and the experts that fit: their grids, and the weights they start with (SPEC 4.7).

use crate::query::Sampling;

/// Places of a row of weights: the network's experts, those of a grid, and the plain one.
pub(crate) const EXPERTS: usize = 13;
/// Index of the plain expert, q over the whole vocabulary.
pub(crate) const PLAIN: usize = EXPERTS - 1;
/// Experts of the network, each at one of [`SHARPNESS`]; they come first.
pub(crate) const NETWORK: usize = SHARPNESS.len();
/// What the network's scores are multiplied by: it may be too sure of itself, or not enough.
pub(crate) const SHARPNESS: [f32; 3] = [0.75, 1.0, 1.35];

/// How the tokens of a slot are chosen: each regime has its experts and its weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Regime {
    /// The strong model's best.
    Greedy = 0,
    /// Gumbel-max over all tokens.
    Open = 1,
    /// Gumbel-max over those that top-k and top-p leave.
    Filtered = 2,
    /// By whoever wrote the text.
    #[default]
    Unknown = 3,
    /// The weak model's best, as long as the strong one's is not too far ahead.
    LossyGreedy = 4,
    /// Gumbel-max with both models' logits.
    LossySampled = 5,
}

impl Regime {
    pub(crate) fn of(sampling: Option<&Sampling>) -> Self {
        match sampling {
            None => Self::Unknown,
            Some(s) if s.is_lossy() && s.is_seeded() => Self::LossySampled,
            Some(s) if s.is_lossy() => Self::LossyGreedy,
            Some(s) if !s.is_seeded() => Self::Greedy,
            Some(s) if s.top_p < 1.0 || s.top_k > 0 => Self::Filtered,
            Some(_) => Self::Open,
        }
    }

    /// Whether the noise plays a part.
    pub(crate) fn is_seeded(self) -> bool {
        matches!(self, Self::Open | Self::Filtered | Self::LossySampled)
    }

    /// Whether a network knows such tokens.
    pub(crate) fn has_network(self) -> bool {
        matches!(self, Self::Greedy | Self::Open | Self::Filtered)
    }

    /// What expert `k`, if it is one of the grid, counts the weak model's logit for, and what the noise (or, of kept tokens,
    /// being the best).
    ///
    /// A pair of the grid says how far the strong model's logits stray from the weak one's: the wider, the smaller `a` and
    /// `b`. In a blend only the share `tau` of that is felt, and the rest is known: `(tau a + (1 - tau) b) / tau` and
    /// `b / tau`. A token that is kept has a lead of `-ln tau`.
    pub(crate) fn blend(self, k: usize, sampling: &Sampling) -> Option<(f32, f32)> {
        let grid: &[(f32, f32)] = match self {
            Self::Greedy | Self::Unknown => &SHARPENED,
            Self::Open | Self::Filtered | Self::LossySampled => &SEEDED,
            Self::LossyGreedy => &LOSSY_GREEDY,
        };
        let &(a, b) = k.checked_sub(NETWORK).and_then(|k| grid.get(k))?;
        let Sampling { temperature, tau, .. } = *sampling;
        Some(match self {
            Self::Greedy | Self::Unknown => (a, 0.0),
            Self::Open | Self::Filtered => (a, b * temperature),
            Self::LossySampled => (a + b * ((1.0 - tau) / tau), b * temperature / tau),
            Self::LossyGreedy => (a, a * b * -weir_exact::ln(f64::from(tau)) as f32),
        })
    }

    /// Where the weights start.
    pub(crate) fn prior(self) -> [f32; EXPERTS] {
        match self {
            Self::Greedy => GREEDY_PRIOR,
            Self::Open => OPEN_PRIOR,
            Self::Filtered => FILTERED_PRIOR,
            Self::Unknown => UNKNOWN_PRIOR,
            Self::LossyGreedy => LOSSY_GREEDY_PRIOR,
            Self::LossySampled => LOSSY_SAMPLED_PRIOR,
        }
    }
}

const SHARPENED: [(f32, f32); 8] = [
    (0.8, 0.0),
    (1.0, 0.0),
    (1.2, 0.0),
    (1.4, 0.0),
    (1.7, 0.0),
    (2.0, 0.0),
    (2.5, 0.0),
    (3.5, 0.0),
];

const SEEDED: [(f32, f32); 9] = [
    (1.0, 0.5),
    (1.0, 0.85),
    (1.0, 1.2),
    (1.2, 0.5),
    (1.2, 0.85),
    (1.2, 1.2),
    (1.4, 0.7),
    (1.4, 1.2),
    (1.7, 1.5),
];

const LOSSY_GREEDY: [(f32, f32); 9] = [
    (1.0, 0.5),
    (1.0, 1.4),
    (1.0, 2.8),
    (1.4, 0.5),
    (1.4, 1.4),
    (1.4, 2.8),
    (2.0, 0.5),
    (2.0, 1.4),
    (2.0, 2.8),
];

// Where they come to rest on answers that the network was fitted to (docs/research.md), drawn towards equal parts; but with more
// for q, which costs nothing there and keeps tokens of another seed from costing more than they may.
const GREEDY_PRIOR: [f32; EXPERTS] = [
    0.21, 0.31, 0.21, // network
    0.02, 0.03, 0.04, 0.04, 0.04, 0.03, 0.02, 0.02, 0.0, // blends
    0.03,
];
const OPEN_PRIOR: [f32; EXPERTS] = [
    0.11, 0.205, 0.14, // network
    0.016, 0.05, 0.018, 0.02, 0.078, 0.073, 0.05, 0.095, 0.095, // blends
    0.05,
];
const FILTERED_PRIOR: [f32; EXPERTS] = [
    0.135, 0.18, 0.175, // network
    0.035, 0.035, 0.02, 0.06, 0.055, 0.035, 0.085, 0.07, 0.055, // blends
    0.06,
];
const UNKNOWN_PRIOR: [f32; EXPERTS] = [
    0.0, 0.0, 0.0, // network
    0.15, 0.3, 0.15, 0.05, 0.02, 0.01, 0.01, 0.01, 0.0, // blends
    0.3,
];

// Fitted to answers of the embedded pair on grids of 24 pairs, each weight then given to the nearest pairs of these: 9,817
// tokens of five tau from 0.05 to 0.7 at temperature 0, and 19,328 of the same at 0.7 and 1.
const LOSSY_GREEDY_PRIOR: [f32; EXPERTS] = [
    0.0, 0.0, 0.0, // network
    0.06, 0.07, 0.08, 0.19, 0.11, 0.09, 0.18, 0.11, 0.09, // blends
    0.02,
];
const LOSSY_SAMPLED_PRIOR: [f32; EXPERTS] = [
    0.0, 0.0, 0.0, // network
    0.028, 0.078, 0.128, 0.027, 0.08, 0.154, 0.055, 0.208, 0.24, // blends
    0.002,
];
