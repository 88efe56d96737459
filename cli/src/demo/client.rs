//! The user's side: HTTP requests to outer, one thread per live query.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use ureq::Agent;
use weir_model::Token;

use super::sse::{self, Usage};

/// What a worker tells the screen.
pub(super) enum News {
    Begun,
    Text(usize, String),
    Tokens(usize, Vec<Token>),
    Done(usize, Usage),
    Failed(usize, anyhow::Error),
}

/// What is asked of each prompt.
pub(super) struct Wish {
    pub(super) temperature: f32,
    pub(super) max_tokens: u32,
}

/// Asks the prompts of `queue` one after the other until none is left.
pub(super) fn work(api: &Api, wish: &Wish, queue: &Mutex<VecDeque<(usize, &str)>>, news: &Sender<News>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((index, prompt)) = next else { return };
        // Once nobody listens, the demo is over.
        if news.send(News::Begun).is_err() {
            return;
        }
        let tell = |event| {
            let heard = match event {
                sse::Event::Text(text) => News::Text(index, text),
                sse::Event::Tokens(tokens) => News::Tokens(index, tokens),
            };
            // If nobody listens any more, the last message below finds out.
            let _ = news.send(heard);
        };
        let last = match api.stream(wish, prompt, tell) {
            Ok(usage) => News::Done(index, usage),
            Err(error) => News::Failed(index, error),
        };
        if news.send(last).is_err() {
            return;
        }
    }
}

/// Outer's two listeners.
#[derive(Clone)]
pub(super) struct Api {
    agent: Agent,
    base: String,
    metrics: String,
}

impl Api {
    pub(super) fn new(api: u16, metrics: u16) -> Self {
        // A status is judged here, together with the body that explains it.
        let agent = Agent::new_with_config(Agent::config_builder().http_status_as_error(false).build());
        let url = |port| format!("http://127.0.0.1:{port}");
        Self {
            agent,
            base: url(api),
            metrics: format!("{}/metrics", url(metrics)),
        }
    }

    /// Whether outer has a session with inner; the reason if not.
    pub(super) fn health(&self) -> Result<()> {
        let mut response = self.agent.get(format!("{}/healthz", self.base)).call()?;
        let body = response.body_mut().read_to_string()?;
        ensure!(response.status() == 200, "{}", body.trim());
        Ok(())
    }

    /// Outer's counters by name.
    pub(super) fn metrics(&self) -> Result<Counters> {
        let mut response = self
            .agent
            .get(&self.metrics)
            .call()
            .context("cannot read outer's metrics")?;
        Ok(Counters(response.body_mut().read_to_string()?))
    }

    fn stream(&self, wish: &Wish, prompt: &str, tell: impl FnMut(sse::Event)) -> Result<Usage> {
        let body = json!({
            "model": MODEL,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": wish.temperature,
            "max_tokens": wish.max_tokens,
            "stream": true,
            "stream_options": {"include_usage": true},
            "return_token_ids": true,
        });
        let request = self.agent.post(format!("{}/v1/chat/completions", self.base));
        let request = request.header("Content-Type", "application/json");
        let mut response = request
            .send(body.to_string().as_bytes())
            .context("no answer from outer")?;
        if response.status() != 200 {
            let status = response.status();
            let reason = response.body_mut().read_to_string().unwrap_or_default();
            anyhow::bail!("outer answered {status}: {}", reason.trim());
        }
        let usage = sse::read(response.body_mut().as_reader(), tell)?;
        usage.context("outer did not say what the answer cost")
    }
}

/// A scrape of Prometheus' text format.
pub(super) struct Counters(String);

impl Counters {
    /// The value of `weir_outer_NAME`.
    pub(super) fn get(&self, name: &str) -> Result<f64> {
        let find = |line: &str| {
            line.strip_prefix("weir_outer_")?
                .strip_prefix(name)?
                .strip_prefix(' ')?
                .parse()
                .ok()
        };
        self.0
            .lines()
            .find_map(find)
            .with_context(|| format!("outer's metrics have no weir_outer_{name}"))
    }
}

/// The name under which the demo's outer serves its model.
pub(super) const MODEL: &str = "weir";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let counters =
            Counters("# HELP\nweir_outer_tokens_total 10\nweir_outer_tokens 3\nweir_outer_x 2.5\n".into());
        assert_eq!(counters.get("tokens").unwrap(), 3.0);
        assert_eq!(counters.get("tokens_total").unwrap(), 10.0);
        assert!(counters.get("y").is_err());
    }
}
