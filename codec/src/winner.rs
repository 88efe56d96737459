//! Which token wins: the prediction that tokens are coded under (SPEC 4.6, 4.7).
//!
//! Both ends know the weak model's logits and, when the answer is sampled, the noise. From the few hundred tokens that are
//! likely or lucky (`candidates`) the best by perturbed logit enter a [`Contest`], which a small fixed [`network`] judges. Its
//! verdict, a few softmaxes `a log q + b T g` (T the temperature) and q itself are experts; their mixture, with weights
//! learned from the tokens that have crossed, is quantised to integers (`widths`). Every other token shares one escape
//! symbol, of which the network has a say too, and is then coded under q and its noise (`rest`).

mod candidates;
mod contest;
mod history;
pub mod network;
mod parts;
mod rest;
mod widths;

use weir_exact::{Kernel, Token};
use weir_exact::{ONE, Weights};

use crate::Error;
use crate::learned::{EXPERTS, Learned, Origin, PLAIN, SHARPNESS};
use crate::noise::Noise;
use crate::query::Sampling;
use crate::stats;
use crate::stream::Mixer;
use candidates::{BEST, BEST_IN_TEXT, Candidates};
use network::Scorer;
use rest::Rest;
use widths::{Widths, scale, share};

pub use crate::learned::Own;
pub use contest::{Contest, ENTRANT, ENTRANTS, GLOBAL};
pub use history::History;
pub use parts::Parts;

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
    parts: Parts,
    learned: Learned,

    // The prediction in force, of `prepare`.
    origin: Origin,
    sampling: Sampling,
    weights: Weights,
    candidates: Candidates,
    contest: Contest,
    scorer: Scorer,
    /// The network's scores of the candidates.
    scores: Vec<f32>,
    /// Weights of expert k at candidate i in `k * candidates + i`, and their sums; 0 for an expert that is not asked.
    votes: Vec<u32>,
    sums: [f32; EXPERTS],
    mix: Vec<f32>,
    /// Weight of all tokens that are no candidates.
    outside: u64,
    /// The network's probability of the escape, 0 without a network.
    escape: f32,
    widths: Widths,
    /// Where the noise plays a part.
    noise: Option<Noise>,
    rest: Rest,
}

impl Predictor {
    /// A predictor that knows what the specification's constants say.
    pub fn new(kernel: Kernel) -> Self {
        Self::with(kernel, Parts::ALL)
    }

    /// A predictor that lacks some parts, to measure what they are worth: the code is another one.
    pub fn with(kernel: Kernel, parts: Parts) -> Self {
        Self {
            kernel,
            parts,
            learned: Learned::new(parts),
            origin: Origin::default(),
            sampling: Sampling::GREEDY,
            weights: Weights::default(),
            candidates: Candidates::default(),
            contest: Contest::default(),
            scorer: Scorer::default(),
            scores: Vec::new(),
            votes: Vec::new(),
            sums: [0.0; EXPERTS],
            mix: Vec::new(),
            outside: 0,
            escape: 0.0,
            widths: Widths::default(),
            noise: None,
            rest: Rest::default(),
        }
    }

    /// What a slot knows whose tokens are drawn with `sampling`, or come from elsewhere.
    pub fn begin(&self, sampling: Option<&Sampling>) -> Own {
        self.learned.begin(self.parts.origin(sampling))
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
        self.weigh(logits)?;
        let sampling = drawn.map(|(sampling, _)| sampling);
        self.origin = self.parts.origin(sampling);
        self.sampling = sampling
            .filter(|sampling| sampling.is_seeded() || sampling.is_lossy())
            .copied()
            .unwrap_or(Sampling::GREEDY);
        self.noise = drawn.filter(|_| self.origin.is_seeded()).map(|(_, noise)| *noise);
        let noise = self.noise.as_ref();
        self.candidates
            .choose(self.kernel, logits, &self.weights, noise, BEST, |_| ());
        self.outside = self.candidates.outside(self.weights.sum);
        if self.origin == Origin::Kept {
            self.candidates.mark_best();
        }
        self.compete(own);
        self.vote(own.weights());
        Ok(())
    }

    /// Predicts the token that follows `logits` in a text that `mixer` knows so far (SPEC 4.12); what comes is for
    /// [`Mixer::learn`] only.
    ///
    /// # Errors
    /// As [`Predictor::prepare`].
    pub(crate) fn prepare_text(&mut self, logits: &[f32], mixer: &mut Mixer) -> Result<(), Error> {
        self.weigh(logits)?;
        self.noise = None;
        self.candidates
            .choose(self.kernel, logits, &self.weights, None, BEST_IN_TEXT, |best| {
                mixer.propose(best);
            });
        self.outside = self.candidates.outside(self.weights.sum);
        let Candidates { ids, logit, .. } = &self.candidates;
        let escape = mixer.predict(ids, logit, (self.weights.sum, self.outside), &mut self.mix);
        let escape = (self.rest_len() > 0).then_some(escape);
        self.widths.set(self.mix.iter().map(|&mix| mix as u32), escape);
        Ok(())
    }

    /// Learns that `token` came; to be called once after each [`Predictor::prepare`] and coding.
    pub fn learn(&mut self, token: Token, own: &mut Own) {
        let mut likelihood = [0.0; EXPERTS];
        let found = self.candidates.find(token);
        match found {
            Some(i) => {
                let votes = self.votes.chunks(self.candidates.len()).zip(self.sums);
                for (likelihood, (votes, sum)) in likelihood.iter_mut().zip(votes) {
                    if sum > 0.0 {
                        *likelihood = (1.0 - self.escape) * (votes[i] as f32 / sum);
                    }
                }
                likelihood[PLAIN] = self.candidates.plain[i] as f32 / self.weights.sum as f32;
            }
            None => {
                for (likelihood, sum) in likelihood.iter_mut().zip(self.sums) {
                    if sum > 0.0 {
                        *likelihood = self.escape;
                    }
                }
                likelihood[PLAIN] = self.outside as f32 / self.weights.sum as f32;
            }
        }
        if self.origin.has_network() && self.parts.network && self.parts.history {
            let best = self.contest.entrants().first();
            let won = found.is_some_and(|i| best == Some(&(i as u32)));
            let surprise = found.map_or(f32::INFINITY, |i| self.contest.surprise(i));
            own.history.follow(won, surprise);
        }
        if !self.parts.learning {
            return;
        }
        self.learned.follow(self.origin, own, &likelihood);
        if found.is_none() && self.noise.is_some() && self.rest_len() > 1 {
            self.set_rest();
            if let Some(likelihoods) = self.rest.likelihoods(token) {
                self.learned.follow_rest(self.origin, likelihoods);
            }
        }
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
    fn weigh(&mut self, logits: &[f32]) -> Result<(), Error> {
        self.rest.clear();
        if !(2..=1 << 24).contains(&logits.len()) {
            return Err(Error::Vocab(logits.len()));
        }
        self.weights.set(self.kernel, logits).map_err(Error::of_logits)
    }

    /// Fills `scores` and `escape` where the origin has a network.
    fn compete(&mut self, own: &Own) {
        self.escape = 0.0;
        let Some(net) = network::of(self.origin).filter(|_| self.parts.network) else {
            return;
        };
        let Candidates {
            logit, gumbel, plain, ..
        } = &self.candidates;
        self.contest.set(
            self.kernel,
            (logit, gumbel),
            (plain, self.weights.sum),
            &self.sampling,
            &own.history,
        );
        let escape = self
            .scorer
            .score(self.kernel, net, &self.contest, &mut self.scores);
        if self.rest_len() > 0 {
            self.escape = escape;
        }
    }

    /// Fills `votes`, `sums`, `mix`, `outside`, `widths`: SPEC 4.6.
    fn vote(&mut self, weights: &[f32; EXPERTS]) {
        let Candidates {
            logit, gumbel, plain, ..
        } = &self.candidates;
        let n = logit.len();
        self.sums = [0.0; EXPERTS];
        self.mix.clear();
        self.mix.resize(n, 0.0);
        self.votes.resize((EXPERTS - 1) * n, 0);
        // All experts but the plain one say of the escape what the network says.
        let mut escape = 0.0;
        for (k, votes) in self.votes.chunks_mut(n).enumerate() {
            let (x, y) = match (SHARPNESS.get(k), self.origin.blend(k, &self.sampling)) {
                _ if weights[k] == 0.0 => continue,
                (Some(&sharpness), _) => ((sharpness, &self.scores), (0.0, gumbel)),
                (None, Some((a, b))) => ((a, logit), (b, gumbel)),
                (None, None) => continue,
            };
            let sum = weir_exact::expert(self.kernel, (x.0, x.1), (y.0, y.1), votes);
            self.sums[k] = sum as f32;
            escape += weights[k];
            weir_exact::add_scaled(
                self.kernel,
                weights[k] * (1.0 - self.escape) * (ONE as f32 / sum as f32),
                votes,
                &mut self.mix,
            );
        }
        let factor = weights[PLAIN] * (ONE as f32 / self.weights.sum as f32);
        weir_exact::add_scaled(self.kernel, factor, plain, &mut self.mix);
        let escape = escape * self.escape * ONE as f32 + factor * self.outside as f32;
        self.widths.set(
            self.mix.iter().map(|&mix| mix as u32),
            (self.rest_len() > 0).then_some(escape),
        );
    }

    /// Fills `rest`.
    fn set_rest(&mut self) {
        let drawn = self
            .noise
            .as_ref()
            .map(|noise| (noise, self.sampling.temperature));
        let trust = self.learned.trust(self.origin);
        self.rest.set(
            self.kernel,
            &self.weights.weights,
            &self.candidates.ids,
            drawn,
            trust,
        );
    }

    fn rest_len(&self) -> usize {
        self.weights.weights.len() - self.candidates.len()
    }

    /// The token that is no candidate, if it is the only one.
    fn only_other(&self) -> Option<Token> {
        let ids = &self.candidates.ids;
        let gap = || (0..).zip(ids).find(|(i, id)| i != *id).map(|(i, _)| i);
        (self.rest_len() == 1).then(|| gap().unwrap_or(ids.len() as Token))
    }
}

/// Probability of candidate `i` under the experts beside the network, at the weights they start with: what a network is fitted
/// next to. Arguments are those of [`Contest::set`].
pub fn beside_network(
    kernel: Kernel,
    sampling: &Sampling,
    (logit, gumbel): (&[f32], &[f32]),
    (plain, sum): (&[u32], u64),
    i: usize,
) -> f32 {
    let origin = Origin::of(Some(sampling));
    let weights = origin.prior();
    let mut votes = vec![0; logit.len()];
    let mut likelihood = weights[PLAIN] * (plain[i] as f32 / sum as f32);
    let mut total = weights[PLAIN];
    for (k, &weight) in weights[..PLAIN].iter().enumerate() {
        if let Some((a, b)) = origin.blend(k, sampling) {
            let sum = weir_exact::expert(kernel, (a, logit), (b, gumbel), &mut votes);
            likelihood += weight * (votes[i] as f32 / sum as f32);
            total += weight;
        }
    }
    likelihood / total
}

#[cfg(test)]
mod tests;
