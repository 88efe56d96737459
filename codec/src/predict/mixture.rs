//! Weights of the experts: how they follow what has crossed (SPEC 4.7).

use super::ablation::Ablation;
use super::history::History;
use super::regime::{EXPERTS, Regime};

/// Weights of the experts of one regime, and how many tokens they have followed.
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

/// What a batch has learned, of each regime: plain numbers, copied for snapshots.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Learned {
    rows: [Row; 6],
    /// How far the noise tells which of the tokens wins that are no candidates, of each regime.
    trust: [f32; 6],
    parts: Ablation,
}

impl Learned {
    pub(crate) fn new(parts: Ablation) -> Self {
        let regimes = [
            Regime::Greedy,
            Regime::Open,
            Regime::Filtered,
            Regime::Unknown,
            Regime::LossyGreedy,
            Regime::LossySampled,
        ];
        Self {
            rows: regimes.map(|regime| Row {
                weights: parts.masked(regime.prior()),
                seen: 0,
            }),
            trust: [TRUST; 6],
            parts,
        }
    }

    /// Weights of a slot that opens: the batch's.
    pub(crate) fn begin(&self, regime: Regime) -> SlotState {
        SlotState {
            row: Row {
                seen: 0,
                ..self.rows[regime as usize]
            },
            history: History::default(),
        }
    }

    /// Follows a token, first the batch, then the slot it came in.
    pub(crate) fn follow(&mut self, regime: Regime, slot: &mut SlotState, likelihood: &[f32; EXPERTS]) {
        let row = &mut self.rows[regime as usize];
        row.follow(likelihood, &self.parts.masked(regime.prior()), BATCH);
        slot.row.follow(likelihood, &row.weights, SLOT);
    }

    /// How far the noise is to be trusted with tokens that are no candidates.
    pub(crate) fn trust(&self, regime: Regime) -> f32 {
        self.trust[regime as usize]
    }

    /// Follows a token that was no candidate: its probabilities with the noise and under q alone.
    pub(crate) fn follow_rest(&mut self, regime: Regime, (lucky, plain): (f32, f32)) {
        let trust = &mut self.trust[regime as usize];
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
pub struct SlotState {
    row: Row,
    pub(crate) history: History,
}

impl SlotState {
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
