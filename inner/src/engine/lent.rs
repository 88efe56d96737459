//! One weak model for the encoders of all batches: weights and pool are there once, and an encoder can be thrown away
//! without them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use weir_exact::{Error, Predict, Slot, Token};

/// A share in a model. Only the engine's thread uses it, so the lock is never waited for.
pub(super) struct Lent<P> {
    model: Arc<Mutex<P>>,
    vocab: usize,
    max_context: usize,
}

impl<P: Predict> Lent<P> {
    pub(super) fn new(model: P) -> Self {
        let (vocab, max_context) = (model.vocab(), model.max_context());
        Self {
            model: Arc::new(Mutex::new(model)),
            vocab,
            max_context,
        }
    }

    fn get(&self) -> MutexGuard<'_, P> {
        // After a panic in the model its slots are as they are; the engine is gone then anyway.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Clone for Lent<P> {
    fn clone(&self) -> Self {
        Self {
            model: Arc::clone(&self.model),
            ..*self
        }
    }
}

impl<P: Predict> Predict for Lent<P> {
    fn vocab(&self) -> usize {
        self.vocab
    }

    fn max_context(&self) -> usize {
        self.max_context
    }

    fn open(&mut self) -> Result<Slot, Error> {
        self.get().open()
    }

    fn close(&mut self, slot: Slot) {
        self.get().close(slot);
    }

    fn len(&self, slot: Slot) -> usize {
        self.get().len(slot)
    }

    fn truncate(&mut self, slot: Slot, len: usize) {
        self.get().truncate(slot, len);
    }

    fn prefill(&mut self, slot: Slot, tokens: &[Token]) -> Result<(), Error> {
        self.get().prefill(slot, tokens)
    }

    fn step(&mut self, rows: &[(Slot, Token)], sink: &mut dyn FnMut(usize, &[f32])) -> Result<(), Error> {
        self.get().step(rows, sink)
    }
}
