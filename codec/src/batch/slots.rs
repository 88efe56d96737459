//! The slots of a batch, as the messages of outer open and close them.

use weir_exact::Predict;

use super::state::Batch;
use crate::Error;
use crate::query::Query;

/// The slots of a batch, between two frames.
#[derive(Debug)]
pub struct Slots<'a, P> {
    batch: &'a mut Batch<P>,
}

impl<'a, P: Predict> Slots<'a, P> {
    pub(crate) fn of(batch: &'a mut Batch<P>) -> Self {
        Self { batch }
    }

    /// Makes `slot` live.
    ///
    /// # Errors
    /// An unusable query or slot, or a full model; the batch is as before.
    pub fn open(&mut self, slot: u8, query: &Query) -> Result<(), Error> {
        self.batch.open(slot, query)
    }

    /// Applies a cancel: `slot` is free. Nothing happens if it is already.
    pub fn close(&mut self, slot: u8) {
        self.batch.close(slot);
    }
}
