//! The shapes of answers: whole, and as server-sent events.

use serde_json::{Value, json};

use weir_model::Token;

use super::request::Kind;
use crate::ask::{Finish, Usage};

/// What every part of one answer repeats.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    seed: String,
    shown: Shown,
}

/// What is told beside the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// The tokens.
    pub(crate) token_ids: bool,
    /// What they cost in bits.
    pub(crate) cost: bool,
    /// How far the answer had to keep to the strong model.
    pub(crate) tau: f32,
}

impl Reply {
    /// `nonce` makes the id; `seed` is the answer's in hex.
    pub(crate) fn new(
        kind: Kind,
        nonce: &str,
        created: u64,
        model: &str,
        seed: String,
        shown: Shown,
    ) -> Self {
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Text => "cmpl",
        };
        Self {
            kind,
            id: format!("{prefix}-{nonce}"),
            created,
            model: model.to_owned(),
            seed,
            shown,
        }
    }

    /// The seed in hex, by which this answer can be found in inner's record.
    pub(crate) fn seed(&self) -> &str {
        &self.seed
    }

    /// The answer of a request that does not stream.
    pub(crate) fn whole(&self, text: &str, tokens: &[Token], finish: Finish, usage: &Usage) -> Value {
        let mut choice = json!({ "index": 0, "finish_reason": finish.name(), "logprobs": null });
        if self.shown.token_ids {
            choice["token_ids"] = json!(tokens);
        }
        match self.kind {
            Kind::Chat => choice["message"] = json!({"role": "assistant", "content": text, "refusal": null}),
            Kind::Text => choice["text"] = json!(text),
        }
        let mut body = self.envelope(false, json!([choice]));
        body["usage"] = self.usage(usage);
        body
    }

    /// The first event of a stream, if the endpoint has one: a chat names the role.
    pub(crate) fn first(&self) -> Option<Value> {
        match self.kind {
            Kind::Chat => Some(self.part(json!({"role": "assistant", "content": ""}), None)),
            Kind::Text => None,
        }
    }

    /// A piece of text, with tokens where they are asked for; nothing if there is neither.
    pub(crate) fn piece(&self, text: &str, tokens: &[Token]) -> Option<Value> {
        if text.is_empty() && !self.shown.token_ids {
            return None;
        }
        let mut part = match self.kind {
            Kind::Chat => self.part(json!({"content": text}), None),
            Kind::Text => self.part(json!(text), None),
        };
        if self.shown.token_ids {
            part["choices"][0]["token_ids"] = json!(tokens);
        }
        Some(part)
    }

    /// The end of the text.
    pub(crate) fn last(&self, finish: Finish) -> Value {
        match self.kind {
            Kind::Chat => self.part(json!({}), Some(finish)),
            Kind::Text => self.part(json!(""), Some(finish)),
        }
    }

    /// What `stream_options.include_usage` asks for: an event without choices.
    pub(crate) fn closing(&self, usage: &Usage) -> Value {
        let mut body = self.envelope(true, json!([]));
        body["usage"] = self.usage(usage);
        body
    }

    fn part(&self, content: Value, finish: Option<Finish>) -> Value {
        let field = match self.kind {
            Kind::Chat => "delta",
            Kind::Text => "text",
        };
        let finish = finish.map(Finish::name);
        let mut choice = json!({ "index": 0, "finish_reason": finish, "logprobs": null });
        choice[field] = content;
        let mut body = self.envelope(true, json!([choice]));
        body["usage"] = Value::Null;
        body
    }

    fn envelope(&self, streaming: bool, choices: Value) -> Value {
        let object = match (self.kind, streaming) {
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Chat, false) => "chat.completion",
            (Kind::Text, _) => "text_completion",
        };
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": null, "choices": choices,
        })
    }

    fn usage(&self, usage: &Usage) -> Value {
        let per_token = |bits: f64| bits / f64::from(usage.completion_tokens.max(1));
        // As the shortest decimal, not as the binary64 next to it.
        let tau = self.shown.tau.to_string().parse().unwrap_or(1.0_f64);
        let mut weir = json!({"seed": self.seed, "tau": tau});
        if self.shown.cost {
            for (name, bits) in [
                ("coded_bits", usage.coded_bits),
                ("plain_bits", usage.plain_bits),
                ("frame_bits", usage.frame_bits),
                ("bits_per_token", per_token(usage.coded_bits)),
                ("frame_bits_per_token", per_token(usage.frame_bits)),
            ] {
                weir[name] = json!(rounded(bits));
            }
        }
        json!({
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": u64::from(usage.prompt_tokens) + u64::from(usage.completion_tokens),
            "weir": weir,
        })
    }
}

impl Finish {
    fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// To a thousandth of a bit: more digits would only look precise.
fn rounded(bits: f64) -> f64 {
    (bits * 1000.0).round() / 1000.0
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
