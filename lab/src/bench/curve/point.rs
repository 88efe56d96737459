//! One point: prompts answered, and the answers coded.

use std::path::Path;
use std::sync::mpsc::channel;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use weir_codec::{MAX_SLOTS, Query, Sampling, Settings, Vocabulary, agreement};
use weir_inner::strong::Watch;
use weir_model::{Model, Options, Token};
use weir_wire::Parameters;

use super::loss::Loss;
use crate::bench::codec::encoder::Encoding;
use crate::bench::jobs::{self, Job};
use crate::trace::engine::{answers, exact};
use weir_setup::tool::{files, progress};

/// Both models, as weights; `options` have room for all prompts at once.
pub(super) struct Bench {
    pub(super) strong: Model,
    pub(super) weak: Model,
    pub(super) options: Options,
    pub(super) vocabulary: Vocabulary,
}

/// What was measured, answer by answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    /// Of models and queries: equal keys, equal answers.
    pub(super) key: String,
    /// Of the codec: with another one the answers are coded anew.
    pub(super) codec: String,
    pub(super) temperature: f32,
    pub(super) tau: f32,
    /// Bits of all frames' codes, tails and framing included.
    pub(super) frame_bits: u64,
    pub(super) answers: Vec<Answer>,
}

/// One answer and its sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) tokens: Vec<Token>,
    pub(super) coded_bits: f64,
    pub(super) plain_bits: f64,
    /// Nats lost under the strong model, and divergence from it ([`Loss`]).
    pub(super) nats: f64,
    pub(super) divergence: f64,
}

impl Point {
    /// The point in a file, if there is one.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let point = serde_json::from_slice(&text);
        point
            .map(Some)
            .with_context(|| format!("{}: not a point of this bench; remove it", path.display()))
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        files::write(path, &serde_json::to_vec(self)?)
    }
}

impl Bench {
    /// What the answers depend on.
    pub(super) fn key(&self, queries: &[Query]) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.strong.hash()).update(&self.weak.hash());
        for query in queries {
            let Query {
                seed,
                sampling,
                max_tokens,
                stop: _,
                prompt,
            } = query;
            let Sampling {
                temperature,
                top_p,
                top_k,
                tau,
            } = sampling;
            hasher.update(seed);
            for float in [temperature, top_p, tau] {
                hasher.update(&float.to_bits().to_be_bytes());
            }
            for number in [*top_k, *max_tokens, prompt.len() as u32] {
                hasher.update(&number.to_be_bytes());
            }
            prompt.iter().for_each(|token| {
                hasher.update(&token.to_be_bytes());
            });
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Answers the queries, side by side; the answers are still to be coded.
    pub(super) fn answer(&self, key: String, queries: &[Query], sampling: &Sampling) -> Result<Point> {
        let Sampling { temperature, tau, .. } = *sampling;
        let total = queries.iter().map(|query| u64::from(query.max_tokens)).sum();
        let bar = progress::bar(total, &format!("T = {temperature}, tau = {tau}"), "tokens");
        let (tell, losses) = channel();
        let (watched, heard) = (*sampling, bar.clone());
        let watch: Watch = Box::new(move |choice| {
            // Nobody hears of it only where the whole point has failed.
            let _ = tell.send((choice.query, Loss::of(choice, &watched)));
            heard.inc(1);
        });
        let (strong, weak) = (self.strong.twin(&self.options)?, self.weak.twin(&self.options)?);
        let vocab = self.vocabulary.bytes.len();
        let options = &self.options;
        let engine = exact(
            strong,
            Some(weak),
            vocab,
            options.kv_tokens,
            options.kernel,
            Some(watch),
        );
        let said = answers(engine, self.vocabulary.clone(), queries, queries.len(), |_| ())?;
        bar.finish_and_clear();
        let answer = |tokens| Answer {
            tokens,
            ..Answer::default()
        };
        let mut sums: Vec<Answer> = said.into_iter().map(answer).collect();
        for (query, loss) in losses {
            let sums = &mut sums[query.0 as usize];
            sums.nats += loss.nats;
            sums.divergence += loss.divergence;
        }
        Ok(Point {
            key,
            codec: String::new(),
            temperature,
            tau,
            frame_bits: 0,
            answers: sums,
        })
    }

    /// Codes the answers in frames, unless this codec has done so before; gives whether it had to.
    pub(super) fn code(&self, queries: &[Query], point: &mut Point) -> Result<bool> {
        let codec = blake3::Hash::from(agreement(&SETTINGS)).to_hex().to_string();
        if point.codec == codec {
            return Ok(false);
        }
        let jobs: Vec<Job> = queries
            .iter()
            .zip(&point.answers)
            .map(|(query, answer)| Job {
                query: query.clone(),
                tokens: answer.tokens.clone(),
            })
            .collect();
        let what = format!("T = {}, tau = {}: coding", point.temperature, point.tau);
        let bar = progress::bar(jobs::tokens(&jobs) as u64, &what, "tokens");
        let encoding = Encoding {
            slots: jobs.len().min(MAX_SLOTS),
            parameters: Parameters {
                tokens_per_tick: SETTINGS.full.into(),
                ..Parameters::default()
            },
            kernel: self.options.kernel,
        };
        let weak = self.weak.twin(&self.options)?;
        let totals = encoding.run(weak, self.vocabulary.clone(), &jobs, None, &bar)?;
        point.codec = codec;
        point.frame_bits = 8 * totals.code_bytes;
        for (index, answer) in point.answers.iter_mut().enumerate() {
            (_, answer.plain_bits, answer.coded_bits) = totals.paired.of(index);
        }
        bar.finish_and_clear();
        Ok(true)
    }
}

/// As the servers have it by default.
const SETTINGS: Settings = Settings {
    full: 10,
    retokenized: false,
};
