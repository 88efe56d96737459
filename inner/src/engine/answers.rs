//! The strong engine and the answers that it is giving: queries come in, tokens are said, whatever is over is let go.
//!
//! The [`Engine`](super::Engine) codes what is said here. A trace, which codes nothing, drives the same loop with
//! [`Answers::hear`].

use super::answer::{Answer, End};
use crate::retokenize::{Retokenizer, Rewriting};
use crate::strong::{Handle, Refused, Strong};
use core::ops::{ControlFlow, RangeInclusive};
use std::collections::BTreeMap;
use weir_codec::{Query, Vocabulary};
use weir_model::Token;
use weir_wire::Source;

/// Live queries of a strong engine, with what has been said to each.
pub struct Answers {
    strong: Box<dyn Strong>,
    vocabulary: Vocabulary,
    /// Where the strong model's tokens are not the weak one's.
    retokenizer: Option<Retokenizer>,
    live: BTreeMap<Handle, Answer>,
}

impl Answers {
    /// Without queries. `vocabulary` is the weak model's, whose tokens the answers are in.
    pub fn new(strong: Box<dyn Strong>, vocabulary: Vocabulary, retokenizer: Option<Retokenizer>) -> Self {
        Self {
            strong,
            vocabulary,
            retokenizer,
            live: BTreeMap::new(),
        }
    }

    /// Makes `query` live under `handle`, which must be free. `source` is what its prompt was made from.
    ///
    /// # Errors
    /// Why the strong engine does not take it; it is not live then.
    pub fn begin(&mut self, handle: Handle, query: &Query, source: &Source) -> Result<(), Refused> {
        match &self.retokenizer {
            None => self.strong.admit(handle, query)?,
            // The weak model's logits are of other tokens than the strong one's (SPEC 4.14).
            Some(_) if query.sampling.is_lossy() => return Err(Refused::Deviation),
            Some(both) => {
                let prompt = both.prompt(source)?;
                self.strong.admit(
                    handle,
                    &Query {
                        prompt,
                        ..query.clone()
                    },
                )?;
            }
        }
        let rewriting = self.retokenizer.as_ref().map(|_| Rewriting::new(query));
        self.live.insert(handle, Answer::new(query, rewriting, None));
        Ok(())
    }

    /// Makes a query live whose answer is that it was refused.
    pub(super) fn refuse(&mut self, handle: Handle, query: &Query) {
        let refused = Answer::new(query, None, Some(End::Refused));
        self.live.insert(handle, refused);
    }

    /// Lets the strong engine speak: one call for all the queries that are `asked`, so that it can run them side by side. Each
    /// answer gets what it lacks for `full` tokens that wait to be coded or heard.
    pub fn speak(&mut self, full: usize, asked: impl Fn(Handle) -> bool) {
        let mut wants = Vec::new();
        for (&handle, answer) in &self.live {
            let count = answer.wants(full);
            if count > 0 && asked(handle) {
                wants.push((handle, count));
            }
        }
        let (live, vocabulary, both) = (&mut self.live, &self.vocabulary, self.retokenizer.as_ref());
        self.strong
            .advance(&wants, &mut |handle, token| match live.get_mut(&handle) {
                Some(answer) => answer.push(token, vocabulary, both),
                None => ControlFlow::Break(()),
            });
        for (handle, _) in wants {
            if self.live[&handle].end().is_some() {
                // What it held is free for others before its last tokens are coded.
                self.strong.dismiss(handle);
            }
        }
    }

    /// For whoever codes nothing: tells of each answer what was said since, and why it is over if it is. Those are let go.
    pub fn hear(&mut self, mut said: impl FnMut(Handle, &[Token], Option<End>)) {
        let strong = &mut self.strong;
        self.live.retain(|&handle, answer| {
            let waiting = answer.waiting();
            let count = waiting.len();
            said(handle, waiting, answer.end());
            answer.coded(count);
            if answer.end().is_some() {
                strong.dismiss(handle);
            }
            answer.end().is_none()
        });
    }

    /// Number of live queries.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether no query is live.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Whether a query is live under `handle`.
    pub(super) fn is_live(&self, handle: Handle) -> bool {
        self.live.contains_key(&handle)
    }

    /// Live queries with handles in a range.
    pub(super) fn among(&self, handles: RangeInclusive<Handle>) -> impl Iterator<Item = (Handle, &Answer)> {
        self.live.range(handles).map(|(&handle, answer)| (handle, answer))
    }

    /// So many tokens of an answer have been coded.
    pub(super) fn coded(&mut self, handle: Handle, count: usize) {
        if let Some(answer) = self.live.get_mut(&handle) {
            answer.coded(count);
        }
    }

    /// Lets a query go, and gives what its answer was; unknown handles are ignored.
    pub(super) fn end(&mut self, handle: Handle) -> Option<Answer> {
        self.strong.dismiss(handle);
        self.live.remove(&handle)
    }
}
