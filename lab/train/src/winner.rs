//! Fits the network that predicts which token wins (SPEC 4.6), for a pair of models of one tokenizer.
//!
//! [`Observer`] runs both models over answers and keeps, of each position, what either thinks of the tokens that matter. The
//! noise does not depend on the models, so the strong model's token is drawn anew in every epoch (`Position::draw`), at every
//! temperature that the network shall know: a few ten thousand positions are as good as millions of tokens. [`fit`] then
//! maximises the likelihood of the winners, in the codec's own numbers ([`weir_codec::predict::Features`]). The network of greedy
//! decoding learns from greedy answers and that of seeded decoding from the others, as long as there are any: what has been
//! said says what is said next.

mod judge;
mod observe;

use anyhow::{Result, ensure};
use weir_codec::Sampling;
use weir_codec::predict::{self, Features, History};
use weir_model::Kernel;

use crate::optim::{AdamW, gradients, rate};
use crate::rng::Rng;
use judge::{Example, Judge};
pub use observe::{Answer, Observer, Position, Reading};

/// How long to fit.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Updates of each network.
    pub steps: usize,
    /// Tokens of one update.
    pub batch: usize,
    /// Highest learning rate.
    pub rate: f32,
    /// Seed of weights, order and noise.
    pub seed: u64,
}

/// How tokens are drawn that the network of greedy decoding learns from.
const GREEDY: &[(f32, f32)] = &[(0.0, 1.0)];

/// Temperature and top-p of the tokens that the network of seeded decoding learns from, in turn from answer to answer; in every
/// other epoch, an answer's are its own.
const SEEDED: &[(f32, f32)] = &[
    (1.0, 1.0),
    (0.7, 0.9),
    (1.0, 1.0),
    (0.3, 1.0),
    (1.0, 1.0),
    (0.7, 1.0),
    (1.0, 0.95),
    (0.5, 0.9),
    (1.3, 1.0),
];

/// The networks' weights as the codec's file has them, greedy decoding first, and what they cost on `held_out`.
///
/// `progress` hears of every step.
///
/// # Errors
/// If there is nothing to learn from, or the numbers run away.
pub fn fit(
    plan: &Plan,
    train: &[Reading],
    held_out: &[Reading],
    progress: &mut dyn FnMut(),
) -> Result<(Vec<f32>, Vec<Cost>)> {
    ensure!(
        train.iter().any(|answer| !answer.positions.is_empty()),
        "there are no answers to learn from"
    );
    let (mut weights, mut costs) = (Vec::new(), Vec::new());
    for settings in [GREEDY, SEEDED] {
        let (train, held_out) = (fitting(settings, train), fitting(settings, held_out));
        let judge = fit_one(plan, settings, &train, progress)?;
        weights.extend(judge.weights()?);
        let mut seen = Vec::new();
        for &(temperature, top_p) in settings {
            if seen.contains(&(temperature, top_p)) {
                continue;
            }
            seen.push((temperature, top_p));
            let sampling = Sampling {
                top_p,
                ..Sampling::at(temperature)
            };
            let rng = &mut Rng::new(plan.seed, u64::MAX);
            let examples: Vec<Example> = held_out
                .iter()
                .flat_map(|answer| examples(&answer.positions, &sampling, rng))
                .collect();
            costs.push(Cost::of(&judge, &sampling, &examples)?);
        }
    }
    Ok((weights, costs))
}

/// Those that were drawn as the network of `settings` shall know it, with noise or without; all, if none was.
fn fitting<'a>(settings: &[(f32, f32)], readings: &'a [Reading]) -> Vec<&'a Reading> {
    let any = readings.iter().any(|reading| fits(settings, reading));
    let fitting = |reading: &&Reading| !any || fits(settings, reading);
    readings.iter().filter(fitting).collect()
}

/// Whether an answer was drawn with noise, or without, as those of `settings` are.
fn fits(settings: &[(f32, f32)], reading: &Reading) -> bool {
    reading.sampling.is_seeded() == Sampling::at(settings[0].0).is_seeded()
}

/// Mean bits of a token.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// How the tokens were drawn.
    pub sampling: Sampling,
    /// Under the weak model alone, at temperature 1.
    pub plain: f64,
    /// Under the network and its fellows, none of which has learned anything.
    pub mixed: f64,
}

impl Cost {
    fn of(judge: &Judge, sampling: &Sampling, examples: &[Example]) -> Result<Self> {
        let bits = 1.0 / std::f64::consts::LN_2 / examples.len().max(1) as f64;
        let mut mixed = 0.0;
        for batch in examples.chunks(1024) {
            mixed += f64::from(judge.loss(batch)?.to_scalar::<f32>()?) * batch.len() as f64;
        }
        Ok(Self {
            sampling: *sampling,
            plain: examples.iter().map(Example::plain).sum::<f64>() * bits,
            mixed: mixed * bits,
        })
    }
}

fn fit_one(
    plan: &Plan,
    settings: &[(f32, f32)],
    train: &[&Reading],
    progress: &mut dyn FnMut(),
) -> Result<Judge> {
    let judge = Judge::new(&mut Rng::new(plan.seed, 0))?;
    let mut adam = AdamW::new(judge.vars());
    let (mut epoch, mut step) = (0, 0);
    while step < plan.steps {
        epoch += 1;
        let mut rng = Rng::new(plan.seed, epoch);
        let mut drawn = Vec::new();
        for (index, answer) in (epoch as usize..).zip(train) {
            let (temperature, top_p) = match epoch % 2 == 0 && fits(settings, answer) {
                true => (answer.sampling.temperature, answer.sampling.top_p),
                false => settings[index % settings.len()],
            };
            let sampling = Sampling {
                top_p,
                ..Sampling::at(temperature)
            };
            drawn.extend(examples(&answer.positions, &sampling, &mut rng));
        }
        rng.shuffle(&mut drawn);
        for batch in drawn.chunks(plan.batch).take(plan.steps - step) {
            let gradients = gradients(judge.vars(), &judge.loss(batch)?, 1.0)?;
            let length = adam.update(judge.vars(), &gradients, rate(plan.rate, step, plan.steps))?;
            ensure!(length.is_finite(), "the gradient is not finite at step {step}");
            step += 1;
            progress();
        }
    }
    Ok(judge)
}

/// One answer's positions with fresh noise, as the codec would see them.
fn examples(answer: &[Position], sampling: &Sampling, rng: &mut Rng) -> Vec<Example> {
    let kernel = Kernel::detect();
    let (mut contest, mut history) = (Features::default(), History::default());
    let mut examples = Vec::with_capacity(answer.len());
    for position in answer {
        let drawn = position.draw(sampling, rng);
        contest.set(
            kernel,
            (&drawn.logit, &drawn.gumbel),
            (&drawn.plain, position.sum),
            sampling,
            &history,
        );
        let entered = |winner| contest.entrants().iter().position(|&i| i as usize == winner);
        let entrant = drawn.winner.and_then(entered);
        let beside = drawn.winner.map_or(1.0, |winner| {
            predict::beside_network(
                kernel,
                sampling,
                (&drawn.logit, &drawn.gumbel),
                (&drawn.plain, position.sum),
                winner,
            )
        });
        let listed: u64 = drawn.plain.iter().map(|&w| u64::from(w)).sum();
        let weight = drawn
            .winner
            .map_or(position.sum - listed, |winner| drawn.plain[winner].into());
        let plain = weight as f32 / position.sum as f32;
        examples.push(Example::new(&contest, (drawn.winner, entrant), beside, plain));
        let surprise = drawn
            .winner
            .map_or(f32::INFINITY, |winner| contest.surprise(winner));
        history.follow(entrant == Some(0), surprise);
    }
    examples
}

#[cfg(test)]
mod tests;
