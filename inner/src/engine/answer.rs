//! One answer between the strong engine and the encoder: what is said and not yet coded, and whether it is over.

use crate::strong::Failed;
use core::ops::ControlFlow;
use weir_codec::stop::Matcher;
use weir_codec::{Offer, Query, Seed, Vocabulary};
use weir_model::Token;

/// Why an answer is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The model's own end token.
    Token,
    /// As many tokens as the query allows.
    Length,
    /// One of the query's stop strings.
    Stop,
    /// The asker has gone.
    Cancelled,
    /// The session has ended.
    Lost,
    /// Never admitted.
    Refused,
    /// The strong engine could not go on.
    Failed,
}

impl End {
    /// Its name in the record.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Token => "end",
            Self::Length => "length",
            Self::Stop => "stop",
            Self::Cancelled => "cancel",
            Self::Lost => "lost",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// One answer.
pub(super) struct Answer {
    pub(super) seed: Seed,
    max_tokens: usize,
    stop: Matcher,
    /// Everything said; `said[coded..]` waits for a frame.
    said: Vec<Token>,
    coded: usize,
    end: Option<End>,
}

impl Answer {
    /// An answer of no tokens yet, over at once if the query was refused.
    pub(super) fn new(query: &Query, end: Option<End>) -> Self {
        Self {
            seed: query.seed,
            max_tokens: query.max_tokens as usize,
            stop: Matcher::new(&query.stop),
            said: Vec::new(),
            coded: 0,
            end,
        }
    }

    /// Takes what the strong engine says next; `Break` once the answer is over.
    pub(super) fn push(&mut self, token: Result<Token, Failed>, vocabulary: &Vocabulary) -> ControlFlow<()> {
        match token {
            Ok(token) => {
                self.said.push(token);
                self.end = self.judge(token, vocabulary);
            }
            Err(Failed) => self.end = Some(End::Failed),
        }
        match self.end {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    /// The first `count` tokens that wait have been coded.
    pub(super) fn coded(&mut self, count: usize) {
        self.coded += count;
    }

    /// What was coded, in order.
    pub(super) fn into_coded(mut self) -> Vec<Token> {
        self.said.truncate(self.coded);
        self.said
    }

    /// How many more tokens are wanted so that `full` wait.
    pub(super) fn wants(&self, full: usize) -> usize {
        match self.end {
            Some(_) => 0,
            None => full.saturating_sub(self.waiting().len()),
        }
    }

    /// What the next frame may code of it. Tokens said before a failure still go out.
    pub(super) fn offer(&self, full: usize) -> Offer<'_> {
        match self.end {
            Some(End::Refused) => Offer::Refused,
            Some(End::Failed) if self.waiting().is_empty() => Offer::Failed,
            _ => Offer::Tokens(&self.waiting()[..self.waiting().len().min(full)]),
        }
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    fn waiting(&self) -> &[Token] {
        &self.said[self.coded..]
    }

    // SPEC 4.9: the same order in which the codec judges the end of a slot.
    fn judge(&mut self, token: Token, vocabulary: &Vocabulary) -> Option<End> {
        if vocabulary.end.contains(&token) {
            return Some(End::Token);
        }
        if self.stop.push(vocabulary.token_bytes(token)).is_some() {
            return Some(End::Stop);
        }
        (self.said.len() >= self.max_tokens).then_some(End::Length)
    }
}
