//! What a run of the demo came to: counted at outer, checked against inner's record.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use weir_model::{Token, Tokenizer};

use super::client::{Counters, MODEL};
use super::sse::Usage;
use weir_setup::tool::{events, table};

/// One answer as the user got it.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) tokens: Vec<Token>,
    /// There once the answer is complete.
    pub(super) usage: Option<Usage>,
}

/// The numbers of `--json`; those of the table are made from the same run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    answers: usize,
    tokens: u64,
    /// Bytes of code that were really written.
    coded_bits_per_token: f64,
    /// The code length that the prediction alone would take.
    model_code_bits_per_token: f64,
    plain_bits_per_token: f64,
    frame_bits_per_token: f64,
    link_bits_per_token: f64,
    sse_bits_per_token: f64,
    text_bits_per_token: f64,
    /// Bytes of all datagrams that came in at outer's socket, without lower headers.
    datagram_bytes: u64,
    pub(super) exact: bool,
    #[serde(skip)]
    differences: Vec<String>,
}

impl Report {
    /// Compares every answer with the record and weighs what was sent.
    pub(super) fn new(
        answers: &[Answer],
        counters: &Counters,
        record: &Path,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        let recorded = read(record)?;
        let (mut tokens, mut differences) = (0u64, Vec::new());
        let (mut sse, mut text, mut plain, mut coded) = (0, 0, 0.0, 0.0);
        for answer in answers {
            let usage = answer.usage.as_ref().context("an answer has no usage")?;
            let seed = &usage.weir.seed;
            tokens += answer.tokens.len() as u64;
            plain += usage.weir.plain_bits;
            coded += usage.weir.coded_bits;
            text += answer.text.len() as u64;
            let Some(said) = recorded.get(seed) else {
                differences.push(format!("no answer with seed {seed} is in inner's record"));
                continue;
            };
            sse += events::weight(MODEL, said.iter().map(|&token| tokenizer.token_bytes(token)));
            if let Some(difference) = difference(answer, usage, said, tokenizer) {
                differences.push(format!("seed {seed}: {difference}"));
            }
        }
        ensure!(tokens > 0, "the answers have no tokens");
        let per_token = |bits: f64| (bits / tokens as f64 * 1e4).round() / 1e4;
        let of_bytes = |bytes: u64| per_token(8.0 * bytes as f64);
        let counted = counters.get("tokens_total")?;
        if counted != tokens as f64 {
            differences.push(format!(
                "outer decoded {counted} tokens and answered with {tokens}"
            ));
        }
        let frame_bits = counters.get("frame_bits_total")?;
        Ok(Self {
            answers: answers.len(),
            tokens,
            coded_bits_per_token: per_token(frame_bits - FRAME_OVERHEAD_BITS * counters.get("frames_total")?),
            model_code_bits_per_token: per_token(coded),
            plain_bits_per_token: per_token(plain),
            frame_bits_per_token: per_token(frame_bits),
            link_bits_per_token: per_token(counters.get("link_bits_total")?),
            sse_bits_per_token: of_bytes(sse),
            text_bits_per_token: of_bytes(text),
            datagram_bytes: counters.get("bytes_received_total")? as u64,
            exact: differences.is_empty(),
            differences,
        })
    }

    /// The first way in which the two ends differ.
    pub(super) fn difference(&self) -> &str {
        self.differences.first().map_or("", String::as_str)
    }

    pub(super) fn print(&self) {
        let fewer = |bits: f64| {
            let times = self.sse_bits_per_token / bits;
            if times < 10.0 {
                format!("{times:.1} x")
            } else {
                format!("{times:.0} x")
            }
        };
        let row = |name: &str, bits: f64| vec![name.to_owned(), format!("{bits:.3}"), fewer(bits)];
        println!();
        table::print(&[
            vec![
                format!("{} answers, {} tokens", self.answers, self.tokens),
                "bits/token".into(),
                "fewer".into(),
            ],
            vec![],
            row(
                "text as server-sent events, one per token",
                self.sse_bits_per_token,
            ),
            row("text, UTF-8", self.text_bits_per_token),
            row(
                "plain arithmetic coding, weak model alone",
                self.plain_bits_per_token,
            ),
            vec![],
            row("Weir: code", self.coded_bits_per_token),
            row("Weir: frames (code, batch id, check)", self.frame_bits_per_token),
            row("Weir: on the link, all headers", self.link_bits_per_token),
        ]);
        let exact = if self.exact {
            "equal inner's own record, token by token"
        } else {
            "DIFFER from inner's record"
        };
        println!("\nThe answers that outer streamed {exact}.");
    }
}

/// How an answer differs from what inner says it sent.
fn difference(answer: &Answer, usage: &Usage, said: &[Token], tokenizer: &Tokenizer) -> Option<String> {
    if answer.tokens != said || usage.completion_tokens != said.len() as u64 {
        return Some(format!(
            "outer streamed {} tokens and counts {}, inner said {}, and they are not the same",
            answer.tokens.len(),
            usage.completion_tokens,
            said.len()
        ));
    }
    let text = tokenizer.decode(said);
    // A stop at max_tokens may leave half a character, which outer can only stream as a replacement.
    (String::from_utf8_lossy(&text) != answer.text)
        .then(|| "the text is not that of inner's tokens".to_owned())
}

/// Inner's record by seed.
fn read(path: &Path) -> Result<HashMap<String, Vec<Token>>> {
    let text = fs::read_to_string(path).context("inner wrote no record")?;
    let line = |line| serde_json::from_str(line).map(|line: Line| (line.seed, line.tokens));
    text.lines()
        .map(line)
        .collect::<Result<_, _>>()
        .context("inner's record cannot be read")
}

#[derive(Deserialize)]
struct Line {
    seed: String,
    tokens: Vec<Token>,
}

/// Batch id of one byte and check of four: outer's and inner's defaults.
const FRAME_OVERHEAD_BITS: f64 = 8.0 * (1.0 + 4.0);
