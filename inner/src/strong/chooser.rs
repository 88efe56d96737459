//! Which token a query says next, for every engine: the seeded sampler, and the adviser of those queries that let it have a
//! say (SPEC 4.5).

use super::adviser::Adviser;
use super::{Failed, Handle, Refused};
use std::collections::BTreeMap;
use weir_codec::{Query, Sampler, Sampling, Seed};
use weir_model::{Kernel, Token};

/// A token, and what it was chosen by.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Whose it is.
    pub query: Handle,
    /// What was chosen.
    pub token: Token,
    /// The strong model's logits.
    pub strong: &'a [f32],
    /// The weak model's, where it had a say.
    pub weak: Option<&'a [f32]>,
}

/// Hears of each token as it is chosen.
pub type Watch = Box<dyn FnMut(&Choice<'_>) + Send>;

/// The sampler with what it must know of each live query.
pub(super) struct Chooser {
    sampler: Sampler,
    adviser: Option<Adviser>,
    watch: Option<Watch>,
    queries: BTreeMap<Handle, Live>,
}

struct Live {
    seed: Seed,
    sampling: Sampling,
    /// Tokens given so far.
    position: u32,
}

impl Chooser {
    /// Without queries and without an adviser, so that none may allow a deviation. Samples with `kernel`.
    pub(super) fn new(kernel: Kernel) -> Self {
        Self {
            sampler: Sampler::new(kernel),
            adviser: None,
            watch: None,
            queries: BTreeMap::new(),
        }
    }

    /// The same with an adviser, if there is one.
    pub(super) fn with_adviser(mut self, adviser: Option<Adviser>) -> Self {
        self.adviser = adviser;
        self
    }

    /// Lets `watch` hear of each token, for measurements.
    pub(super) fn watched(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }

    /// Takes a query under a handle that is free.
    pub(super) fn admit(&mut self, handle: Handle, query: &Query) -> Result<(), Refused> {
        if query.sampling.is_lossy() {
            let adviser = self.adviser.as_mut().ok_or(Refused::Deviation)?;
            adviser.admit(handle, query)?;
        }
        let live = Live {
            seed: query.seed,
            sampling: query.sampling,
            position: 0,
        };
        self.queries.insert(handle, live);
        Ok(())
    }

    /// To be called for the queries of a round before any of them chooses.
    pub(super) fn consult(&mut self, handles: impl Iterator<Item = Handle>) {
        if let Some(adviser) = &mut self.adviser {
            adviser.consult(handles);
        }
    }

    /// The query's next token, given the strong model's logits.
    pub(super) fn choose(&mut self, handle: Handle, strong: &[f32]) -> Result<Token, Failed> {
        let query = self.queries.get_mut(&handle).ok_or(Failed)?;
        let Live {
            seed,
            sampling,
            position,
        } = query;
        let weak = match &self.adviser {
            Some(adviser) if sampling.is_lossy() => Some(adviser.logits(handle, strong.len())?),
            _ => None,
        };
        let chosen = match weak {
            Some(weak) => self.sampler.sample_lossy(strong, weak, sampling, seed, *position),
            None => self.sampler.sample(strong, sampling, seed, *position),
        };
        let token = chosen.map_err(|error| {
            tracing::error!(%error, "the sampler failed");
            Failed
        })?;
        if let Some(watch) = &mut self.watch {
            watch(&Choice {
                query: handle,
                token,
                strong,
                weak,
            });
        }
        *position += 1;
        if let Some(adviser) = &mut self.adviser {
            adviser.said(handle, token);
        }
        Ok(token)
    }

    /// Frees what the query holds; unknown handles are ignored.
    pub(super) fn dismiss(&mut self, handle: Handle) {
        self.queries.remove(&handle);
        if let Some(adviser) = &mut self.adviser {
            adviser.dismiss(handle);
        }
    }
}
