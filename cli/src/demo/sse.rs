//! Server-sent events of an OpenAI-style stream: reading them.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use weir_model::Token;

/// What one event says.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    Text(String),
    Tokens(Vec<Token>),
}

/// What an answer cost, as outer says in its last event.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Usage {
    pub(super) completion_tokens: u64,
    pub(super) weir: Weir,
}

/// Outer's own part of `usage`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Weir {
    pub(super) seed: String,
    pub(super) coded_bits: f64,
    pub(super) plain_bits: f64,
}

/// Calls `event` for what each event says up to `[DONE]`; gives what the last one says of the cost.
pub(super) fn read(body: impl Read, mut event: impl FnMut(Event)) -> Result<Option<Usage>> {
    let mut usage = None;
    for line in BufReader::new(body).lines() {
        let line = line.context("the stream broke off")?;
        let Some(data) = line.strip_prefix("data:") else {
            continue;
        };
        let data = data.trim_start();
        if data == "[DONE]" {
            return Ok(usage);
        }
        let chunk: Chunk =
            serde_json::from_str(data).with_context(|| format!("not an event: {data:.200}"))?;
        if let Some(error) = chunk.error {
            bail!(
                "outer gave up on this answer: {}",
                error["message"].as_str().unwrap_or("no reason given")
            );
        }
        for choice in chunk.choices {
            if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
                event(Event::Text(text));
            }
            if let Some(tokens) = choice.token_ids {
                event(Event::Tokens(tokens));
            }
        }
        usage = chunk.usage.or(usage);
    }
    bail!("the stream ended without [DONE]")
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    token_ids: Option<Vec<Token>>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(body: &str) -> Result<(Vec<Event>, Option<Usage>)> {
        let mut events = Vec::new();
        let usage = read(body.as_bytes(), |event| events.push(event))?;
        Ok((events, usage))
    }

    #[test]
    fn text_and_usage_come_out_in_order() {
        let body = concat!(
            ": hello\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":null}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"one\"},\"token_ids\":[7,8]}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"completion_tokens\":3,\"weir\":",
            "{\"seed\":\"ab\",\"coded_bits\":1.5,\"plain_bits\":2}}}\n\n",
            "data: [DONE]\n\n",
        );
        let weir = Weir {
            seed: "ab".into(),
            coded_bits: 1.5,
            plain_bits: 2.0,
        };
        let usage = Usage {
            completion_tokens: 3,
            weir,
        };
        let said = vec![Event::Text("one".into()), Event::Tokens(vec![7, 8])];
        assert_eq!(events(body).unwrap(), (said, Some(usage)));
    }

    #[test]
    fn a_stream_that_breaks_off_or_reports_an_error_is_an_error() {
        assert!(
            events("data: {\"choices\":[]}\n\n")
                .unwrap_err()
                .to_string()
                .contains("[DONE]")
        );
        let error = events("data: {\"error\":{\"message\":\"inner is away\"}}\n\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("inner is away"), "{error}");
    }
}
