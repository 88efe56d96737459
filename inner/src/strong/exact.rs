//! The strong model on our own bit-exact crate: one batched step per round over all live queries.
//!
//! The same query gives the same tokens on any machine, beside any other queries: an audit can replay it.

use super::{Failed, Handle, Refused, Sink, Strong};
use std::collections::BTreeMap;
use weir_codec::{Query, Sampler, Sampling, Seed};
use weir_model::{Predict, Slot, Token};

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
    sampler: Sampler,
}

struct Live {
    slot: Slot,
    seed: Seed,
    sampling: Sampling,
    /// Fed to the model by the next step.
    pending: Token,
    /// Tokens given so far.
    position: u32,
    promised: usize,
}

impl<P: Predict> Exact<P> {
    /// An engine without queries that says only tokens below `vocab`, on a model with a pool of `positions`.
    pub fn new(model: P, vocab: usize, positions: usize) -> Self {
        let (vocab, sampler) = (vocab.min(model.vocab()), Sampler::default());
        Self {
            model,
            vocab,
            positions,
            promised: 0,
            queries: BTreeMap::new(),
            sampler,
        }
    }

    /// Steps `rows` once and lets each row's query sample.
    fn round(&mut self, rows: &[(Handle, usize)], tokens: &mut Vec<Result<Token, Failed>>) {
        let Self {
            model,
            vocab,
            queries,
            sampler,
            ..
        } = self;
        let live: Vec<&Live> = rows.iter().map(|(handle, _)| &queries[handle]).collect();
        let fed: Vec<(Slot, Token)> = live.iter().map(|query| (query.slot, query.pending)).collect();
        tokens.clear();
        let stepped = model.step(&fed, &mut |row, logits| {
            let Live {
                sampling,
                seed,
                position,
                ..
            } = live[row];
            let token = sampler.sample(&logits[..*vocab], sampling, seed, *position);
            tokens.push(token.map_err(|error| failed(&error)));
        });
        if let Err(error) = stepped {
            let failed = failed(&error);
            tokens.clear();
            tokens.resize(rows.len(), Err(failed));
        }
        for ((handle, _), token) in rows.iter().zip(tokens.iter()) {
            if let (Some(query), Ok(token)) = (queries.get_mut(handle), token) {
                query.pending = *token;
                query.position += 1;
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
        let slot = self.model.open().map_err(|_| Refused::Full)?;
        if let Err(error) = self.model.prefill(slot, before) {
            tracing::error!(%error, "the strong model failed on a prompt");
            self.model.close(slot);
            return Err(Refused::Broken);
        }
        self.promised += promised;
        let live = Live {
            slot,
            seed: query.seed,
            sampling: query.sampling,
            pending,
            position: 0,
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
        }
    }
}

fn failed(error: &dyn core::error::Error) -> Failed {
    tracing::error!(%error, "the strong model failed");
    Failed
}

/// The model's pool is handed out in pages of so many positions.
const PAGE: usize = 64;
