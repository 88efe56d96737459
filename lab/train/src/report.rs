//! What a run reports, all of it on held-out prompts.

use anyhow::Result;
use serde::Serialize;

use crate::corpus::Sequence;
use crate::llama::Llama;
use crate::tokenizer::Tokenizer;
use crate::{generate, loss};

/// Losses in nats per token of the held-out answers that people wrote, and how well the weak model imitates.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Tokens of one epoch.
    pub train_tokens: usize,
    /// Parameters of the strong model.
    pub strong_parameters: usize,
    /// Parameters of the weak model.
    pub weak_parameters: usize,
    /// The 5-gram baseline.
    pub ngram: f64,
    /// The strong model as exported.
    pub strong: f64,
    /// The weak model before it imitated.
    pub weak_before: f64,
    /// The weak model as exported.
    pub weak: f64,
    /// One entry per temperature.
    pub imitation: Vec<Imitation>,
}

/// How the weak model predicts what the strong one says to held-out prompts, in bits per token.
#[derive(Clone, Debug, Serialize)]
pub struct Imitation {
    /// Temperature of the strong model's answers.
    pub temperature: f32,
    /// Tokens measured.
    pub tokens: usize,
    /// Cross-entropy under the strong model itself at temperature 1.
    pub strong_bits: f64,
    /// Cross-entropy under the weak model before it imitated: what plain arithmetic coding would take.
    pub weak_before_bits: f64,
    /// Cross-entropy under the weak model as exported.
    pub weak_bits: f64,
    /// How often the exported weak model's best token is the one that was said.
    pub agreement: f64,
    /// Question and answer, as text, for the first few prompts.
    pub samples: Vec<String>,
}

impl Imitation {
    /// Lets `strong` answer the first `PROMPTS` held-out prompts at `temperature` and measures the others on it.
    pub fn measure(
        temperature: f32,
        strong: &Llama,
        before: &Llama,
        weak: &Llama,
        tokenizer: &Tokenizer,
        held_out: &[Sequence],
        length: usize,
    ) -> Result<Self> {
        let prompts: Vec<_> = held_out
            .iter()
            .take(PROMPTS)
            .map(|s| s.tokens[..s.prompt].to_vec())
            .collect();
        let answers = generate::answer(strong, &prompts, &vec![temperature; prompts.len()], length, SEED)?;
        let bits =
            |model| Ok::<_, anyhow::Error>(loss::answer_loss(model, &answers)? / std::f64::consts::LN_2);
        Ok(Self {
            temperature,
            tokens: answers.iter().map(|s| s.answer().len()).sum(),
            strong_bits: bits(strong)?,
            weak_before_bits: bits(before)?,
            weak_bits: bits(weak)?,
            agreement: loss::agreement(weak, &answers)?,
            samples: answers
                .iter()
                .take(SAMPLES)
                .map(|s| tokenizer.decode(&s.tokens))
                .collect::<Result<_>>()?,
        })
    }
}

/// Prompts that are answered for the measurement.
const PROMPTS: usize = 128;
/// Answers that are shown.
const SAMPLES: usize = 6;
/// Apart from the seeds of training.
const SEED: u64 = 0x6865_6c64;
