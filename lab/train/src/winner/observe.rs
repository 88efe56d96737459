//! What both models think of the tokens that matter, at each position of given answers.

use anyhow::{Context as _, Result};
use weir_codec::noise::Noise;
use weir_codec::predict::Predictor;
use weir_codec::{Query, Sampling};
use weir_exact::{Top, Weights, exp_weight};
use weir_model::{Kernel, Predict, Slot, Token};

use crate::rng::Rng;

/// An answer to follow.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was asked, with the seed.
    pub query: Query,
    /// The tokens, the end token included.
    pub tokens: Vec<Token>,
}

/// What both models think at every position of an answer.
#[derive(Clone, Debug)]
pub struct Reading {
    /// How the answer was drawn.
    pub sampling: Sampling,
    /// One for each of its tokens.
    pub positions: Vec<Position>,
}

/// One position: the codec's candidates there, and the strong model's best.
#[derive(Clone, Debug)]
pub struct Position {
    /// The weak model's logits of the candidates, relative to its best.
    pub logit: Vec<f32>,
    /// The candidates' weights under q.
    pub plain: Vec<u32>,
    /// All weights under q.
    pub sum: u64,
    /// Gumbel variates of those that are candidates by noise alone: these keep it.
    lucky: Vec<Option<f32>>,
    /// The strong model's logits of the candidates, relative to its best.
    strong: Vec<f32>,
    /// The weak and the strong model's logits of the strong one's best that are no candidates.
    beyond: Vec<(f32, f32)>,
    /// A Gumbel variate above makes a token a candidate.
    luck: f32,
}

/// A position with fresh noise, as the codec sees it.
pub(super) struct Drawn {
    pub(super) logit: Vec<f32>,
    pub(super) gumbel: Vec<f32>,
    pub(super) plain: Vec<u32>,
    /// The candidate that wins, or none.
    pub(super) winner: Option<usize>,
}

/// Tokens of the strong model's best that are looked at.
const BEST: usize = 64;

impl Position {
    /// Draws noise and the strong model's token. Tokens that neither model likes are left out of the race, and of top-p.
    pub(super) fn draw(&self, sampling: &Sampling, rng: &mut Rng) -> Drawn {
        let (mut logit, mut plain, mut strong) =
            (self.logit.clone(), self.plain.clone(), self.strong.clone());
        let mut gumbel = vec![0.0; logit.len()];
        // The best of those that are no candidates: none of them can be coded but by the escape.
        let mut outside = f32::NEG_INFINITY;
        let (scale, mut fresh): (f32, Vec<f32>) = if sampling.is_seeded() {
            gumbel = self
                .lucky
                .iter()
                .map(|lucky| lucky.unwrap_or_else(|| noise(rng)))
                .collect();
            (
                1.0 / sampling.temperature,
                self.beyond.iter().map(|_| noise(rng)).collect(),
            )
        } else {
            (1.0, vec![0.0; self.beyond.len()])
        };
        let all = strong.iter().copied().chain(self.beyond.iter().map(|x| x.1));
        let least = least_allowed(all.collect(), sampling);
        for (&(weak, its), fresh) in self.beyond.iter().zip(fresh.drain(..)) {
            if sampling.is_seeded() && fresh > self.luck {
                logit.push(weak);
                plain.push(exp_weight(weak));
                strong.push(its);
                gumbel.push(fresh);
            } else if its >= least {
                outside = outside.max(its * scale + fresh);
            }
        }
        let score = |i: usize| strong[i] * scale + gumbel[i];
        let winner = (0..strong.len())
            .filter(|&i| strong[i] >= least)
            .max_by(|&a, &b| score(a).total_cmp(&score(b)))
            .filter(|&winner| score(winner) >= outside);
        Drawn {
            logit,
            gumbel,
            plain,
            winner,
        }
    }
}

/// A Gumbel variate.
fn noise(rng: &mut Rng) -> f32 {
    -(-(1.0 - rng.uniform()).ln()).max(1e-30).ln()
}

/// The least logit that top-p leaves.
fn least_allowed(mut sorted: Vec<f32>, sampling: &Sampling) -> f32 {
    if sampling.top_p >= 1.0 {
        return f32::NEG_INFINITY;
    }
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let weight = |x: f32| (x / sampling.temperature).exp();
    let total: f32 = sorted.iter().map(|&x| weight(x)).sum();
    let mut before = 0.0;
    let mut least = f32::INFINITY;
    for x in sorted {
        if before >= sampling.top_p * total {
            break;
        }
        before += weight(x);
        least = x;
    }
    least
}

/// Runs both models over answers.
pub struct Observer<P> {
    weak: P,
    strong: P,
    kernel: Kernel,
    predictor: Predictor,
    weights: Weights,
    top: Top,
}

/// Positions of one forward pass.
const PASS: usize = 64;

impl<P: Predict> Observer<P> {
    /// An observer of two models with one tokenizer.
    pub fn new(weak: P, strong: P) -> Self {
        let kernel = Kernel::detect();
        Self {
            weak,
            strong,
            kernel,
            predictor: Predictor::new(kernel),
            weights: Weights::default(),
            top: Top::default(),
        }
    }

    /// Every position of one answer, which may be greedy: the candidates are those of seeded decoding.
    ///
    /// # Errors
    /// If the answer does not fit a model.
    pub fn observe(&mut self, answer: &Answer) -> Result<Reading> {
        let Answer { query, tokens } = answer;
        let slots = (self.weak.open()?, self.strong.open()?);
        let result = self.follow(query, tokens, slots);
        self.weak.close(slots.0);
        self.strong.close(slots.1);
        Ok(Reading {
            sampling: query.sampling,
            positions: result?,
        })
    }

    fn follow(&mut self, query: &Query, tokens: &[Token], slots: (Slot, Slot)) -> Result<Vec<Position>> {
        let (&last, before) = query.prompt.split_last().context("a prompt has no tokens")?;
        self.weak.prefill(slots.0, before)?;
        self.strong.prefill(slots.1, before)?;
        let fed: Vec<Token> = std::iter::once(last).chain(tokens.iter().copied()).collect();
        let mut positions = Vec::with_capacity(tokens.len());
        for pass in fed[..tokens.len()].chunks(PASS) {
            self.pass(query, pass, slots, &mut positions)?;
        }
        Ok(positions)
    }

    /// Feeds `fed` to both models and appends as many positions.
    fn pass(
        &mut self,
        query: &Query,
        fed: &[Token],
        slots: (Slot, Slot),
        positions: &mut Vec<Position>,
    ) -> Result<()> {
        let Self {
            weak,
            strong,
            kernel,
            predictor,
            weights,
            top,
        } = self;
        let first = positions.len();
        let sampling = Sampling::at(1.0);
        let own = predictor.begin(Some(&sampling));
        // Of each row: ids of the candidates, and the weak model's logits.
        let mut seen: Vec<(Vec<Token>, Vec<f32>)> = Vec::new();
        let mut outcome = Ok(());
        let rows: Vec<_> = fed.iter().map(|&token| (slots.0, token)).collect();
        weak.step(&rows, &mut |row, logits| {
            let noise = Noise::new(&query.seed, (first + row) as u32);
            let prepared = predictor
                .prepare(logits, Some((&sampling, &noise)), &own)
                .and_then(|()| weights.set(*kernel, logits).map_err(Into::into));
            if let Err(error) = prepared {
                outcome = Err(error);
                return;
            }
            let mut sorted: Vec<f32> = predictor.prediction().listed().map(|(_, x, _)| x).collect();
            sorted.sort_unstable_by(|a, b| b.total_cmp(a));
            // Those that are likely too get fresh noise.
            let likely = sorted.get(LIKELY - 1).copied().unwrap_or(f32::NEG_INFINITY);
            positions.push(Position {
                logit: predictor.prediction().listed().map(|(_, x, _)| x).collect(),
                plain: predictor
                    .prediction()
                    .listed()
                    .map(|(_, x, _)| exp_weight(x))
                    .collect(),
                sum: weights.sum,
                lucky: predictor
                    .prediction()
                    .listed()
                    .map(|(_, x, g)| (x < likely).then_some(g))
                    .collect(),
                strong: Vec::new(),
                beyond: Vec::new(),
                luck: (logits.len() as f32 / LUCKY).ln(),
            });
            let ids = predictor.prediction().listed().map(|(id, ..)| id).collect();
            seen.push((ids, logits.iter().map(|x| x - weights.max).collect()));
        })?;
        outcome?;

        let rows: Vec<_> = fed.iter().map(|&token| (slots.1, token)).collect();
        let mut outcome = Ok(());
        strong.step(&rows, &mut |row, logits| {
            outcome = std::mem::replace(&mut outcome, Ok(())).and_then(|()| weights.maximum(*kernel, logits));
            let mut best = Vec::new();
            top.find(logits, weights, BEST, &mut best);
            let relative = |id: Token| logits[id as usize] - weights.max;
            let position = &mut positions[first + row];
            let (ids, weak) = &seen[row];
            position.strong = ids.iter().map(|&id| relative(id)).collect();
            position.beyond = best
                .iter()
                .filter(|id| ids.binary_search(id).is_err())
                .map(|&id| (weak[id as usize], relative(id)))
                .collect();
        })?;
        Ok(outcome?)
    }
}

/// Candidates that the codec takes by logit alone.
const LIKELY: usize = 128;
/// Expected number of those that it takes by noise.
const LUCKY: f32 = 256.0;
