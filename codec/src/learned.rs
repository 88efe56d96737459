//! The experts and their weights: where these start and how they follow what has crossed (SPEC 4.7).

use crate::query::Sampling;

/// Experts of a prediction: at most 24 of a grid, and the plain one.
pub(crate) const EXPERTS: usize = 25;
/// Index of the plain expert, q over the whole vocabulary.
pub(crate) const PLAIN: usize = EXPERTS - 1;

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
}

impl Origin {
    pub(crate) fn of(sampling: Option<&Sampling>) -> Self {
        match sampling {
            None => Self::Unknown,
            Some(s) if !s.is_seeded() => Self::Greedy,
            Some(s) if s.top_p < 1.0 || s.top_k > 0 => Self::Filtered,
            Some(_) => Self::Open,
        }
    }

    /// `(a, b / temperature)` of the experts, without the plain one.
    pub(crate) fn grid(self) -> &'static [(f32, f32)] {
        match self {
            Self::Greedy | Self::Unknown => &SHARPENED,
            Self::Open | Self::Filtered => &SEEDED,
        }
    }

    /// Where the weights start: of the grid, then of the plain expert.
    fn prior(self) -> [f32; EXPERTS] {
        let (grid, plain): (&[f32], f32) = match self {
            Self::Greedy => (&GREEDY_PRIOR, 0.184),
            Self::Open => (&OPEN_PRIOR, 0.072),
            Self::Filtered => (&FILTERED_PRIOR, 0.109),
            Self::Unknown => (&UNKNOWN_PRIOR, 0.3),
        };
        let mut weights = [0.0; EXPERTS];
        weights[..grid.len()].copy_from_slice(grid);
        weights[PLAIN] = plain;
        weights
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
    rows: [Row; 4],
}

impl Default for Learned {
    fn default() -> Self {
        let origins = [Origin::Greedy, Origin::Open, Origin::Filtered, Origin::Unknown];
        Self {
            rows: origins.map(|origin| Row {
                weights: origin.prior(),
                seen: 0,
            }),
        }
    }
}

impl Learned {
    /// Weights of a slot that opens: the batch's.
    pub(crate) fn begin(&self, origin: Origin) -> Own {
        Own {
            row: Row {
                seen: 0,
                ..self.rows[origin as usize]
            },
        }
    }

    /// Follows a token, first the batch, then the slot it came in.
    pub(crate) fn follow(&mut self, origin: Origin, own: &mut Own, likelihood: &[f32; EXPERTS]) {
        let row = &mut self.rows[origin as usize];
        row.follow(likelihood, &origin.prior(), BATCH);
        own.row.follow(likelihood, &row.weights, SLOT);
    }

    /// The state as bytes, for the digest.
    pub(crate) fn bytes(&self, sink: &mut impl FnMut(&[u8])) {
        for row in &self.rows {
            row.weights
                .iter()
                .for_each(|weight| sink(&weight.to_bits().to_le_bytes()));
            sink(&row.seen.to_le_bytes());
        }
    }
}

/// What one slot has learned: it starts as the batch and then goes its own way.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Own {
    row: Row,
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
    first: 30.0,
    least: 0.002,
};
const SLOT: Pace = Pace {
    first: 10.0,
    least: 0.01,
};
/// How far a step goes home: a batch to the prior, a slot to the batch.
const HOMING: f32 = 0.01;

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

const SEEDED: [(f32, f32); 24] = {
    let (a, b) = ([1.0, 1.2, 1.4, 1.7], [0.5, 0.7, 0.85, 1.0, 1.2, 1.5]);
    let mut grid = [(0.0, 0.0); 24];
    let mut k = 0;
    while k < 24 {
        grid[k] = (a[k / 6], b[k % 6]);
        k += 1;
    }
    grid
};

// Fitted to 2,879 tokens of Qwen2.5-Coder 1.5B under 0.5B (maximum likelihood, 30 steps, 3 % flat).
const GREEDY_PRIOR: [f32; 8] = [0.08, 0.139, 0.148, 0.131, 0.103, 0.085, 0.07, 0.06];
const OPEN_PRIOR: [f32; 24] = [
    0.02, 0.034, 0.049, 0.061, 0.052, 0.01, // a = 1
    0.019, 0.029, 0.041, 0.055, 0.073, 0.054, // 1.2
    0.016, 0.024, 0.032, 0.042, 0.06, 0.073, // 1.4
    0.014, 0.018, 0.023, 0.029, 0.039, 0.061, // 1.7
];
const FILTERED_PRIOR: [f32; 24] = [
    0.042, 0.047, 0.046, 0.04, 0.027, 0.007, // a = 1
    0.039, 0.044, 0.046, 0.045, 0.038, 0.021, // 1.2
    0.035, 0.04, 0.042, 0.043, 0.041, 0.031, // 1.4
    0.032, 0.035, 0.037, 0.039, 0.039, 0.035, // 1.7
];
const UNKNOWN_PRIOR: [f32; 8] = [0.15, 0.3, 0.15, 0.05, 0.02, 0.01, 0.01, 0.01];
