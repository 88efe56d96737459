//! Predicts the tokens of slots, and learns from those that came (SPEC 4.6, 4.7).

use weir_exact::{Kernel, ONE, Token};

use super::ablation::Ablation;
use super::candidates::{BEST, Candidates};
use super::features::Features;
use super::mixture::{Learned, SlotState};
use super::network::{self, Scorer};
use super::prediction::Prediction;
use super::regime::{EXPERTS, PLAIN, Regime, SHARPNESS};
use crate::Error;
use crate::noise::Noise;
use crate::query::Sampling;

/// Predicts one token at a time; keeps its buffers (a few megabytes at 150k tokens) and what was learned.
#[derive(Clone, Debug)]
pub struct Predictor {
    prediction: Prediction,
    ablation: Ablation,
    learned: Learned,

    // The prediction in force, of `prepare`.
    regime: Regime,
    sampling: Sampling,
    features: Features,
    scorer: Scorer,
    /// The network's scores of the candidates.
    scores: Vec<f32>,
    /// Weights of expert k at candidate i in `k * candidates + i`, and their sums; 0 for an expert that is not asked.
    votes: Vec<u32>,
    sums: [f32; EXPERTS],
    mix: Vec<f32>,
    /// The network's probability of the escape, 0 without a network.
    escape: f32,
}

impl Predictor {
    /// A predictor that knows what the specification's constants say.
    pub fn new(kernel: Kernel) -> Self {
        Self::with(kernel, Ablation::ALL)
    }

    /// A predictor that lacks some parts, to measure what they are worth: the code is another one.
    pub fn with(kernel: Kernel, ablation: Ablation) -> Self {
        Self {
            prediction: Prediction::new(kernel),
            ablation,
            learned: Learned::new(ablation),
            regime: Regime::default(),
            sampling: Sampling::GREEDY,
            features: Features::default(),
            scorer: Scorer::default(),
            scores: Vec::new(),
            votes: Vec::new(),
            sums: [0.0; EXPERTS],
            mix: Vec::new(),
            escape: 0.0,
        }
    }

    /// What a slot knows whose tokens are drawn with `sampling`, or come from elsewhere.
    pub fn begin(&self, sampling: Option<&Sampling>) -> SlotState {
        self.learned.begin(self.ablation.regime(sampling))
    }

    /// Predicts the token that follows `logits`: drawn with `sampling` and the noise of its position, or, with `None`,
    /// chosen by whoever wrote the text. Greedy sampling does not look at the noise. `slot` is what the slot has learned.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a logit is; [`Error::Vocab`] for fewer than 2 or more than 2^24 of them.
    pub fn prepare(
        &mut self,
        logits: &[f32],
        drawn: Option<(&Sampling, &Noise)>,
        slot: &SlotState,
    ) -> Result<(), Error> {
        self.prediction.weigh(logits)?;
        let sampling = drawn.map(|(sampling, _)| sampling);
        self.regime = self.ablation.regime(sampling);
        self.sampling = sampling
            .filter(|sampling| sampling.is_seeded() || sampling.is_lossy())
            .copied()
            .unwrap_or(Sampling::GREEDY);
        let noise = drawn.filter(|_| self.regime.is_seeded()).map(|(_, noise)| *noise);
        self.prediction.noise = noise.map(|noise| (noise, self.sampling.temperature));
        self.prediction.trust = self.learned.trust(self.regime);
        self.prediction.choose(logits, BEST, |_| ());
        if self.regime == Regime::LossyGreedy {
            self.prediction.candidates.mark_best();
        }
        self.compete(slot);
        self.vote(slot.weights());
        Ok(())
    }

    /// Learns that `token` came; to be called once after each [`Predictor::prepare`] and coding.
    pub fn learn(&mut self, token: Token, slot: &mut SlotState) {
        let mut likelihood = [0.0; EXPERTS];
        let found = self.prediction.candidates.find(token);
        match found {
            Some(i) => {
                let votes = self.votes.chunks(self.prediction.candidates.len()).zip(self.sums);
                for (likelihood, (votes, sum)) in likelihood.iter_mut().zip(votes) {
                    if sum > 0.0 {
                        *likelihood = (1.0 - self.escape) * (votes[i] as f32 / sum);
                    }
                }
                likelihood[PLAIN] =
                    self.prediction.candidates.plain[i] as f32 / self.prediction.weights.sum as f32;
            }
            None => {
                for (likelihood, sum) in likelihood.iter_mut().zip(self.sums) {
                    if sum > 0.0 {
                        *likelihood = self.escape;
                    }
                }
                likelihood[PLAIN] = self.prediction.outside as f32 / self.prediction.weights.sum as f32;
            }
        }
        if self.regime.has_network() && self.ablation.network && self.ablation.history {
            let best = self.features.entrants().first();
            let won = found.is_some_and(|i| best == Some(&(i as u32)));
            let surprise = found.map_or(f32::INFINITY, |i| self.features.surprise(i));
            slot.history.follow(won, surprise);
        }
        if !self.ablation.learning {
            return;
        }
        self.learned.follow(self.regime, slot, &likelihood);
        if found.is_none()
            && let Some(likelihoods) = self.prediction.rest_likelihoods(token)
        {
            self.learned.follow_rest(self.regime, likelihoods);
        }
    }

    /// The prediction in force: that of the last [`Predictor::prepare`].
    pub fn prediction(&mut self) -> &mut Prediction {
        &mut self.prediction
    }

    /// Forgets what was learned after `learned` was taken.
    pub(crate) fn restore(&mut self, learned: &Learned) {
        self.learned = *learned;
    }

    /// What was learned so far.
    pub(crate) fn learned(&self) -> &Learned {
        &self.learned
    }

    /// Fills `scores` and `escape` where the regime has a network.
    fn compete(&mut self, slot: &SlotState) {
        self.escape = 0.0;
        let Some(net) = network::of(self.regime).filter(|_| self.ablation.network) else {
            return;
        };
        let Candidates {
            logit, gumbel, plain, ..
        } = &self.prediction.candidates;
        self.features.set(
            self.prediction.kernel,
            (logit, gumbel),
            (plain, self.prediction.weights.sum),
            &self.sampling,
            &slot.history,
        );
        let escape = self
            .scorer
            .score(self.prediction.kernel, net, &self.features, &mut self.scores);
        if self.prediction.rest_len() > 0 {
            self.escape = escape;
        }
    }

    /// Fills `votes`, `sums`, `mix`, `outside`, `widths`: SPEC 4.6.
    fn vote(&mut self, weights: &[f32; EXPERTS]) {
        let Candidates {
            logit, gumbel, plain, ..
        } = &self.prediction.candidates;
        let n = logit.len();
        self.sums = [0.0; EXPERTS];
        self.mix.clear();
        self.mix.resize(n, 0.0);
        self.votes.resize((EXPERTS - 1) * n, 0);
        // All experts but the plain one say of the escape what the network says.
        let mut escape = 0.0;
        for (k, votes) in self.votes.chunks_mut(n).enumerate() {
            let (x, y) = match (SHARPNESS.get(k), self.regime.blend(k, &self.sampling)) {
                _ if weights[k] == 0.0 => continue,
                (Some(&sharpness), _) => ((sharpness, &self.scores), (0.0, gumbel)),
                (None, Some((a, b))) => ((a, logit), (b, gumbel)),
                (None, None) => continue,
            };
            let sum = weir_exact::expert(self.prediction.kernel, (x.0, x.1), (y.0, y.1), votes);
            self.sums[k] = sum as f32;
            escape += weights[k];
            weir_exact::add_scaled(
                self.prediction.kernel,
                weights[k] * (1.0 - self.escape) * (ONE as f32 / sum as f32),
                votes,
                &mut self.mix,
            );
        }
        let factor = weights[PLAIN] * (ONE as f32 / self.prediction.weights.sum as f32);
        weir_exact::add_scaled(self.prediction.kernel, factor, plain, &mut self.mix);
        let escape = escape * self.escape * ONE as f32 + factor * self.prediction.outside as f32;
        self.prediction.widths.set(
            self.mix.iter().map(|&mix| mix as u32),
            (self.prediction.rest_len() > 0).then_some(escape),
        );
    }
}

/// Probability of candidate `i` under the experts beside the network, at the weights they start with: what a network is fitted
/// next to. Arguments are those of [`Features::set`].
pub fn beside_network(
    kernel: Kernel,
    sampling: &Sampling,
    (logit, gumbel): (&[f32], &[f32]),
    (plain, sum): (&[u32], u64),
    i: usize,
) -> f32 {
    let regime = Regime::of(Some(sampling));
    let weights = regime.prior();
    let mut votes = vec![0; logit.len()];
    let mut likelihood = weights[PLAIN] * (plain[i] as f32 / sum as f32);
    let mut total = weights[PLAIN];
    for (k, &weight) in weights[..PLAIN].iter().enumerate() {
        if let Some((a, b)) = regime.blend(k, sampling) {
            let sum = weir_exact::expert(kernel, (a, logit), (b, gumbel), &mut votes);
            likelihood += weight * (votes[i] as f32 / sum as f32);
            total += weight;
        }
    }
    likelihood / total
}

#[cfg(test)]
mod tests;
