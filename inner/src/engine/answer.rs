//! One answer between the strong engine and the encoder: what is said and not yet coded, and whether it is over.

use crate::retokenize::{Course, Retokenizer, Rewriting};
use crate::strong::Failed;
use core::ops::ControlFlow;
use weir_codec::stop::Matcher;
use weir_codec::{MAX_COUNT, Offer, Query, Seed, Vocabulary};
use weir_model::Token;

/// Why an answer is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The model's own end token.
    Token,
    /// As many tokens as the query allows, the strong model's or the weak one's.
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
    pub fn name(self) -> &'static str {
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
    /// Everything said, in the weak model's tokens; `said[coded..]` waits for a frame.
    said: Vec<Token>,
    coded: usize,
    end: Option<End>,
    /// How the strong model's tokens become these, if they are others.
    rewriting: Option<Rewriting>,
}

impl Answer {
    /// An answer of no tokens yet, over at once if the query was refused.
    pub(super) fn new(query: &Query, rewriting: Option<Rewriting>, end: Option<End>) -> Self {
        Self {
            seed: query.seed,
            max_tokens: query.max_tokens as usize,
            stop: Matcher::new(&query.stop),
            said: Vec::new(),
            coded: 0,
            end,
            rewriting,
        }
    }

    /// Takes what the strong engine says next; `Break` once the answer is over.
    pub(super) fn push(
        &mut self,
        token: Result<Token, Failed>,
        vocabulary: &Vocabulary,
        both: Option<&Retokenizer>,
    ) -> ControlFlow<()> {
        match (token, &mut self.rewriting, both) {
            (Ok(token), Some(rewriting), Some(both)) => {
                let mut tokens = Vec::new();
                let course = rewriting.push(token, both, &mut tokens);
                self.say(&tokens, vocabulary);
                self.follow(course);
            }
            (Err(Failed), Some(rewriting), Some(both)) => {
                let mut tokens = Vec::new();
                rewriting.finish(both, &mut tokens);
                self.say(&tokens, vocabulary);
                self.end = self.end.or(Some(End::Failed));
            }
            (Ok(token), ..) => self.say(&[token], vocabulary),
            (Err(Failed), ..) => self.end = Some(End::Failed),
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

    /// What was coded, in order, and what the strong model said where its tokens are others.
    pub(super) fn into_said(mut self) -> (Vec<Token>, Vec<Token>) {
        self.said.truncate(self.coded);
        (self.said, self.rewriting.map_or(Vec::new(), Rewriting::into_said))
    }

    /// How many more tokens of the strong model are wanted for a frame of `full`.
    pub(super) fn wants(&self, full: usize) -> usize {
        let waiting = self.waiting().len();
        match (self.end, &self.rewriting) {
            (Some(_), _) => 0,
            (None, None) => full.saturating_sub(waiting),
            // Its pace is its own, however many tokens those become; but what a frame had no room for goes first.
            (None, Some(_)) if waiting < full => full,
            (None, Some(_)) => 0,
        }
    }

    /// What the next frame may code of it. Tokens said before a failure still go out.
    pub(super) fn offer(&self, full: usize) -> Offer<'_> {
        let waiting = self.waiting();
        let count = waiting.len().min(MAX_COUNT);
        match (self.end, &self.rewriting) {
            (Some(End::Refused), _) => Offer::Refused,
            (Some(End::Failed), _) if waiting.is_empty() => Offer::Failed,
            // SPEC 4.14: to outer the answer is not over yet.
            (Some(End::Length), _) if waiting.is_empty() => Offer::Refused,
            (_, None) => Offer::Tokens(&waiting[..count.min(full)]),
            (Some(_), Some(_)) => Offer::Tokens(&waiting[..count]),
            // Multiples of what is usual cost less to count than exact numbers; the rest waits for one tick.
            (None, Some(_)) => Offer::Tokens(&waiting[..count - count % full]),
        }
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Said, and not yet coded.
    pub(super) fn waiting(&self) -> &[Token] {
        &self.said[self.coded..]
    }

    /// Takes tokens of the weak model up to the one that ends the answer.
    fn say(&mut self, tokens: &[Token], vocabulary: &Vocabulary) {
        for &token in tokens {
            self.said.push(token);
            self.end = self.judge(token, vocabulary);
            if self.end.is_some() {
                return;
            }
        }
    }

    /// Ends an answer that the strong model cannot or must not continue.
    fn follow(&mut self, course: Course) {
        if self.end.is_some() {
            return;
        }
        match course {
            Course::Open => {}
            // A stop string or an end token was among the tokens, and has been judged.
            Course::Ended => unreachable!("the last token of an answer ends it"),
            Course::Length => self.end = Some(End::Length),
            Course::Stuck(lacking) => {
                tracing::error!(%lacking, "an answer cannot be written in the weak model's tokens");
                self.end = Some(End::Failed);
            }
        }
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
