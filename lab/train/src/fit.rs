//! The training loop: batches in, a checkpointed model out.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use indicatif::{ProgressBar, ProgressStyle};

use crate::corpus::{Batch, Sequence, epoch};
use crate::llama::{Llama, Shape};
use crate::optim::{AdamW, Gradients, gradients, rate};
use crate::rng::Rng;

/// How long and how fast to train.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Shown beside the progress bar, and the checkpoint's name.
    pub name: &'static str,
    /// Updates.
    pub steps: usize,
    /// Inputs of one update, padding included.
    pub tokens: usize,
    /// Parts of an update, each computed by a thread of its own.
    pub shards: usize,
    /// Highest learning rate.
    pub rate: f32,
    /// Whether prompts are learnt too, or answers only.
    pub prompts: bool,
    /// Seed of weights and order.
    pub seed: u64,
    /// Folder of the checkpoints.
    pub work: PathBuf,
}

impl Plan {
    /// The checkpoint's file.
    pub fn checkpoint(&self) -> PathBuf {
        self.work.join(format!("{}.safetensors", self.name))
    }
}

/// Trains a model of `shape` on `sequences`, minimising `loss` (a scalar of the model and a batch). Begins at `start`
/// if given, else at random weights; continues a checkpoint of the same plan, and returns at once if that is complete.
pub fn fit(
    plan: &Plan,
    shape: Shape,
    start: Option<&BTreeMap<String, Tensor>>,
    sequences: &[Sequence],
    loss: impl Fn(&Llama, &Batch) -> Result<Tensor> + Sync,
) -> Result<Llama> {
    let (model, mut adam) = match resume(plan, shape)? {
        Some(resumed) => resumed,
        None => {
            let model = match start {
                Some(tensors) => Llama::trainable(shape, tensors.clone())?,
                None => Llama::new(shape, &mut Rng::new(plan.seed, WEIGHTS))?,
            };
            let adam = AdamW::new(model.vars());
            (model, adam)
        }
    };
    let bar = progress(plan.steps, plan.name);
    bar.set_position(u64::from(adam.step()));
    bar.reset_eta();
    let mut log = Log::default();
    let (mut step, mut number) = (0, 0);
    while step < plan.steps {
        let tokens = plan.tokens / plan.shards;
        let batches = epoch(sequences, tokens, plan.prompts, &mut Rng::new(plan.seed, number));
        ensure!(!batches.is_empty(), "{}: nothing to train on", plan.name);
        for shards in batches.chunks(plan.shards).take(plan.steps - step) {
            step += 1;
            if step <= adam.step() as usize {
                continue;
            }
            let (value, gradients) = together(&model, shards, &loss)?;
            let length = adam.update(model.vars(), &gradients, rate(plan.rate, step - 1, plan.steps))?;
            ensure!(
                value.is_finite() && length.is_finite(),
                "{}: loss {value} at step {step}",
                plan.name
            );
            log.add(value, shards.iter().map(|b| b.inputs.len()).sum());
            bar.inc(1);
            if step % LOG_EVERY == 0 || step == plan.steps {
                let line = log.line(plan, step, number, &bar);
                bar.set_message(line.clone());
                eprintln_if_hidden(&bar, &line);
            }
            if step % SAVE_EVERY == 0 || step == plan.steps {
                save(plan, &model, &adam)?;
            }
        }
        number += 1;
    }
    bar.finish();
    Ok(model)
}

/// Reads the weights of a checkpoint.
pub fn weights(path: &Path, shape: Shape) -> Result<BTreeMap<String, Tensor>> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu)
        .with_context(|| format!("checkpoint {}", path.display()))?;
    let names = shape.weights().into_iter().map(|(name, _)| name);
    names
        .map(|name| {
            let tensor = tensors
                .get(&name)
                .with_context(|| format!("{} has no {name}", path.display()))?;
            Ok((name, tensor.clone()))
        })
        .collect()
}

/// A progress bar in the style of all of this crate's; hidden where stderr is no terminal.
pub fn progress(steps: usize, name: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>12} {bar:30} {pos}/{len} [{elapsed} < {eta}] {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps as u64).with_style(style).with_prefix(name)
}

/// Where there is no terminal for the bar, a line per `LOG_EVERY` steps says how it goes.
pub fn eprintln_if_hidden(bar: &ProgressBar, line: &str) {
    if bar.is_hidden() {
        eprintln!("{} {line}", bar.prefix());
    }
}

const LOG_EVERY: usize = 25;
const SAVE_EVERY: usize = 200;
/// Stream of the seed that draws the first weights; epochs count up from 0.
const WEIGHTS: u64 = u64::MAX;

/// Mean loss since the last line.
#[derive(Default)]
struct Log {
    loss: f64,
    count: usize,
    tokens: usize,
}

impl Log {
    fn add(&mut self, loss: f32, tokens: usize) {
        self.loss += f64::from(loss);
        self.count += 1;
        self.tokens += tokens;
    }

    fn line(&mut self, plan: &Plan, step: usize, epoch: u64, bar: &ProgressBar) -> String {
        let mean = self.loss / self.count as f64;
        let tokens = self.tokens as f64 / self.count as f64;
        let rate = rate(plan.rate, step - 1, plan.steps);
        *self = Self::default();
        let seconds = bar.elapsed().as_secs();
        format!(
            "step {step}/{} epoch {epoch} loss {mean:.4} rate {rate:.1e} {tokens:.0} tok/step {seconds} s",
            plan.steps
        )
    }
}

/// Mean loss over the targets of all shards, and its gradient. The shards' gradients are added in order, so the result
/// does not depend on who finishes first.
fn together(
    model: &Llama,
    shards: &[Batch],
    loss: &(impl Fn(&Llama, &Batch) -> Result<Tensor> + Sync),
) -> Result<(f32, Gradients)> {
    let targets: usize = shards.iter().map(|b| b.targets.len()).sum();
    let one = |batch: &Batch| -> Result<(f32, Gradients)> {
        let share = batch.targets.len() as f64 / targets as f64;
        let value = loss(model, batch)?;
        Ok((
            value.to_scalar::<f32>()? * share as f32,
            gradients(model.vars(), &value, share)?,
        ))
    };
    let parts: Vec<Result<(f32, Gradients)>> = std::thread::scope(|scope| {
        let threads: Vec<_> = shards.iter().map(|batch| scope.spawn(|| one(batch))).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut sum = (0.0, Gradients::new());
    for part in parts {
        let (value, gradients) = part?;
        sum.0 += value;
        for (name, gradient) in gradients {
            match sum.1.get_mut(&name) {
                Some(total) => total.iter_mut().zip(&gradient).for_each(|(total, g)| *total += g),
                None => drop(sum.1.insert(name, gradient)),
            }
        }
    }
    Ok(sum)
}

fn resume(plan: &Plan, shape: Shape) -> Result<Option<(Llama, AdamW)>> {
    let path = plan.checkpoint();
    if !path.exists() {
        return Ok(None);
    }
    let tensors: BTreeMap<String, Tensor> = candle_core::safetensors::load(&path, &Device::Cpu)
        .with_context(|| format!("checkpoint {}", path.display()))?
        .into_iter()
        .collect();
    let model = Llama::trainable(shape, weights(&path, shape)?)?;
    let adam = AdamW::import(model.vars(), &tensors)?;
    ensure!(
        adam.step() as usize <= plan.steps,
        "{} is {} steps long, the plan only {}",
        path.display(),
        adam.step(),
        plan.steps
    );
    Ok(Some((model, adam)))
}

/// Written beside and renamed, so that a crash leaves the last whole checkpoint.
fn save(plan: &Plan, model: &Llama, adam: &AdamW) -> Result<()> {
    let mut tensors = model.weights().clone();
    adam.export(model.vars(), &mut tensors)?;
    let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    let path = plan.checkpoint();
    let fresh = path.with_extension("new");
    candle_core::safetensors::save(&tensors, &fresh).with_context(|| format!("save {}", fresh.display()))?;
    std::fs::rename(&fresh, &path).with_context(|| format!("save {}", path.display()))
}
