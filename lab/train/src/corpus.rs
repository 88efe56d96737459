//! Questions and answers: reading, splitting, and cutting into batches.

use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::rng::Rng;
use crate::tokenizer::{END_OF_TEXT, IM_END, Tokenizer};

/// One line of the data: `{"prompt": …, "answer": …}`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Example {
    /// The question.
    pub prompt: String,
    /// The answer.
    pub answer: String,
}

/// Every how many lines one is held out: never trained on, neither by a model nor by the tokenizer.
pub const HELD_OUT_EVERY: usize = 20;

/// The data, split.
pub struct Split {
    /// Trained on.
    pub train: Vec<Example>,
    /// Never trained on.
    pub held_out: Vec<Example>,
}

/// Reads JSONL and holds out every [`HELD_OUT_EVERY`]th line, beginning with the first.
pub fn read(path: &Path) -> Result<Split> {
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut split = Split {
        train: Vec::new(),
        held_out: Vec::new(),
    };
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("read {}", path.display()))?;
        let example: Example = serde_json::from_str(&line).with_context(|| {
            format!(
                "{} line {}: want {{\"prompt\", \"answer\"}}",
                path.display(),
                number + 1
            )
        })?;
        let part = if number % HELD_OUT_EVERY == 0 {
            &mut split.held_out
        } else {
            &mut split.train
        };
        part.push(example);
    }
    ensure!(
        !split.train.is_empty(),
        "{} holds too few lines to train on",
        path.display()
    );
    Ok(split)
}

/// A question and its answer as tokens, ending in `<|im_end|>` unless it was cut.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Sequence {
    /// Prompt, then answer.
    pub tokens: Vec<u32>,
    /// How many of the tokens are the prompt.
    pub prompt: usize,
}

impl Sequence {
    /// Tokenizes `examples`; a sequence longer than `max` is cut there, and left out if no answer would remain.
    pub fn encode(tokenizer: &Tokenizer, examples: &[Example], max: usize) -> Result<Vec<Self>> {
        let mut sequences = Vec::with_capacity(examples.len());
        for example in examples {
            let mut tokens = tokenizer.prompt(&example.prompt)?;
            let prompt = tokens.len();
            tokens.extend(tokenizer.encode(&example.answer)?);
            tokens.push(IM_END);
            tokens.truncate(max);
            if prompt < tokens.len() {
                sequences.push(Self { tokens, prompt });
            }
        }
        Ok(sequences)
    }

    /// The answer's tokens, the end token included.
    pub fn answer(&self) -> &[u32] {
        &self.tokens[self.prompt..]
    }
}

/// Sequences side by side, padded on the right (causal attention never sees the padding).
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[rows x columns]`, row-major: the inputs.
    pub inputs: Vec<u32>,
    /// Number of sequences.
    pub rows: usize,
    /// Length of the longest sequence, less one.
    pub columns: usize,
    /// Indices into `inputs` after which a token is to be predicted.
    pub places: Vec<u32>,
    /// The token that follows each of `places`.
    pub targets: Vec<u32>,
}

impl Batch {
    /// Puts `sequences` side by side. `prompts` says whether the prompt's tokens are targets too.
    pub fn new(sequences: &[&Sequence], prompts: bool) -> Self {
        let columns = sequences.iter().map(|s| s.tokens.len() - 1).max().unwrap_or(0);
        let rows = sequences.len();
        let mut batch = Self {
            inputs: vec![END_OF_TEXT; rows * columns],
            rows,
            columns,
            places: Vec::new(),
            targets: Vec::new(),
        };
        for (row, sequence) in sequences.iter().enumerate() {
            let first = if prompts { 1 } else { sequence.prompt };
            for (column, &token) in sequence.tokens[..sequence.tokens.len() - 1].iter().enumerate() {
                let place = row * columns + column;
                batch.inputs[place] = token;
                if column + 1 >= first {
                    batch.places.push(place as u32);
                    batch.targets.push(sequence.tokens[column + 1]);
                }
            }
        }
        batch
    }
}

/// Cuts one epoch into batches of at most `tokens` inputs, padding included. Sequences of similar length go together:
/// shuffled, sorted by length within pools of many batches, cut, and the batches shuffled again. A pure function of
/// its arguments, so that a resumed run continues with the batches it would have seen.
pub fn epoch(sequences: &[Sequence], tokens: usize, prompts: bool, rng: &mut Rng) -> Vec<Batch> {
    let mut order: Vec<&Sequence> = sequences.iter().filter(|s| s.tokens.len() > 1).collect();
    rng.shuffle(&mut order);
    let mut batches = Vec::new();
    for pool in order.chunks_mut(POOL) {
        pool.sort_by_key(|s| s.tokens.len());
        let mut begin = 0;
        for end in 1..=pool.len() {
            // Sorted, so the next one would be the longest and set the width of all.
            let full = end == pool.len() || (end - begin + 1) * (pool[end].tokens.len() - 1) > tokens;
            if full {
                batches.push(Batch::new(&pool[begin..end], prompts));
                begin = end;
            }
        }
    }
    rng.shuffle(&mut batches);
    batches
}

/// Sequences that are sorted by length together.
const POOL: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(length: usize, prompt: usize) -> Sequence {
        Sequence {
            tokens: (0..length as u32).map(|t| t + 3).collect(),
            prompt,
        }
    }

    #[test]
    fn batch_pads_right_and_targets_follow_their_places() {
        let (long, short) = (sequence(6, 3), sequence(4, 2));
        let batch = Batch::new(&[&long, &short], false);
        assert_eq!((batch.rows, batch.columns), (2, 5));
        assert_eq!(batch.inputs, [3, 4, 5, 6, 7, 3, 4, 5, END_OF_TEXT, END_OF_TEXT]);
        assert_eq!(batch.places, [2, 3, 4, 6, 7]);
        assert_eq!(batch.targets, [6, 7, 8, 5, 6]);
        assert_eq!(
            Batch::new(&[&long, &short], true).targets,
            [4, 5, 6, 7, 8, 4, 5, 6]
        );
    }

    #[test]
    fn an_epoch_holds_every_target_once_within_the_size() {
        let sequences: Vec<_> = (0..1500).map(|i| sequence(2 + i % 60, 1)).collect();
        let batches = epoch(&sequences, 256, true, &mut Rng::new(1, 0));
        assert!(batches.iter().all(|b| b.rows * b.columns <= 256));
        let targets: usize = batches.iter().map(|b| b.targets.len()).sum();
        assert_eq!(
            targets,
            sequences.iter().map(|s| s.tokens.len() - 1).sum::<usize>()
        );
    }
}
