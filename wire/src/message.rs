//! Inward messages: what outer asks of inner. SPEC 6.5.
//!
//! Plain structs with wire fields only. Parsing is total, canonical (`emit(parse(x)) == x`) and bounded by [`Caps`].

use alloc::string::String;
use alloc::vec::Vec;

use crate::cursor::{Reader, put_varint, varint_len};
use crate::error::Malformed;

/// Highest slot number: a batch holds up to 128 live queries.
pub const SLOT_MAX: u8 = 127;
/// Most stop strings of a query.
pub const STOPS_MAX: usize = 4;
/// Longest stop string in bytes.
pub const STOP_BYTES_MAX: usize = 64;
/// Most prompt tokens that any configuration may allow.
pub const PROMPT_MAX: usize = 131_072;
/// Temperatures that a query may have beside 0: any sampler can divide by them (SPEC 4.5).
pub const TEMPERATURES: core::ops::RangeInclusive<f32> = 1.0 / 1024.0..=16.0;
/// Least share of the strong model's say that a query may leave it.
pub const TAU_MIN: f32 = 1.0 / 1024.0;
/// Most bytes of text that a prompt is said to be made from.
pub const SOURCE_BYTES_MAX: usize = 1 << 20;
/// Most turns of a conversation.
pub const TURNS_MAX: usize = 4096;
/// Longest message in bytes: a query with the longest prompt of the widest tokens, the longest source, and room.
pub const MESSAGE_BYTES_MAX: usize = (1 << 21) - 1;

/// A message of one batch; outer numbers it, inner applies messages in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// Open a slot.
    Query(Query),
    /// End a slot, wherever its answer stands. A slot that has ended already is left alone.
    Cancel {
        /// The slot, at most [`SLOT_MAX`].
        slot: u8,
    },
}

/// A query: everything that fixes its answer, given the strong model.
#[derive(Clone, PartialEq, Debug)]
pub struct Query {
    /// The slot to open, at most [`SLOT_MAX`]; outer chooses a free one.
    pub slot: u8,
    /// Seed of the sampler's public randomness.
    pub seed: [u8; 16],
    /// Sampling temperature: +0, which is greedy, or in [`TEMPERATURES`].
    pub temperature: f32,
    /// Nucleus: above 0, at most 1 (off).
    pub top_p: f32,
    /// Most likely tokens kept; 0 is off.
    pub top_k: u32,
    /// How far the answer must keep to the strong model: [`TAU_MIN`]..=1; 1 is lossless.
    pub tau: f32,
    /// Most answer tokens, at least 1.
    pub max_tokens: u32,
    /// Strings that end the answer: at most [`STOPS_MAX`], each 1..=[`STOP_BYTES_MAX`] bytes.
    pub stop: Vec<Vec<u8>>,
    /// Prompt tokens: at least one, at most the configured cap.
    pub prompt: Vec<u32>,
    /// What the prompt was made from.
    pub source: Source,
}

/// What a prompt was made from: a strong model whose tokens are others makes its own prompt from it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Source {
    /// Not said: the strong model reads the prompt's tokens.
    #[default]
    Tokens,
    /// A text to be continued as it is.
    Text(String),
    /// A conversation, for a chat template: 1..=[`TURNS_MAX`] turns.
    Chat(Vec<Turn>),
}

/// What one side of a conversation said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Who.
    pub role: Role,
    /// Any text.
    pub content: String,
}

/// A side of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The operator, before it begins.
    System = 0,
    /// The asker.
    User = 1,
    /// The model, earlier.
    Assistant = 2,
}

/// Bounds that a configuration sets on messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Most prompt tokens of a query, at most [`PROMPT_MAX`].
    pub prompt_tokens: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            prompt_tokens: PROMPT_MAX,
        }
    }
}

impl Message {
    /// Reads one whole message.
    pub fn parse(bytes: &[u8], caps: Caps) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            kind::QUERY => Self::Query(Query::parse(&mut reader, caps)?),
            kind::CANCEL => Self::Cancel { slot: reader.u8()? },
            _ => return Err(Malformed),
        };
        reader.finish()?;
        message.check(caps).map_err(|_| Malformed)?;
        Ok(message)
    }

    /// Appends the message; `check` has passed.
    pub fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::Query(query) => {
                out.push(kind::QUERY);
                query.emit(out);
            }
            Self::Cancel { slot } => out.extend_from_slice(&[kind::CANCEL, *slot]),
        }
    }

    /// Bytes that `emit` appends.
    pub fn buffer_len(&self) -> usize {
        match self {
            Self::Query(query) => 1 + query.buffer_len(),
            Self::Cancel { .. } => 2,
        }
    }

    /// The slot it concerns.
    pub const fn slot(&self) -> u8 {
        match self {
            Self::Query(query) => query.slot,
            Self::Cancel { slot } => *slot,
        }
    }

    /// Judges the fields; names the limit that is broken.
    pub fn check(&self, caps: Caps) -> Result<(), &'static str> {
        let query = match self {
            Self::Query(query) => query,
            Self::Cancel { slot } if *slot <= SLOT_MAX => return Ok(()),
            Self::Cancel { .. } => return Err("slot above 127"),
        };
        let temperature_good = query.temperature.to_bits() == 0 || TEMPERATURES.contains(&query.temperature);
        let top_p_good = query.top_p > 0.0 && query.top_p <= 1.0;
        let tau_good = (TAU_MIN..=1.0).contains(&query.tau);
        let stops_good = query
            .stop
            .iter()
            .all(|stop| (1..=STOP_BYTES_MAX).contains(&stop.len()));
        let judged = [
            (query.slot <= SLOT_MAX, "slot above 127"),
            (
                temperature_good,
                "temperature neither 0 nor in 1/1024..=16, or minus zero",
            ),
            (top_p_good, "top_p not above 0 and at most 1"),
            (tau_good, "tau below 1/1024 or above 1"),
            (query.max_tokens > 0, "max_tokens is 0"),
            (query.stop.len() <= STOPS_MAX, "more than 4 stop strings"),
            (stops_good, "stop string empty or longer than 64 bytes"),
            (!query.prompt.is_empty(), "empty prompt"),
            (
                query.prompt.len() <= caps.prompt_tokens.min(PROMPT_MAX),
                "prompt over the cap",
            ),
            (
                query.source.bytes() <= SOURCE_BYTES_MAX,
                "source of more than 2^20 bytes",
            ),
            (
                query.source.is_conversation(),
                "conversation of 0 or more than 4096 turns",
            ),
        ];
        judged
            .into_iter()
            .find(|(good, _)| !good)
            .map_or(Ok(()), |(_, limit)| Err(limit))
    }
}

impl Query {
    /// What it takes to hold, and about to read: its tokens, and one for every four bytes of its source.
    pub fn weight(&self) -> usize {
        self.prompt.len() + self.source.bytes() / 4
    }

    fn parse(reader: &mut Reader<'_>, caps: Caps) -> Result<Self, Malformed> {
        let slot = reader.u8()?;
        let seed = reader.array()?;
        let temperature = f32::from_bits(reader.u32()?);
        let top_p = f32::from_bits(reader.u32()?);
        let top_k = reader.u32()?;
        let tau = f32::from_bits(reader.u32()?);
        let max_tokens = reader.u32()?;
        let stops = usize::from(reader.u8()?);
        if stops > STOPS_MAX {
            return Err(Malformed);
        }
        let mut stop = Vec::with_capacity(stops);
        for _ in 0..stops {
            let len = usize::from(reader.u8()?);
            stop.push(reader.take(len)?.to_vec());
        }
        let len = reader.varint()? as usize;
        if len > caps.prompt_tokens.min(PROMPT_MAX) {
            return Err(Malformed);
        }
        // Grows with the bytes that are there, not with the length that is claimed.
        let mut prompt = Vec::new();
        for _ in 0..len {
            prompt.push(reader.varint32()?);
        }
        let source = Source::parse(reader)?;
        Ok(Self {
            slot,
            seed,
            temperature,
            top_p,
            top_k,
            tau,
            max_tokens,
            stop,
            prompt,
            source,
        })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.push(self.slot);
        out.extend_from_slice(&self.seed);
        out.extend_from_slice(&self.temperature.to_bits().to_be_bytes());
        out.extend_from_slice(&self.top_p.to_bits().to_be_bytes());
        out.extend_from_slice(&self.top_k.to_be_bytes());
        out.extend_from_slice(&self.tau.to_bits().to_be_bytes());
        out.extend_from_slice(&self.max_tokens.to_be_bytes());
        out.push(self.stop.len() as u8);
        for stop in &self.stop {
            out.push(stop.len() as u8);
            out.extend_from_slice(stop);
        }
        put_varint(out, self.prompt.len() as u64);
        for &token in &self.prompt {
            put_varint(out, u64::from(token));
        }
        self.source.emit(out);
    }

    fn buffer_len(&self) -> usize {
        let stops: usize = self.stop.iter().map(|stop| 1 + stop.len()).sum();
        let prompt: usize = self
            .prompt
            .iter()
            .map(|&token| varint_len(u64::from(token)))
            .sum();
        1 + 16 + 5 * 4 + 1 + stops + varint_len(self.prompt.len() as u64) + prompt + self.source.buffer_len()
    }
}

impl Source {
    /// Bytes of all its texts.
    fn bytes(&self) -> usize {
        match self {
            Self::Tokens => 0,
            Self::Text(text) => text.len(),
            Self::Chat(turns) => turns.iter().map(|turn| turn.content.len()).sum(),
        }
    }

    fn is_conversation(&self) -> bool {
        !matches!(self, Self::Chat(turns) if !(1..=TURNS_MAX).contains(&turns.len()))
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            form::TOKENS => Ok(Self::Tokens),
            form::TEXT => Ok(Self::Text(text(reader)?)),
            form::CHAT => {
                let len = reader.varint()?;
                if len > TURNS_MAX as u64 {
                    return Err(Malformed);
                }
                // Grows with the bytes that are there, not with the length that is claimed.
                let mut turns = Vec::new();
                for _ in 0..len {
                    let role = match reader.u8()? {
                        0 => Role::System,
                        1 => Role::User,
                        2 => Role::Assistant,
                        _ => return Err(Malformed),
                    };
                    turns.push(Turn {
                        role,
                        content: text(reader)?,
                    });
                }
                Ok(Self::Chat(turns))
            }
            _ => Err(Malformed),
        }
    }

    fn emit(&self, out: &mut Vec<u8>) {
        match self {
            Self::Tokens => out.push(form::TOKENS),
            Self::Text(text) => {
                out.push(form::TEXT);
                put_text(out, text);
            }
            Self::Chat(turns) => {
                out.push(form::CHAT);
                put_varint(out, turns.len() as u64);
                for turn in turns {
                    out.push(turn.role as u8);
                    put_text(out, &turn.content);
                }
            }
        }
    }

    fn buffer_len(&self) -> usize {
        let text_len = |text: &str| varint_len(text.len() as u64) + text.len();
        match self {
            Self::Tokens => 1,
            Self::Text(text) => 1 + text_len(text),
            Self::Chat(turns) => {
                let said = turns.iter().map(|turn| 1 + text_len(&turn.content));
                1 + varint_len(turns.len() as u64) + said.sum::<usize>()
            }
        }
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, Malformed> {
    let len = usize::try_from(reader.varint()?).map_err(|_| Malformed)?;
    let text = core::str::from_utf8(reader.take(len)?).map_err(|_| Malformed)?;
    Ok(String::from(text))
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

mod form {
    pub(super) const TOKENS: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const CHAT: u8 = 2;
}

mod kind {
    pub(super) const QUERY: u8 = 1;
    pub(super) const CANCEL: u8 = 2;
}

#[cfg(test)]
mod tests;
