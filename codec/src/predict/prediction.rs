//! What the coder asks: the interval of each token, and the token at each point (SPEC 4.3, 4.6).

use weir_exact::{Kernel, Token, Weights};

use super::candidates::Candidates;
use super::rest::Rest;
use super::widths::{Widths, scale, share};
use crate::Error;
use crate::noise::Noise;
use crate::stats;

/// Where a token lies: an interval of 2^32, and for a token outside of the candidates a second one within the escape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// `(start, width)` among candidates and escape.
    pub first: (u32, u32),
    /// `(start, width)` among the tokens that are no candidates.
    pub rest: Option<(u32, u32)>,
}

impl Place {
    /// Code length, for reports.
    pub fn bits(&self) -> f64 {
        stats::bits(self.first.1) + self.rest.map_or(0.0, |rest| stats::bits(rest.1))
    }
}

/// What a point of the first 2^32 means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hit {
    /// This candidate, with its `(start, width)`.
    Candidate(Token, (u32, u32)),
    /// The escape: a second point tells the token ([`Prediction::find_rest`]).
    Escape((u32, u32)),
}

/// A prediction of one token; keeps its buffers (a few megabytes at 150k tokens).
///
/// Whoever predicts fills `weights`, `candidates` and `widths`, in this order.
#[derive(Clone, Debug)]
pub struct Prediction {
    pub(crate) kernel: Kernel,
    pub(crate) weights: Weights,
    pub(crate) candidates: Candidates,
    /// Weight of all tokens that are no candidates.
    pub(crate) outside: u64,
    pub(crate) widths: Widths,
    /// Where the noise plays a part: the noise, and the temperature.
    pub(crate) noise: Option<(Noise, f32)>,
    /// How far the noise tells which token wins that is no candidate.
    pub(crate) trust: f32,
    rest: Rest,
}

impl Prediction {
    /// A prediction of nothing, which passes over vocabularies with `kernel`.
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            weights: Weights::default(),
            candidates: Candidates::default(),
            outside: 0,
            widths: Widths::default(),
            noise: None,
            trust: 0.0,
            rest: Rest::default(),
        }
    }

    /// Where `token` lies in the prediction; it must be in the vocabulary.
    pub fn place(&mut self, token: Token) -> Place {
        if let Some(i) = self.candidates.find(token) {
            return Place {
                first: self.widths.place(i),
                rest: None,
            };
        }
        let first = self.widths.escape;
        // A single token outside is what the escape means.
        if self.rest_len() == 1 {
            return Place { first, rest: None };
        }
        self.set_rest();
        let rest = Some(self.rest.place(token).unwrap_or((0, 1)));
        Place { first, rest }
    }

    /// What the point `at` of 2^32 means.
    pub fn find(&self, at: u32) -> Hit {
        let escape = self.widths.escape;
        if escape.1 > 0 && at >= escape.0 {
            return match self.only_other() {
                Some(token) => Hit::Candidate(token, escape),
                None => Hit::Escape(escape),
            };
        }
        let i = self.widths.find(at);
        Hit::Candidate(self.candidates.ids[i], self.widths.place(i))
    }

    /// The token that the point `at` of the second 2^32, after an escape, means, with its `(start, width)`.
    pub fn find_rest(&mut self, at: u32) -> (Token, (u32, u32)) {
        self.set_rest();
        self.rest.find(at)
    }

    /// Bits of `token` under q alone, at temperature 1, coded in the same precision; for reports.
    pub fn plain_bits(&self, token: Token) -> f64 {
        let free = (1 << 32) - self.weights.weights.len() as u64;
        stats::bits(
            1 + share(
                self.weights.weights[token as usize],
                scale(free, self.weights.sum),
            ),
        )
    }

    /// Number of candidates of the prediction.
    pub fn candidates(&self) -> usize {
        self.candidates.len()
    }

    /// Candidates of the prediction, ascending: token, logit relative to the best, Gumbel variate.
    pub fn listed(&self) -> impl Iterator<Item = (Token, f32, f32)> {
        let Candidates {
            ids, logit, gumbel, ..
        } = &self.candidates;
        let numbers = logit.iter().zip(gumbel);
        ids.iter().zip(numbers).map(|(&id, (&x, &y))| (id, x, y))
    }

    /// Fills `weights`; what was made of the last ones is gone.
    pub(crate) fn weigh(&mut self, logits: &[f32]) -> Result<(), Error> {
        self.rest.clear();
        if !(2..=1 << 24).contains(&logits.len()) {
            return Err(Error::Vocab(logits.len()));
        }
        self.weights.set(self.kernel, logits).map_err(Error::of_logits)
    }

    /// Fills `candidates` with the `most` likely, those that `more` adds and, where the noise plays a part, the lucky.
    pub(crate) fn choose(&mut self, logits: &[f32], most: usize, more: impl FnOnce(&mut Vec<Token>)) {
        let noise = self.noise.as_ref().map(|(noise, _)| noise);
        self.candidates
            .choose(self.kernel, logits, &self.weights, noise, most, more);
        self.outside = self.candidates.outside(self.weights.sum);
    }

    /// Probabilities of `token`, which is no candidate, among its like: with the noise, and under q alone. None where there is
    /// no noise, or no other such token.
    pub(crate) fn rest_likelihoods(&mut self, token: Token) -> Option<(f32, f32)> {
        if self.noise.is_none() || self.rest_len() < 2 {
            return None;
        }
        self.set_rest();
        self.rest.likelihoods(token)
    }

    /// Fills `rest`.
    fn set_rest(&mut self) {
        let drawn = self
            .noise
            .as_ref()
            .map(|(noise, temperature)| (noise, *temperature));
        let Self {
            rest,
            weights,
            candidates,
            trust,
            kernel,
            ..
        } = self;
        rest.set(*kernel, &weights.weights, &candidates.ids, drawn, *trust);
    }

    /// Tokens that are no candidates.
    pub(crate) fn rest_len(&self) -> usize {
        self.weights.weights.len() - self.candidates.len()
    }

    /// The token that is no candidate, if it is the only one.
    fn only_other(&self) -> Option<Token> {
        let ids = &self.candidates.ids;
        let gap = || (0..).zip(ids).find(|(i, id)| i != *id).map(|(i, _)| i);
        (self.rest_len() == 1).then(|| gap().unwrap_or(ids.len() as Token))
    }
}
