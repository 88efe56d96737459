//! The record of answers: one JSON line per query that has ended, for audits and for the demo's check.
//!
//! It holds what inner said before anything was coded, so outer's text can be compared with it token by token.

use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use weir_codec::Seed;
use weir_model::Token;

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The query's seed, 32 hexadecimal digits; outer draws a fresh one per query, so it names the query.
    pub seed: String,
    /// What was coded, in order.
    pub tokens: Vec<Token>,
    /// What the strong model said, where its tokens are others than the weak one's: with its end token, and perhaps with
    /// more than was coded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strong: Vec<Token>,
    /// Why the answer is over: `end`, `length`, `stop`, `cancel`, `lost` (with the session), `refused` or `failed`.
    pub end: String,
}

impl Answer {
    /// The line for a query.
    pub fn new(seed: &Seed, tokens: Vec<Token>, strong: Vec<Token>, end: &str) -> Self {
        Self {
            seed: seed.iter().map(|byte| format!("{byte:02x}")).collect(),
            tokens,
            strong,
            end: end.to_owned(),
        }
    }
}

/// A file of [`Answer`]s, appended to and flushed at the end of each.
#[derive(Debug)]
pub struct Record {
    file: BufWriter<File>,
}

impl Record {
    /// Opens `path` for appending; makes it and its folder where they are missing.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(Self {
            file: BufWriter::new(OpenOptions::new().create(true).append(true).open(path)?),
        })
    }

    /// Writes one line.
    pub fn push(&mut self, answer: &Answer) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.file, answer)?;
        self.file.write_all(b"\n")?;
        self.file.flush()
    }
}
