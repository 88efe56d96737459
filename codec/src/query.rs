//! What a slot is opened with, and what both ends must have agreed on before.

use std::sync::Arc;

use weir_exact::Token;

use crate::Error;

/// The 16 public bytes from which all randomness of one answer comes; drawn by outer.
pub type Seed = [u8; 16];

/// How a token is chosen: `logits / temperature`, then the `top_k` best, then the smallest set that holds `top_p` of what
/// is left, then Gumbel-max with the seeded noise. With `tau` below 1 the weak model has a say (SPEC 4.5).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampling {
    /// 0 is greedy decoding; at most [`Sampling::MAX_TEMPERATURE`].
    pub temperature: f32,
    /// In (0, 1]; 1 keeps every token.
    pub top_p: f32,
    /// 0 keeps every token.
    pub top_k: u32,
    /// 1 is lossless. Below, greedy: the weak model's best token stands while the strong model gives it at least `tau`
    /// times the probability of its own best; drawn: from `p^tau q^(1 - tau)`. At least [`Sampling::MIN_TAU`].
    pub tau: f32,
}

impl Sampling {
    /// The highest temperature that is taken.
    pub const MAX_TEMPERATURE: f32 = 16.0;

    /// The least `tau` that is taken: as good as the weak model's own answer.
    pub const MIN_TAU: f32 = 1.0 / 1024.0;

    /// The best token, no randomness.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        tau: 1.0,
    };

    /// All of the distribution at `temperature`.
    pub const fn at(temperature: f32) -> Self {
        Self {
            temperature,
            top_p: 1.0,
            top_k: 0,
            tau: 1.0,
        }
    }

    /// Whether the noise plays a part.
    pub fn is_seeded(&self) -> bool {
        self.temperature > 0.0
    }

    /// Whether the weak model has a say.
    pub fn is_lossy(&self) -> bool {
        self.tau < 1.0
    }

    /// Refuses what no sampler could mean.
    pub fn check(&self) -> Result<(), Error> {
        let temperature = self.temperature >= 0.0 && self.temperature <= Self::MAX_TEMPERATURE;
        // Below 2^-10 a difference of logits may leave the range of f32 once divided.
        let tiny = self.temperature > 0.0 && self.temperature < 1.0 / 1024.0;
        if !temperature || tiny {
            return Err(Error::Sampling("temperature"));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::Sampling("top_p"));
        }
        if !(Self::MIN_TAU..=1.0).contains(&self.tau) {
            return Err(Error::Sampling("tau"));
        }
        Ok(())
    }
}

/// One question as both ends see it.
#[derive(Clone, PartialEq, Debug)]
pub struct Query {
    /// Source of the noise.
    pub seed: Seed,
    /// The strong model's sampler.
    pub sampling: Sampling,
    /// The answer ends after this many tokens.
    pub max_tokens: u32,
    /// The answer ends when its bytes contain one of these; at most [`Query::MAX_STOPS`], none empty.
    pub stop: Vec<Vec<u8>>,
    /// The whole context, template included; not empty.
    pub prompt: Vec<Token>,
}

impl Query {
    /// Most stop strings of one query.
    pub const MAX_STOPS: usize = 8;
    /// Most bytes of one stop string.
    pub const MAX_STOP_LEN: usize = 256;

    /// Refuses a query that no slot can hold, given the model's sizes.
    pub fn check(&self, vocab: usize, max_context: usize) -> Result<(), Error> {
        self.sampling.check()?;
        if self.prompt.is_empty() || self.prompt.iter().any(|&t| t as usize >= vocab) {
            return Err(Error::Prompt);
        }
        if self.max_tokens == 0 {
            return Err(Error::Sampling("max_tokens"));
        }
        let stop = |s: &Vec<u8>| !s.is_empty() && s.len() <= Self::MAX_STOP_LEN;
        if self.stop.len() > Self::MAX_STOPS || !self.stop.iter().all(stop) {
            return Err(Error::Sampling("stop"));
        }
        // The last token of an answer is never fed, nor is a context's last one twice.
        let need = self.prompt.len() - 1 + self.max_tokens as usize;
        if need > max_context {
            return Err(Error::TooLong { need, max_context });
        }
        Ok(())
    }
}

/// What the codec needs to know of a tokenizer: where answers end.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// Bytes of every token, empty for special ones.
    pub bytes: Arc<[Box<[u8]>]>,
    /// Tokens that end an answer.
    pub end: Vec<Token>,
}

impl Vocabulary {
    /// Bytes of `token`; none for an id beyond the tokenizer's (models pad their vocabulary).
    pub fn token_bytes(&self, token: Token) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |b| b)
    }
}

/// What both ends of a batch must be configured alike with; hashed by [`crate::agreement`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Tokens that a live slot normally brings in a frame, 1..=[`MAX_COUNT`](crate::MAX_COUNT): the count that costs nearly nothing.
    pub full: u8,
    /// The strong model has a tokenizer of its own: the tokens say what it wrote, but were not drawn with the seed.
    pub retokenized: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            full: 10,
            retokenized: false,
        }
    }
}

impl Settings {
    /// Least `limit` with which `live` slots can always make progress: every slot's count and one token at their worst.
    pub const fn least_limit(live: usize) -> usize {
        16 + 9 * live
    }
}
