//! A strong model with a tokenizer of its own: its prompts, and its answers in the weak model's tokens. SPEC 4.14.

use crate::strong::Refused;
use anyhow::{Context, ensure};
use weir_codec::Query;
use weir_codec::stop::Matcher;
use weir_model::{Message, NoToken, Token, TokenStream, Tokenizer};
use weir_wire::{Role, Source};

/// The tokenizers of both models.
pub struct Retokenizer {
    strong: Tokenizer,
    weak: Tokenizer,
    /// The weak model's token for the end of an answer.
    end: Token,
}

impl Retokenizer {
    /// # Errors
    /// A vocabulary without an end token.
    pub fn new(strong: Tokenizer, weak: Tokenizer) -> anyhow::Result<Self> {
        for (role, tokenizer) in [("strong", &strong), ("weak", &weak)] {
            ensure!(
                !tokenizer.end_tokens().is_empty(),
                "the {role} model's tokenizer has no end token, by which an answer could end"
            );
        }
        let end = weak.metadata().eos.or_else(|| weak.end_tokens().first().copied());
        let end = end.context("the weak model's tokenizer has no end token")?;
        let lacking: Vec<u8> = (0..=u8::MAX).filter(|&byte| !weak.encodes(byte)).collect();
        if !lacking.is_empty() {
            tracing::warn!(
                ?lacking,
                "the weak vocabulary has no token for some bytes: an answer with one of them fails there"
            );
        }
        Ok(Self { strong, weak, end })
    }

    /// The strong model's prompt, in its own tokens and by its own chat template.
    pub(crate) fn prompt(&self, source: &Source) -> Result<Vec<Token>, Refused> {
        match source {
            Source::Tokens => Err(Refused::NoSource),
            Source::Text(text) => Ok(self.strong.encode(text)),
            Source::Chat(turns) => {
                let messages: Vec<Message> = turns
                    .iter()
                    .map(|turn| Message::new(name(turn.role), turn.content.as_str()))
                    .collect();
                self.strong.chat(&messages).map_err(|error| {
                    tracing::warn!(%error, "the strong model's chat template");
                    Refused::Template
                })
            }
        }
    }
}

/// As chat templates call it: SPEC 3.4.
fn name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// One answer on its way from the strong model's tokens to the weak model's.
pub(crate) struct Rewriting {
    /// What the strong model said.
    said: Vec<Token>,
    max_tokens: usize,
    stream: TokenStream,
    stops: Matcher,
}

/// Whether an answer goes on, as far as the strong model has a say in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Course {
    Open,
    /// The strong model's end token, or a stop string: all that was given ends with it.
    Ended,
    /// As many of the strong model's tokens as the query allows.
    Length,
    /// The next byte has no token in the weak model's vocabulary.
    Stuck(NoToken),
}

impl Rewriting {
    pub(crate) fn new(query: &Query) -> Self {
        Self {
            said: Vec::new(),
            max_tokens: query.max_tokens as usize,
            stream: TokenStream::default(),
            stops: Matcher::new(&query.stop),
        }
    }

    /// Takes the strong model's next token and appends the weak model's tokens that are settled by it to `out`: all that
    /// there are, unless the answer is still open.
    pub(crate) fn push(&mut self, token: Token, both: &Retokenizer, out: &mut Vec<Token>) -> Course {
        let Retokenizer { strong, weak, end } = both;
        self.said.push(token);
        if strong.end_tokens().contains(&token) {
            self.stream.finish(weak, out);
            out.push(*end);
            return Course::Ended;
        }
        let bytes = strong.token_bytes(token);
        let stop = self.stops.push(bytes);
        // What follows a stop string is nobody's.
        let bytes = stop.map_or(bytes, |found| &bytes[..found.consumed]);
        let course = match self.stream.push(weak, bytes, out) {
            Err(lacking) => Course::Stuck(lacking),
            Ok(()) if stop.is_some() => Course::Ended,
            Ok(()) if self.said.len() >= self.max_tokens => Course::Length,
            Ok(()) => Course::Open,
        };
        if course != Course::Open {
            self.finish(both, out);
        }
        course
    }

    /// Appends the tokens of what was held back, if the strong model cannot go on.
    pub(crate) fn finish(&mut self, both: &Retokenizer, out: &mut Vec<Token>) {
        self.stream.finish(&both.weak, out);
    }

    /// What the strong model said.
    pub(crate) fn into_said(self) -> Vec<Token> {
        self.said
    }
}
