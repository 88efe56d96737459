//! From a JSON body to what is asked: the one place that knows OpenAI's request fields.

use serde_json::Value;
use sha2::{Digest, Sha256};
use weir_codec::{Sampling, Seed};
use weir_model::Message;
use weir_wire::message::{STOP_BYTES_MAX, STOPS_MAX};
use weir_wire::{Role, Source, Turn};

use super::fields::{Fields, kind, wrong};
use super::problem::Problem;

/// A request, checked as far as that goes without tokenizer and limits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) model: String,
    pub(crate) prompt: Prompt,
    /// `None`: as many as the configuration says.
    pub(crate) max_tokens: Option<u32>,
    /// But for `tau`.
    pub(crate) sampling: Sampling,
    /// How far the answer must keep to the strong model; `None`: as the configuration says.
    pub(crate) tau: Option<f32>,
    pub(crate) stop: Vec<Vec<u8>>,
    /// `None`: to be drawn.
    pub(crate) seed: Option<Seed>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// vLLM's field of this name: the answer's tokens beside its text.
    pub(crate) return_token_ids: bool,
}

/// What the model is to continue.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Prompt {
    /// `/v1/chat/completions`: laid out by the model's chat template.
    Chat(Vec<Message>),
    /// `/v1/completions`: as it is.
    Text(String),
}

impl Prompt {
    /// Length of its text.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Chat(messages) => messages.iter().map(|message| message.content.len()).sum(),
            Self::Text(text) => text.len(),
        }
    }

    /// As inner is told of it.
    pub(crate) fn into_source(self) -> Source {
        let turn = |said: Message| Turn {
            // [`message`] lets no other role pass.
            role: match said.role.as_str() {
                "system" => Role::System,
                "assistant" => Role::Assistant,
                _ => Role::User,
            },
            content: said.content,
        };
        match self {
            Self::Chat(messages) => Source::Chat(messages.into_iter().map(turn).collect()),
            Self::Text(text) => Source::Text(text),
        }
    }
}

/// Which of the two endpoints was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Text,
}

impl Kind {
    /// The field that holds the prompt.
    pub(crate) fn prompt_field(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Text => "prompt",
        }
    }
}

impl Request {
    /// Reads a body. Fields that would change the answer and are not supported are refused by name; others that are
    /// unknown are ignored, as OpenAI's clients send many.
    pub(crate) fn parse(kind: Kind, body: &[u8]) -> Result<Self, Problem> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Problem::malformed(format!("the body is not valid JSON: {error}")))?;
        let fields = Fields::root(&value)?;
        refuse_unsupported(&fields, kind)?;
        let model = fields.text("model")?.to_owned();
        let prompt = match kind {
            Kind::Chat => Prompt::Chat(messages(&fields)?),
            Kind::Text => Prompt::Text(text_prompt(fields.require("prompt")?)?),
        };
        let max_tokens = match fields.integer("max_completion_tokens", 1, u64::from(u32::MAX))? {
            Some(tokens) => Some(tokens),
            None => fields.integer("max_tokens", 1, u64::from(u32::MAX))?,
        };
        let stream = fields.flag("stream")?;
        Ok(Self {
            model,
            prompt,
            // The range was checked above.
            max_tokens: max_tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX)),
            sampling: sampling(&fields)?,
            tau: tau(&fields)?,
            stop: stop(&fields)?,
            seed: seed(&fields)?,
            stream,
            include_usage: stream && include_usage(&fields)?,
            return_token_ids: fields.flag("return_token_ids")?,
        })
    }
}

/// Every field that asks for something this server does not do, unless it asks for it to be off.
fn refuse_unsupported(fields: &Fields<'_>, kind: Kind) -> Result<(), Problem> {
    let common = [
        "n",
        "logit_bias",
        "presence_penalty",
        "frequency_penalty",
        "logprobs",
    ];
    let chat = [
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "response_format",
        "modalities",
        "audio",
        "top_logprobs",
        "prediction",
        "web_search_options",
    ];
    let text = ["best_of", "echo", "suffix"];
    let own: &[&str] = if kind == Kind::Chat { &chat } else { &text };
    for &field in common.iter().chain(own) {
        let Some(value) = fields.get(field) else { continue };
        if !is_off(field, value) {
            let message = match field {
                "n" | "best_of" => format!("'{field}' must be 1: one answer per request"),
                _ => format!("'{field}' is not supported by this server"),
            };
            return Err(Problem::field(field, message));
        }
    }
    Ok(())
}

/// Whether a value of an unsupported field asks for nothing.
fn is_off(field: &str, value: &Value) -> bool {
    match (field, value) {
        ("n" | "best_of", _) => value.as_u64() == Some(1),
        ("tool_choice" | "function_call", Value::String(choice)) => choice == "none",
        ("response_format", Value::Object(format)) => {
            format.get("type").and_then(Value::as_str) == Some("text")
        }
        ("modalities", Value::Array(items)) => items.iter().all(|item| item.as_str() == Some("text")),
        // `logprobs: 0` of the completions endpoint still asks for the log-probability of the chosen token.
        ("logprobs", Value::Number(_)) => false,
        (_, Value::Bool(flag)) => !flag,
        (_, Value::Number(number)) => number.as_f64() == Some(0.0),
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Array(items)) => items.is_empty(),
        (_, Value::Object(items)) => items.is_empty(),
        (_, Value::Null) => true,
    }
}

fn messages(fields: &Fields<'_>) -> Result<Vec<Message>, Problem> {
    let value = fields.require("messages")?;
    let items = value
        .as_array()
        .ok_or_else(|| wrong("messages", "an array", value))?;
    if items.is_empty() {
        return Err(Problem::field(
            "messages",
            "'messages' is empty: there is nothing to answer",
        ));
    }
    items
        .iter()
        .enumerate()
        .map(|(index, item)| message(item, format!("messages[{index}]")))
        .collect()
}

fn message(value: &Value, path: String) -> Result<Message, Problem> {
    let fields = Fields::at(value, path)?;
    // The role is text in the template, so only known ones pass.
    let role = match fields.text("role")? {
        "system" | "developer" => "system",
        "user" => "user",
        "assistant" => "assistant",
        other => {
            let name = fields.name("role");
            let message = format!("'{name}' must be system, developer, user or assistant, not '{other:.40}'");
            return Err(Problem::field(name, message));
        }
    };
    for field in ["tool_calls", "function_call", "tool_call_id", "audio"] {
        if let Some(value) = fields.get(field)
            && !is_off(field, value)
        {
            let name = fields.name(field);
            return Err(Problem::field(
                &name,
                format!("'{name}' is not supported by this server"),
            ));
        }
    }
    let content = content(fields.require("content")?, &fields.name("content"))?;
    Ok(Message {
        role: role.to_owned(),
        content,
    })
}

/// A string, or text parts to be joined.
fn content(value: &Value, name: &str) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let mut text = String::new();
            for (index, part) in parts.iter().enumerate() {
                let part = Fields::at(part, format!("{name}[{index}]"))?;
                let kind = part.text("type")?;
                if kind != "text" {
                    let field = part.name("type");
                    let message = format!("'{field}' must be \"text\", not '{kind:.40}'");
                    return Err(Problem::field(field, message));
                }
                text.push_str(part.text("text")?);
            }
            Ok(text)
        }
        other => Err(wrong(name, "a string or an array of text parts", other)),
    }
}

/// A string, or an array of one.
fn text_prompt(value: &Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(items) => match items.as_slice() {
            [Value::String(text)] => Ok(text.clone()),
            // Token ids could name special tokens, which no user may send.
            [Value::Number(_) | Value::Array(_), ..] => Err(Problem::field(
                "prompt",
                "'prompt' must be text: token ids are not accepted",
            )),
            [_] => Err(Problem::field(
                "prompt",
                format!("'prompt[0]' must be a string, not {}", kind(&items[0])),
            )),
            _ => Err(Problem::field(
                "prompt",
                format!("'prompt' must be one string, not {}", items.len()),
            )),
        },
        other => Err(wrong("prompt", "a string or an array of one string", other)),
    }
}

fn sampling(fields: &Fields<'_>) -> Result<Sampling, Problem> {
    // vLLM's clients write -1 for "off".
    let top_k = match fields.get("top_k").and_then(Value::as_i64) {
        Some(-1) => 0,
        _ => fields.integer("top_k", 0, u64::from(u32::MAX))?.unwrap_or(0),
    };
    let sampling = Sampling {
        // A zero has two signs, and the wire takes only one.
        temperature: fields.number("temperature", 0.0, 2.0)?.unwrap_or(1.0) as f32 + 0.0,
        top_p: fields.number("top_p", 0.0, 1.0)?.unwrap_or(1.0) as f32,
        top_k: u32::try_from(top_k).unwrap_or(u32::MAX),
        tau: 1.0,
    };
    match sampling.check() {
        Ok(()) => Ok(sampling),
        Err(weir_codec::Error::Sampling(field)) => {
            let message = format!("'{field}' is too close to 0");
            Err(Problem::field(field, message))
        }
        Err(error) => Err(Problem::malformed(error.to_string())),
    }
}

/// Our own fields are in an object of their own: what is unknown there is a mistake.
fn tau(fields: &Fields<'_>) -> Result<Option<f32>, Problem> {
    let Some(own) = fields.get("weir") else {
        return Ok(None);
    };
    let own = Fields::at(own, "weir".to_owned())?;
    own.only(&["tau"])?;
    let tau = own.number("tau", f64::from(Sampling::MIN_TAU), 1.0)?;
    Ok(tau.map(|tau| tau as f32))
}

fn stop(fields: &Fields<'_>) -> Result<Vec<Vec<u8>>, Problem> {
    let Some(value) = fields.get("stop") else {
        return Ok(Vec::new());
    };
    let items = match value {
        Value::String(_) => std::slice::from_ref(value),
        Value::Array(items) if items.len() <= STOPS_MAX => items.as_slice(),
        Value::Array(items) => {
            let message = format!("'stop' takes up to {STOPS_MAX} strings, not {}", items.len());
            return Err(Problem::field("stop", message));
        }
        other => return Err(wrong("stop", "a string or an array of strings", other)),
    };
    let mut stops = Vec::with_capacity(items.len());
    for item in items {
        let text = item
            .as_str()
            .ok_or_else(|| wrong("stop", "a string or an array of strings", item))?;
        if text.is_empty() || text.len() > STOP_BYTES_MAX {
            let (most, len) = (STOP_BYTES_MAX, text.len());
            let message = format!("a 'stop' string must have 1 to {most} bytes, not {len}");
            return Err(Problem::field("stop", message));
        }
        stops.push(text.as_bytes().to_vec());
    }
    Ok(stops)
}

/// An integer seed is spread over 128 bits: the first half of SHA-256 of `"weir seed "` and its decimal digits.
fn seed(fields: &Fields<'_>) -> Result<Option<Seed>, Problem> {
    let Some(value) = fields.get("seed") else {
        return Ok(None);
    };
    if !(value.is_i64() || value.is_u64()) {
        return Err(wrong("seed", "an integer of 64 bits", value));
    }
    let digest: [u8; 32] = Sha256::digest(format!("weir seed {value}")).into();
    Ok(digest.first_chunk::<16>().copied())
}

fn include_usage(fields: &Fields<'_>) -> Result<bool, Problem> {
    match fields.get("stream_options") {
        None => Ok(false),
        Some(options) => Fields::at(options, "stream_options".to_owned())?.flag("include_usage"),
    }
}

#[cfg(test)]
mod tests;
