//! The experts and their weights: where these start and how they follow what has crossed (SPEC 4.7).

use weir_exact;

use crate::query::Sampling;
use crate::winner::{History, Parts};

/// Places of a row of weights: the network's experts, those of a grid, and the plain one.
pub(crate) const EXPERTS: usize = 13;
/// Index of the plain expert, q over the whole vocabulary.
pub(crate) const PLAIN: usize = EXPERTS - 1;
/// Experts of the network, each at one of [`SHARPNESS`]; they come first.
pub(crate) const NETWORK: usize = SHARPNESS.len();
/// What the network's scores are multiplied by: it may be too sure of itself, or not enough.
pub(crate) const SHARPNESS: [f32; 3] = [0.75, 1.0, 1.35];

/// How the tokens of a slot are chosen: each origin has its experts and its weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Origin {
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
    Kept = 4,
    /// Gumbel-max with both models' logits.
    Blended = 5,
}

impl Origin {
    pub(crate) fn of(sampling: Option<&Sampling>) -> Self {
        match sampling {
            None => Self::Unknown,
            Some(s) if s.is_lossy() && s.is_seeded() => Self::Blended,
            Some(s) if s.is_lossy() => Self::Kept,
            Some(s) if !s.is_seeded() => Self::Greedy,
            Some(s) if s.top_p < 1.0 || s.top_k > 0 => Self::Filtered,
            Some(_) => Self::Open,
        }
    }

    /// Whether the noise plays a part.
    pub(crate) fn is_seeded(self) -> bool {
        matches!(self, Self::Open | Self::Filtered | Self::Blended)
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
            Self::Open | Self::Filtered | Self::Blended => &SEEDED,
            Self::Kept => &KEPT,
        };
        let &(a, b) = k.checked_sub(NETWORK).and_then(|k| grid.get(k))?;
        let Sampling { temperature, tau, .. } = *sampling;
        Some(match self {
            Self::Greedy | Self::Unknown => (a, 0.0),
            Self::Open | Self::Filtered => (a, b * temperature),
            Self::Blended => (a + b * ((1.0 - tau) / tau), b * temperature / tau),
            Self::Kept => (a, a * b * -weir_exact::ln(f64::from(tau)) as f32),
        })
    }

    /// Where the weights start.
    pub(crate) fn prior(self) -> [f32; EXPERTS] {
        match self {
            Self::Greedy => GREEDY_PRIOR,
            Self::Open => OPEN_PRIOR,
            Self::Filtered => FILTERED_PRIOR,
            Self::Unknown => UNKNOWN_PRIOR,
            Self::Kept => KEPT_PRIOR,
            Self::Blended => BLENDED_PRIOR,
        }
    }
}

/// Weights of the experts of one origin, and how many tokens they have followed.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Row {
    weights: [f32; EXPERTS],
    seen: u32,
}

impl Row {
    /// One step towards the experts that gave the token its probability, and a little towards `home`.
    fn follow(&mut self, likelihood: &[f32; EXPERTS], home: &[f32; EXPERTS], pace: Pace) {
        // From the first expert to the last: the order is part of the result.
        let sum = self
            .weights
            .iter()
            .zip(likelihood)
            .fold(0.0, |sum, (w, l)| sum + w * l);
        if sum < 1e-30 {
            return;
        }
        let rate = (1.0 / (self.seen as f32 + pace.first)).max(pace.least);
        for (weight, (likelihood, home)) in self.weights.iter_mut().zip(likelihood.iter().zip(home)) {
            let posterior = *weight * likelihood / sum;
            let target = (1.0 - HOMING) * posterior + HOMING * home;
            *weight += rate * (target - *weight);
        }
        self.seen = (self.seen + 1).min(1 << 20);
    }
}

/// What a batch has learned, of each origin: plain numbers, copied for snapshots.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Learned {
    rows: [Row; 6],
    /// How far the noise tells which of the tokens wins that are no candidates, of each origin.
    trust: [f32; 6],
    parts: Parts,
}

impl Learned {
    pub(crate) fn new(parts: Parts) -> Self {
        let origins = [
            Origin::Greedy,
            Origin::Open,
            Origin::Filtered,
            Origin::Unknown,
            Origin::Kept,
            Origin::Blended,
        ];
        Self {
            rows: origins.map(|origin| Row {
                weights: parts.masked(origin.prior()),
                seen: 0,
            }),
            trust: [TRUST; 6],
            parts,
        }
    }

    /// Weights of a slot that opens: the batch's.
    pub(crate) fn begin(&self, origin: Origin) -> Own {
        Own {
            row: Row {
                seen: 0,
                ..self.rows[origin as usize]
            },
            history: History::default(),
        }
    }

    /// Follows a token, first the batch, then the slot it came in.
    pub(crate) fn follow(&mut self, origin: Origin, own: &mut Own, likelihood: &[f32; EXPERTS]) {
        let row = &mut self.rows[origin as usize];
        row.follow(likelihood, &self.parts.masked(origin.prior()), BATCH);
        own.row.follow(likelihood, &row.weights, SLOT);
    }

    /// How far the noise is to be trusted with tokens that are no candidates.
    pub(crate) fn trust(&self, origin: Origin) -> f32 {
        self.trust[origin as usize]
    }

    /// Follows a token that was no candidate: its probabilities with the noise and under q alone.
    pub(crate) fn follow_rest(&mut self, origin: Origin, (lucky, plain): (f32, f32)) {
        let trust = &mut self.trust[origin as usize];
        let (lucky, plain) = (*trust * lucky, (1.0 - *trust) * plain);
        if lucky + plain < 1e-30 {
            return;
        }
        let moved = *trust + TRUST_RATE * (lucky / (lucky + plain) - *trust);
        *trust = moved.clamp(LEAST_TRUST, 1.0 - LEAST_TRUST);
    }

    /// The state as bytes, for the digest.
    pub(crate) fn bytes(&self, sink: &mut impl FnMut(&[u8])) {
        for row in &self.rows {
            row.weights
                .iter()
                .for_each(|weight| sink(&weight.to_bits().to_le_bytes()));
            sink(&row.seen.to_le_bytes());
        }
        self.trust
            .iter()
            .for_each(|trust| sink(&trust.to_bits().to_le_bytes()));
    }
}

/// What one slot has learned: it starts as the batch and then goes its own way.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Own {
    row: Row,
    pub(crate) history: History,
}

impl Own {
    pub(crate) fn weights(&self) -> &[f32; EXPERTS] {
        &self.row.weights
    }
}

/// How fast weights move: by one over the number of tokens seen plus `first`, but at least by `least`.
#[derive(Clone, Copy)]
struct Pace {
    first: f32,
    least: f32,
}

const BATCH: Pace = Pace {
    first: 20.0,
    least: 0.005,
};
const SLOT: Pace = Pace {
    first: 10.0,
    least: 0.01,
};
/// How far a step goes home: a batch to the prior, a slot to the batch.
const HOMING: f32 = 0.003;

/// Where the trust in the noise of tokens that are no candidates starts, how far it moves, and how near it comes to either end.
const TRUST: f32 = 0.9;
const TRUST_RATE: f32 = 1.0 / 16.0;
const LEAST_TRUST: f32 = 1.0 / 64.0;

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

const KEPT: [(f32, f32); 9] = [
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
const KEPT_PRIOR: [f32; EXPERTS] = [
    0.0, 0.0, 0.0, // network
    0.06, 0.07, 0.08, 0.19, 0.11, 0.09, 0.18, 0.11, 0.09, // blends
    0.02,
];
const BLENDED_PRIOR: [f32; EXPERTS] = [
    0.0, 0.0, 0.0, // network
    0.028, 0.078, 0.128, 0.027, 0.08, 0.154, 0.055, 0.208, 0.24, // blends
    0.002,
];
