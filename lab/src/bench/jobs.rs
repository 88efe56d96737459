//! Answers to be measured, and the room that they take in a model.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use weir_codec::Query;
use weir_model::{PAGE, Predict, Token};

use crate::trace::{self, positions};

/// One answer to be coded.
pub(super) struct Job {
    pub(super) query: Query,
    pub(super) tokens: Vec<Token>,
}

/// Traces, how much of them, and how frames bring them.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Traces {
    /// What `weir-lab trace` wrote; may be given several times
    #[arg(long = "trace", value_name = "FILE", num_args = 1.., required = true)]
    paths: Vec<PathBuf>,
    /// Take only the first N tokens
    #[arg(long, value_name = "N")]
    limit_tokens: Option<usize>,
    /// Queries that are live at once
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u8).range(1..=128))]
    slots: u8,
    /// Tokens of a query in a frame
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) tokens_per_tick: u8,
}

impl Traces {
    pub(super) fn jobs(&self) -> Result<Vec<Job>> {
        jobs(read(&self.paths)?, self.limit_tokens)
    }

    /// Slots that these jobs fill.
    pub(super) fn slots(&self, jobs: &[Job]) -> usize {
        usize::from(self.slots).min(jobs.len())
    }
}

/// All lines of all traces.
pub(super) fn read(paths: &[impl AsRef<Path>]) -> Result<Vec<trace::Line>> {
    let mut lines = Vec::new();
    for path in paths {
        lines.extend(trace::read(path.as_ref())?);
    }
    Ok(lines)
}

/// The answers of traces, cut to the limit.
pub(super) fn jobs(lines: Vec<trace::Line>, limit: Option<usize>) -> Result<Vec<Job>> {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut jobs = Vec::new();
    for mut line in lines {
        line.tokens.truncate(left);
        if line.tokens.is_empty() {
            continue;
        }
        left -= line.tokens.len();
        let query = line.query().with_context(|| format!("trace line {}", line.id))?;
        jobs.push(Job {
            query,
            tokens: line.tokens,
        });
    }
    ensure!(
        !jobs.is_empty(),
        "there is nothing to measure: the trace has no tokens"
    );
    Ok(jobs)
}

/// Positions of a pool for the largest `slots` answers, and of the largest answer.
pub(super) fn sizes(jobs: &[Job], slots: usize) -> (usize, usize) {
    let mut sizes: Vec<usize> = jobs
        .iter()
        .map(|job| positions(&job.query).next_multiple_of(PAGE))
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    (
        sizes.iter().take(slots).sum(),
        sizes.first().copied().unwrap_or(0),
    )
}

/// Refuses answers that a model cannot read.
pub(super) fn check(jobs: &[Job], model: &dyn Predict, name: &str) -> Result<()> {
    let (vocab, context) = (model.vocab(), model.max_context());
    for job in jobs {
        let queried = job.query.check(vocab, context);
        queried.with_context(|| format!("this trace does not fit the model {name}"))?;
        let foreign = job.tokens.iter().find(|token| **token as usize >= vocab);
        if let Some(token) = foreign {
            anyhow::bail!(
                "this trace has token {token}, and the model {name} only {vocab}: it was made with another vocabulary"
            );
        }
    }
    Ok(())
}

pub(super) fn tokens(jobs: &[Job]) -> usize {
    jobs.iter().map(|job| job.tokens.len()).sum()
}
