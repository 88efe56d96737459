//! The strong model on our own bit-exact crate: one batched step per round over all live queries.
//!
//! The same query gives the same tokens on any machine, beside any other queries: an audit can replay it.

use super::adviser::Adviser;
use super::chooser::Chooser;
use super::{Failed, Handle, Refused, Sink, Strong, Watch};
use std::collections::BTreeMap;
use weir_codec::Query;
use weir_model::{Kernel, Predict, Slot, Token};

/// A strong engine over any [`Predict`].
pub struct Exact<P> {
    model: P,
    /// Tokens that may be said: the weak model's vocabulary, where the strong one's is padded to more.
    vocab: usize,
    /// Positions of the model's pool, and how many of them are promised to live queries: one that was admitted never
    /// finds the pool full.
    positions: usize,
    promised: usize,
    queries: BTreeMap<Handle, Live>,
    chooser: Chooser,
}

struct Live {
    slot: Slot,
    /// Fed to the model by the next step.
    pending: Token,
    promised: usize,
}

impl<P: Predict> Exact<P> {
    /// An engine without queries that says only tokens below `vocab`, on a model with a pool of `positions`. Samples
    /// with `kernel`.
    pub fn new(model: P, vocab: usize, positions: usize, kernel: Kernel) -> Self {
        let vocab = vocab.min(model.vocab());
        Self {
            model,
            vocab,
            positions,
            promised: 0,
            queries: BTreeMap::new(),
            chooser: Chooser::new(kernel),
        }
    }

    /// The same; with an adviser, queries may allow a deviation.
    pub fn with_adviser(mut self, adviser: Option<Adviser>) -> Self {
        self.chooser = self.chooser.with_adviser(adviser);
        self
    }

    /// The same; `watch` hears of each token and of the logits that it was chosen by. To be called after
    /// [`Exact::with_adviser`].
    pub fn watched(mut self, watch: Watch) -> Self {
        self.chooser.watched(watch);
        self
    }

    /// A slot of the model that has been fed `before`.
    fn begin(&mut self, before: &[Token]) -> Result<Slot, Refused> {
        let slot = self.model.open().map_err(|_| Refused::Full)?;
        if let Err(error) = self.model.prefill(slot, before) {
            tracing::error!(%error, "the strong model failed on a prompt");
            self.model.close(slot);
            return Err(Refused::Broken);
        }
        Ok(slot)
    }

    /// Steps `rows` once and lets each row's query sample.
    fn round(&mut self, rows: &[(Handle, usize)], tokens: &mut Vec<Result<Token, Failed>>) {
        let Self {
            model,
            vocab,
            queries,
            chooser,
            ..
        } = self;
        let fed = |(handle, _): &(Handle, usize)| (queries[handle].slot, queries[handle].pending);
        let fed: Vec<(Slot, Token)> = rows.iter().map(fed).collect();
        chooser.consult(rows.iter().map(|(handle, _)| *handle));
        tokens.clear();
        let stepped = model.step(&fed, &mut |row, logits| {
            tokens.push(chooser.choose(rows[row].0, &logits[..*vocab]));
        });
        if let Err(error) = stepped {
            tracing::error!(%error, "the strong model failed");
            tokens.clear();
            tokens.resize(rows.len(), Err(Failed));
        }
        for ((handle, _), token) in rows.iter().zip(tokens.iter()) {
            if let (Some(query), Ok(token)) = (queries.get_mut(handle), token) {
                query.pending = *token;
            }
        }
    }
}

impl<P: Predict> Strong for Exact<P> {
    fn admit(&mut self, handle: Handle, query: &Query) -> Result<(), Refused> {
        let Some((&pending, before)) = query.prompt.split_last() else {
            return Err(Refused::BadPrompt);
        };
        if query.prompt.iter().any(|&token| token as usize >= self.vocab) {
            return Err(Refused::BadPrompt);
        }
        // The last token of an answer is sent but never fed.
        let most = query.prompt.len() - 1 + query.max_tokens as usize;
        if most > self.model.max_context() {
            return Err(Refused::TooLong);
        }
        let promised = most.next_multiple_of(PAGE);
        if self.promised + promised > self.positions {
            return Err(Refused::Full);
        }
        self.chooser.admit(handle, query)?;
        let slot = self.begin(before).inspect_err(|_| self.chooser.dismiss(handle))?;
        self.promised += promised;
        let live = Live {
            slot,
            pending,
            promised,
        };
        self.queries.insert(handle, live);
        Ok(())
    }

    fn advance(&mut self, wants: &[(Handle, usize)], sink: &mut Sink<'_>) {
        let mut rows: Vec<(Handle, usize)> = wants.to_vec();
        rows.retain(|(handle, count)| *count > 0 && self.queries.contains_key(handle));
        let mut tokens = Vec::with_capacity(rows.len());
        while !rows.is_empty() {
            self.round(&rows, &mut tokens);
            let mut given = tokens.iter();
            rows.retain_mut(|(handle, left)| {
                let token = *given.next().expect("a round gives one token per row");
                *left -= 1;
                sink(*handle, token).is_continue() && token.is_ok() && *left > 0
            });
        }
    }

    fn dismiss(&mut self, handle: Handle) {
        if let Some(query) = self.queries.remove(&handle) {
            self.promised -= query.promised;
            self.model.close(query.slot);
            self.chooser.dismiss(handle);
        }
    }
}

/// The model's pool is handed out in pages of so many positions.
const PAGE: usize = 64;
