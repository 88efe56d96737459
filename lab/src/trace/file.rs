//! Trace files: one answer a line.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use weir_codec::{Query, Sampling, Seed};
use weir_model::Token;

use weir_setup::tool::files;

/// One answer and the query that it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) prompt_tokens: Vec<Token>,
    /// The end token included, where the answer has one.
    pub(crate) tokens: Vec<Token>,
    pub(crate) temperature: f32,
    pub(crate) top_p: f32,
    pub(crate) top_k: u32,
    /// Absent in traces of older versions, which are lossless.
    #[serde(default = "lossless")]
    pub(crate) tau: f32,
    /// 32 hexadecimal digits.
    pub(crate) seed: String,
}

impl Line {
    pub(crate) fn new(id: &str, query: Query, tokens: Vec<Token>) -> Self {
        let Sampling {
            temperature,
            top_p,
            top_k,
            tau,
        } = query.sampling;
        let seed = hex(&query.seed);
        Self {
            id: id.to_owned(),
            prompt_tokens: query.prompt,
            tokens,
            temperature,
            top_p,
            top_k,
            tau,
            seed,
        }
    }

    /// The query, with just enough room for the answer.
    pub(crate) fn query(&self) -> Result<Query> {
        let Self {
            temperature,
            top_p,
            top_k,
            tau,
            ..
        } = *self;
        let max_tokens = u32::try_from(self.tokens.len()).context("too many tokens")?;
        ensure!(max_tokens > 0, "the answer has no tokens");
        let sampling = Sampling {
            temperature,
            top_p,
            top_k,
            tau,
        };
        let prompt = self.prompt_tokens.clone();
        Ok(Query {
            seed: unhex(&self.seed)?,
            sampling,
            max_tokens,
            stop: Vec::new(),
            prompt,
        })
    }
}

fn lossless() -> f32 {
    Sampling::GREEDY.tau
}

/// Writes a whole trace.
pub(crate) fn write(path: &Path, lines: &[Line]) -> Result<()> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    files::write(path, &text)
}

/// Reads a whole trace.
pub(crate) fn read(path: &Path) -> Result<Vec<Line>> {
    let name = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the trace {name}"))?;
    let line = |(index, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| {
            format!(
                "{name}, line {}: not a line that `weir-lab trace` writes",
                index + 1
            )
        })
    };
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(line)
        .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Result<Seed> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(digits, "the seed '{text}' is not 32 hexadecimal digits");
    Ok(u128::from_str_radix(text, 16)?.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_survives_being_written() {
        let query = Query {
            seed: *b"0123456789abcdef",
            sampling: Sampling {
                temperature: 0.7,
                top_p: 0.9,
                top_k: 40,
                tau: 0.3,
            },
            max_tokens: 3,
            stop: Vec::new(),
            prompt: vec![1, 2],
        };
        let line = Line::new("a", query.clone(), vec![7, 8, 9]);
        let text = serde_json::to_string(&line).unwrap();
        let again: Line = serde_json::from_str(&text).unwrap();
        assert_eq!(again.query().unwrap(), query);
    }

    #[test]
    fn a_seed_is_32_digits() {
        for wrong in [
            "",
            "00",
            "+0000000000000000000000000000000",
            &"g".repeat(32),
            &"0".repeat(33),
        ] {
            assert!(unhex(wrong).is_err(), "{wrong}");
        }
        assert_eq!(unhex(&hex(&[0xab; 16])).unwrap(), [0xab; 16]);
    }
}
