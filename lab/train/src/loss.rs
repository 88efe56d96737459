//! What is minimised and what is reported.

use anyhow::Result;
use candle_core::{D, Device, Tensor};

use crate::corpus::{Batch, Sequence, epoch};
use crate::llama::Llama;
use crate::ops;
use crate::rng::Rng;

/// Logits `[n, vocab]` at the batch's places.
pub fn logits(model: &Llama, batch: &Batch) -> Result<Tensor> {
    let tokens = Tensor::from_slice(&batch.inputs, (batch.rows, batch.columns), &Device::Cpu)?;
    let places = Tensor::from_slice(&batch.places, batch.places.len(), &Device::Cpu)?;
    model.logits(&model.hidden(&tokens)?.index_select(&places, 0)?)
}

/// Mean cross-entropy of the batch's targets, in nats: a scalar.
pub fn cross_entropy(model: &Llama, batch: &Batch) -> Result<Tensor> {
    ops::cross_entropy(&logits(model, batch)?, &batch.targets)
}

/// Mean cross-entropy against the teacher's distribution at the batch's places, in nats: a scalar.
pub fn imitation(model: &Llama, teacher: &Llama, batch: &Batch) -> Result<Tensor> {
    // `logits` of a frozen model has no graph behind it, so nothing flows into the teacher.
    ops::soft_cross_entropy(&logits(model, batch)?, &logits(teacher, batch)?)
}

/// Cross-entropy of the answers of `sequences`, in nats per token.
pub fn answer_loss(model: &Llama, sequences: &[Sequence]) -> Result<f64> {
    let (mut nats, mut tokens) = (0f64, 0usize);
    for batch in epoch(sequences, MEASURE_TOKENS, false, &mut Rng::new(0, 0)) {
        let loss = cross_entropy(model, &batch)?.to_scalar::<f32>()?;
        nats += f64::from(loss) * batch.targets.len() as f64;
        tokens += batch.targets.len();
    }
    Ok(nats / tokens.max(1) as f64)
}

/// Share of the answers' tokens that are the model's best guess.
pub fn agreement(model: &Llama, sequences: &[Sequence]) -> Result<f64> {
    let (mut hits, mut tokens) = (0usize, 0usize);
    for batch in epoch(sequences, MEASURE_TOKENS, false, &mut Rng::new(0, 0)) {
        let best = logits(model, &batch)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
        hits += best.iter().zip(&batch.targets).filter(|(a, b)| a == b).count();
        tokens += batch.targets.len();
    }
    Ok(hits as f64 / tokens.max(1) as f64)
}

/// Inputs of a batch that is only measured.
const MEASURE_TOKENS: usize = 4096;
