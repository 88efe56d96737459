//! The language model's prediction corrected by what the text itself has shown: n-grams and biases are added to it in the
//! domain of logarithms, with weights learned on the way (SPEC 4.12).

use weir_exact::{ONE, Token};

use super::bias::Bias;
use super::ngram::{Ngrams, ORDERS};

/// Weights of one order, by how often its context has been seen: 1, 2, 3-4, 5-8, 9-16 times or more.
const BUCKETS: usize = 6;
/// Where these weights start, for each order.
const START: [f32; ORDERS.len()] = [0.2, 0.2, 0.15, 0.1, 0.1];
/// How many counts the language model's prediction is worth, for each order.
const PRIOR: [f32; ORDERS.len()] = [20.0, 10.0, 5.0, 1.0, 0.5];
/// Step of the weights, on a gradient of at most [`STEEPEST`].
const RATE: f32 = 0.005;
const STEEPEST: f32 = 4.0;
/// How much of the trust in the mixture goes back to an even share with each token.
const DOUBT: f32 = 0.001;
/// Stands for all tokens that are no candidates.
const OTHERS: Token = Token::MAX;

/// What one text has taught, and its prediction in force. It takes some 45 MB for a long text.
#[derive(Clone, Debug)]
pub(super) struct Mixer {
    ngrams: Ngrams,
    bias: Bias,
    weights: [[f32; BUCKETS]; ORDERS.len()],
    /// Probability that the mixture is the better predictor, and not the language model alone.
    trust: f32,

    /// The candidates and [`OTHERS`]; the next two have one entry for each.
    ids: Vec<Token>,
    /// Probabilities under the language model alone.
    plain: Vec<f32>,
    /// Probabilities under the mixture.
    mixed: Vec<f32>,
    /// What the orders say in favour of candidates, by their places.
    evidence: [Evidence; ORDERS.len()],
}

#[derive(Clone, Debug, Default)]
struct Evidence {
    bucket: usize,
    /// `ln(1 + count / (PRIOR q))`; for those not named it is 0.
    terms: Vec<(usize, f32)>,
}

impl Mixer {
    pub(super) fn new() -> Self {
        Self {
            ngrams: Ngrams::new(),
            bias: Bias::new(),
            weights: START.map(|start| [start; BUCKETS]),
            trust: 0.5,
            ids: Vec::new(),
            plain: Vec::new(),
            mixed: Vec::new(),
            evidence: Default::default(),
        }
    }

    /// Candidates that the text itself names, in no order, some of them more than once.
    pub(super) fn propose(&mut self, tokens: &mut Vec<Token>) {
        self.ngrams.count();
        let lists = self
            .ngrams
            .followers()
            .iter()
            .flat_map(|followers| &followers.counts);
        tokens.extend(lists.map(|&(token, _)| token));
    }

    /// Predicts: `logits` of the candidates `ids`, ascending, are relative to the best of all, `sum` is the weight of all tokens
    /// and `outside` that of those that are no candidates. Fills `shares`, in units of 2^-30, and gives that of all others.
    pub(super) fn predict(
        &mut self,
        ids: &[Token],
        logits: &[f32],
        (sum, outside): (u64, u64),
        shares: &mut Vec<f32>,
    ) -> f32 {
        let Self {
            plain, mixed: scores, ..
        } = self;
        // q as logarithms, then corrected.
        let log_sum = weir_exact::ln(sum as f64 / f64::from(ONE)) as f32;
        let log_outside = weir_exact::ln((outside.max(1)) as f64 / sum as f64) as f32;
        scores.clear();
        scores.extend(logits.iter().map(|logit| logit - log_sum).chain([log_outside]));
        plain.clear();
        plain.extend(
            scores
                .iter()
                .map(|&score| weir_exact::exp(if score > -80.0 { score } else { -80.0 })),
        );
        self.ids.clear();
        self.ids.extend(ids.iter().copied().chain([OTHERS]));
        self.weigh(ids);
        for (score, &id) in self.mixed.iter_mut().zip(&self.ids) {
            *score += self.bias.of(id);
        }
        softmax(&mut self.mixed);

        let unit = ONE as f32;
        let share = |(&mixed, &plain): (&f32, &f32)| unit * (self.trust * mixed + (1.0 - self.trust) * plain);
        shares.clear();
        shares.extend(self.mixed.iter().zip(&self.plain).map(share));
        shares.pop().unwrap_or(0.0)
    }

    /// Learns that `token` came.
    pub(super) fn learn(&mut self, token: Token) {
        let others = self.ids.len() - 1;
        let came = self.ids[..others].binary_search(&token).unwrap_or(others);

        let (mixed, plain) = (
            self.trust * self.mixed[came],
            (1.0 - self.trust) * self.plain[came],
        );
        if mixed + plain > 1e-30 {
            self.trust = (1.0 - DOUBT) * (mixed / (mixed + plain)) + 0.5 * DOUBT;
        }
        for (evidence, weights) in self.evidence.iter().zip(&mut self.weights) {
            let expected = evidence
                .terms
                .iter()
                .fold(0.0, |sum, &(i, term)| sum + self.mixed[i] * term);
            let found = evidence
                .terms
                .iter()
                .find(|(i, _)| *i == came)
                .map_or(0.0, |(_, term)| *term);
            let gradient = (found - expected).clamp(-STEEPEST, STEEPEST);
            let weight = &mut weights[evidence.bucket];
            *weight = (*weight + RATE * gradient).clamp(-0.2, 2.0);
        }
        for (i, (&id, &p)) in self.ids.iter().zip(&self.mixed).enumerate() {
            self.bias.learn(id, p, i == came);
        }
        self.bias.follow(token);
        self.ngrams.push(token);
    }

    /// Adds what the n-grams say to the scores.
    fn weigh(&mut self, ids: &[Token]) {
        for (order, followers) in self.ngrams.followers().iter().enumerate() {
            let evidence = &mut self.evidence[order];
            evidence.terms.clear();
            evidence.bucket = bucket(followers.total);
            for &(id, count) in &followers.counts {
                if let Ok(i) = ids.binary_search(&id) {
                    let q = self.plain[i];
                    let q = if q > 1e-9 { q } else { 1e-9 };
                    let term = weir_exact::ln(f64::from(1.0 + count as f32 / (PRIOR[order] * q))) as f32;
                    evidence.terms.push((i, term));
                    self.mixed[i] += self.weights[order][evidence.bucket] * term;
                }
            }
        }
    }
}

/// By how often a context has been seen.
fn bucket(total: u32) -> usize {
    let doublings = total
        .saturating_sub(1)
        .checked_ilog2()
        .map_or(0, |log| log as usize + 1);
    doublings.min(BUCKETS - 1)
}

/// Scores to probabilities.
fn softmax(scores: &mut [f32]) {
    let best = scores.iter().fold(
        f32::NEG_INFINITY,
        |best, &score| if score > best { score } else { best },
    );
    scores
        .iter_mut()
        .for_each(|score| *score = weir_exact::exp(*score - best));
    let sum = scores.iter().fold(0.0, |sum, weight| sum + weight);
    scores.iter_mut().for_each(|weight| *weight /= sum);
}
