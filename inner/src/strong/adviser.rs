//! The weak model beside the strong one, for queries that let it have a say (`tau` below 1).
//!
//! It must be outer's weak model, bit for bit, with the same kind of keys and values: then a replay finds the same tokens.
//! Its pool is its own, so that the encoder's, by which outer admits queries, stays as it was.

use super::{Failed, Handle, Refused};
use std::collections::BTreeMap;
use weir_codec::Query;
use weir_model::{PAGE, Predict, Slot, Token};

/// A weak model with the queries it is asked about; the others cost it nothing.
pub struct Adviser {
    model: Box<dyn Predict>,
    /// Least `tau` that a query may ask for.
    least_tau: f32,
    /// Positions of the model's pool, and how many of them are promised to live queries.
    positions: usize,
    promised: usize,
    queries: BTreeMap<Handle, Live>,
    /// Logits of the queries that were asked about last, row by row: V floats each.
    rows: Vec<f32>,
}

struct Live {
    slot: Slot,
    /// Fed by the next step.
    pending: Token,
    promised: usize,
    /// Which of `rows` is its own, once the model was asked.
    row: Option<usize>,
}

impl Adviser {
    /// An adviser for queries with a `tau` of `least_tau` and more, on a model with a pool of `positions`.
    pub fn new(model: Box<dyn Predict>, positions: usize, least_tau: f32) -> Self {
        Self {
            model,
            least_tau,
            positions,
            promised: 0,
            queries: BTreeMap::new(),
            rows: Vec::new(),
        }
    }

    /// Takes a query that allows a deviation.
    pub(super) fn admit(&mut self, handle: Handle, query: &Query) -> Result<(), Refused> {
        if query.sampling.tau < self.least_tau {
            return Err(Refused::Deviation);
        }
        let (&pending, before) = query.prompt.split_last().ok_or(Refused::BadPrompt)?;
        if query
            .prompt
            .iter()
            .any(|&token| token as usize >= self.model.vocab())
        {
            return Err(Refused::BadPrompt);
        }
        // The last token of an answer is sent but never fed.
        let most = before.len() + query.max_tokens as usize;
        if most > self.model.max_context() {
            return Err(Refused::TooLong);
        }
        let promised = most.next_multiple_of(PAGE);
        if self.promised + promised > self.positions {
            return Err(Refused::Full);
        }
        let slot = self.model.open().map_err(|_| Refused::Full)?;
        if let Err(error) = self.model.prefill(slot, before) {
            tracing::error!(%error, "the weak model failed on a prompt");
            self.model.close(slot);
            return Err(Refused::Broken);
        }
        self.promised += promised;
        let live = Live {
            slot,
            pending,
            promised,
            row: None,
        };
        self.queries.insert(handle, live);
        Ok(())
    }

    /// Asks the model what it would say next, of those queries that it was told of; in one step. If that fails they have no
    /// row, and the reason is in the log.
    pub(super) fn consult(&mut self, handles: impl Iterator<Item = Handle>) {
        let Self {
            model, queries, rows, ..
        } = self;
        let asked: Vec<Handle> = handles.filter(|handle| queries.contains_key(handle)).collect();
        let fed = |handle: &Handle| (queries[handle].slot, queries[handle].pending);
        let fed: Vec<(Slot, Token)> = asked.iter().map(fed).collect();
        rows.clear();
        if fed.is_empty() {
            return;
        }
        let stepped = model.step(&fed, &mut |_, logits| rows.extend_from_slice(logits));
        if let Err(error) = &stepped {
            tracing::error!(%error, "the weak model failed");
        }
        for (row, handle) in asked.iter().enumerate() {
            if let Some(query) = queries.get_mut(handle) {
                query.row = stepped.is_ok().then_some(row);
            }
        }
    }

    /// The weak model's first `count` logits for a query that was asked about.
    pub(super) fn logits(&self, handle: Handle, count: usize) -> Result<&[f32], Failed> {
        let row = self
            .queries
            .get(&handle)
            .and_then(|query| query.row)
            .ok_or(Failed)?;
        let from = row * self.model.vocab();
        self.rows.get(from..from + count).ok_or(Failed)
    }

    /// Notes what was said.
    pub(super) fn said(&mut self, handle: Handle, token: Token) {
        if let Some(query) = self.queries.get_mut(&handle) {
            query.pending = token;
            query.row = None;
        }
    }

    /// Frees what the query holds; unknown handles are ignored.
    pub(super) fn dismiss(&mut self, handle: Handle) {
        if let Some(query) = self.queries.remove(&handle) {
            self.promised -= query.promised;
            self.model.close(query.slot);
        }
    }
}
