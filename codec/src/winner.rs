//! Which token wins: the prediction that tokens are coded under (SPEC 4.6, 4.7).
//!
//! Both ends know the weak model's logits and, when the answer is sampled, the noise. A few hundred candidates are scored
//! by a grid of experts `softmax(a log q + b T g)`, T the temperature; their mixture, with weights learned from the tokens that have crossed, is
//! quantised to integers. Every other token shares one escape symbol and is then coded under q alone.

use weir_model::math::{self, ONE, Top, Weights};
use weir_model::{Kernel, Token};

use crate::Error;
use crate::learned::{EXPERTS, Learned, Origin, PLAIN};
use crate::noise::{Noise, gumbel_of_high};
use crate::query::Sampling;
use crate::stats;

pub use crate::learned::Own;

/// Candidates by logit.
const BEST: usize = 128;
/// Expected number of candidates by noise.
const LUCKY: u64 = 256;
/// What the escape symbol has beyond its share, so that no token costs more than 16 + 32 bits.
const ESCAPE: u32 = 1 << 16;

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
    /// The escape: a second point tells the token ([`Predictor::find_rest`]).
    Escape((u32, u32)),
}

/// Predicts one token at a time; keeps its buffers (a few megabytes at 150k tokens) and what was learned.
#[derive(Clone, Debug)]
pub struct Predictor {
    kernel: Kernel,
    learned: Learned,
    top: Top,
    best: Vec<Token>,
    high: Vec<u32>,
    lucky: Vec<(Token, u32)>,

    // The prediction in force, of `prepare`.
    origin: Origin,
    temperature: f32,
    weights: Weights,
    /// Ascending ids of the candidates; the next five have one entry for each.
    ids: Vec<Token>,
    logit: Vec<f32>,
    gumbel: Vec<f32>,
    plain: Vec<u32>,
    mix: Vec<f32>,
    width: Vec<u32>,
    start: Vec<u32>,
    /// Weights of expert k at candidate i in `k * ids.len() + i`, and their sums.
    votes: Vec<u32>,
    sums: [f32; EXPERTS],
    /// What a plain weight counts for in the mixture.
    plain_factor: f32,
    /// Weight of all tokens that are no candidates.
    outside: u64,
    escape: (u32, u32),
}

impl Predictor {
    /// A predictor that knows what the specification's constants say.
    pub fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            learned: Learned::default(),
            top: Top::default(),
            best: Vec::new(),
            high: Vec::new(),
            lucky: Vec::new(),
            origin: Origin::default(),
            temperature: 0.0,
            weights: Weights::default(),
            ids: Vec::new(),
            logit: Vec::new(),
            gumbel: Vec::new(),
            plain: Vec::new(),
            mix: Vec::new(),
            width: Vec::new(),
            start: Vec::new(),
            votes: Vec::new(),
            sums: [0.0; EXPERTS],
            plain_factor: 0.0,
            outside: 0,
            escape: (0, 0),
        }
    }

    /// What a slot knows whose tokens are drawn with `sampling`, or come from elsewhere.
    pub fn begin(&self, sampling: Option<&Sampling>) -> Own {
        self.learned.begin(Origin::of(sampling))
    }

    /// Predicts the token that follows `logits`: drawn with `sampling` and the noise of its position, or, with `None`,
    /// chosen by whoever wrote the text. Greedy sampling does not look at the noise. `own` is what the slot has learned.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a logit is; [`Error::Vocab`] for fewer than 2 or more than 2^24 of them.
    pub fn prepare(
        &mut self,
        logits: &[f32],
        drawn: Option<(&Sampling, &Noise)>,
        own: &Own,
    ) -> Result<(), Error> {
        if !(2..=1 << 24).contains(&logits.len()) {
            return Err(Error::Vocab(logits.len()));
        }
        self.weights.set(self.kernel, logits).map_err(Error::of_logits)?;
        let sampling = drawn.map(|(sampling, _)| sampling);
        self.origin = Origin::of(sampling);
        self.temperature = sampling.map_or(0.0, |s| s.temperature);
        let noise = drawn
            .filter(|(sampling, _)| sampling.is_seeded())
            .map(|(_, noise)| noise);
        self.choose(logits, noise);
        self.vote(own.weights());
        self.quantise(logits.len());
        Ok(())
    }

    /// Learns that `token` came; to be called once after each [`Predictor::prepare`] and coding.
    pub fn learn(&mut self, token: Token, own: &mut Own) {
        let mut likelihood = [0.0; EXPERTS];
        match self.ids.binary_search(&token) {
            Ok(i) => {
                for (k, _) in self.origin.grid().iter().enumerate() {
                    likelihood[k] = self.votes[k * self.ids.len() + i] as f32 / self.sums[k];
                }
                likelihood[PLAIN] = self.plain[i] as f32 / self.weights.sum as f32;
            }
            // Only the plain expert knows of it.
            Err(_) => likelihood[PLAIN] = 1.0,
        }
        self.learned.follow(self.origin, own, &likelihood);
    }

    /// Forgets what was learned after `learned` was taken.
    pub(crate) fn restore(&mut self, learned: &Learned) {
        self.learned = *learned;
    }

    /// What was learned so far.
    pub(crate) fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Where `token` lies in the prediction; it must be in the vocabulary.
    pub fn place(&self, token: Token) -> Place {
        match self.ids.binary_search(&token) {
            Ok(i) => Place {
                first: (self.start[i], self.width[i]),
                rest: None,
            },
            // A single token outside is what the escape means.
            Err(_) if self.rest_len() == 1 => Place {
                first: self.escape,
                rest: None,
            },
            Err(_) => {
                let rest = self
                    .rest()
                    .find(|(id, _)| *id == token)
                    .map_or((0, 1), |(_, place)| place);
                Place {
                    first: self.escape,
                    rest: Some(rest),
                }
            }
        }
    }

    /// What the point `at` of 2^32 means.
    pub fn find(&self, at: u32) -> Hit {
        if self.escape.1 > 0 && at >= self.escape.0 {
            return match (self.rest_len(), self.rest_weights().next()) {
                (1, Some((token, _))) => Hit::Candidate(token, self.escape),
                _ => Hit::Escape(self.escape),
            };
        }
        let i = self.start.partition_point(|&start| start <= at) - 1;
        Hit::Candidate(self.ids[i], (self.start[i], self.width[i]))
    }

    /// The token that the point `at` of the second 2^32, after an escape, means, with its `(start, width)`.
    pub fn find_rest(&self, at: u32) -> (Token, (u32, u32)) {
        let hit = self.rest().find(|(_, (start, width))| at - start < *width);
        hit.expect("the widths of the rest sum to 2^32, and there is a rest where there is an escape")
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
        self.ids.len()
    }

    /// Fills `ids`, `logit`, `gumbel`, `plain`: the best by logit and, with noise, those with the smallest words.
    fn choose(&mut self, logits: &[f32], noise: Option<&Noise>) {
        self.top.find(logits, &self.weights, BEST, &mut self.best);
        self.best.sort_unstable();
        self.high.clear();
        self.high.resize(self.best.len(), 0);
        self.lucky.clear();
        if let Some(noise) = noise {
            noise.high().gather(self.kernel, &self.best, &mut self.high);
            let limit = u32::try_from((LUCKY << 32) / logits.len() as u64).unwrap_or(u32::MAX);
            noise
                .high()
                .below(self.kernel, logits.len() as u32, limit, &mut self.lucky);
        }

        let Self {
            ids,
            logit,
            gumbel,
            plain,
            weights,
            ..
        } = self;
        ids.clear();
        logit.clear();
        gumbel.clear();
        plain.clear();
        let mut add = |id: Token, high: u32| {
            ids.push(id);
            logit.push(logits[id as usize] - weights.max);
            gumbel.push(if noise.is_some() {
                gumbel_of_high(high)
            } else {
                0.0
            });
            plain.push(weights.weights[id as usize]);
        };
        let mut lucky = self.lucky.iter().copied().peekable();
        for (&id, &high) in self.best.iter().zip(&self.high) {
            while let Some((id, high)) = lucky.next_if(|x| x.0 < id) {
                add(id, high);
            }
            lucky.next_if(|x| x.0 == id);
            add(id, high);
        }
        lucky.for_each(|(id, high)| add(id, high));
    }

    /// Fills `votes`, `sums`, `mix`, `outside`: SPEC 4.6.
    fn vote(&mut self, weights: &[f32; EXPERTS]) {
        let n = self.ids.len();
        self.mix.clear();
        self.mix.resize(n, 0.0);
        self.votes.resize((EXPERTS - 1) * n, 0);
        for ((k, &(a, b)), votes) in self
            .origin
            .grid()
            .iter()
            .enumerate()
            .zip(self.votes.chunks_mut(n))
        {
            let sum = math::expert(
                self.kernel,
                (a, &self.logit),
                (b * self.temperature, &self.gumbel),
                votes,
            );
            self.sums[k] = sum as f32;
            math::add_scaled(
                self.kernel,
                weights[k] * (ONE as f32 / sum as f32),
                votes,
                &mut self.mix,
            );
        }
        self.plain_factor = weights[PLAIN] * (ONE as f32 / self.weights.sum as f32);
        math::add_scaled(self.kernel, self.plain_factor, &self.plain, &mut self.mix);
        self.outside = self.weights.sum - self.plain.iter().map(|&w| u64::from(w)).sum::<u64>();
    }

    /// Fills `start`, `width`, `escape`: integers of at least 1 that sum to 2^32.
    fn quantise(&mut self, vocab: usize) {
        let n = self.ids.len();
        let is_all = n == vocab;
        let escape = if is_all {
            0
        } else {
            (self.plain_factor * self.outside as f32) as u32
        };
        let reserved = n as u64 + if is_all { 0 } else { u64::from(ESCAPE) };

        self.width.clear();
        self.width.extend(self.mix.iter().map(|&mix| mix as u32));
        let total = u64::from(escape) + self.width.iter().map(|&w| u64::from(w)).sum::<u64>();
        let scale = scale((1 << 32) - reserved, total);
        let mut best = 0;
        for i in 0..n {
            if self.width[i] > self.width[best] {
                best = i;
            }
        }
        let mut sum = 0;
        for width in &mut self.width {
            *width = 1 + share(*width, scale);
            sum += u64::from(*width);
        }
        let escape = if is_all { 0 } else { ESCAPE + share(escape, scale) };
        self.width[best] += ((1 << 32) - sum - u64::from(escape)) as u32;

        self.start.clear();
        let mut at = 0u32;
        for &width in &self.width {
            self.start.push(at);
            at = at.wrapping_add(width);
        }
        self.escape = (at, escape);
    }

    /// Every token that is no candidate, ascending, with its `(start, width)` after an escape: q, requantised.
    fn rest(&self) -> impl Iterator<Item = (Token, (u32, u32))> {
        let count = self.rest_len();
        // Where q gives the rest nothing at all, they are alike.
        let (extra, total) = if self.outside == 0 {
            (1, count as u64)
        } else {
            (0, self.outside)
        };
        let scale = scale((1 << 32) - count as u64, total);
        let width = move |weight: u32| 1 + share(weight + extra, scale);

        let (mut sum, mut best) = (0, (0, Token::MAX));
        for (id, weight) in self.rest_weights() {
            sum += u64::from(width(weight));
            if weight > best.0 || best.1 == Token::MAX {
                best = (weight, id);
            }
        }
        let left = ((1u64 << 32) - sum) as u32;
        let mut at = 0u32;
        self.rest_weights().map(move |(id, weight)| {
            let width = width(weight) + if id == best.1 { left } else { 0 };
            let start = at;
            at = at.wrapping_add(width);
            (id, (start, width))
        })
    }

    fn rest_len(&self) -> usize {
        self.weights.weights.len() - self.ids.len()
    }

    fn rest_weights(&self) -> impl Iterator<Item = (Token, u32)> {
        let mut skip = self.ids.iter().copied().peekable();
        let all = (0..).zip(self.weights.weights.iter().copied());
        all.filter(move |(id, _)| skip.next_if_eq(id).is_none())
    }
}

/// Units of 2^-30 that one unit of weight is worth, if weights that sum to `total` share `free` (at most 2^32).
fn scale(free: u64, total: u64) -> u64 {
    (free << 30) / total
}

/// A weight's share, rounded down: the shares of all weights sum to at most `free`.
fn share(weight: u32, scale: u64) -> u32 {
    ((u64::from(weight) * scale) >> 30) as u32
}

#[cfg(test)]
mod tests;
