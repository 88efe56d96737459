//! The one door between a model and everything that codes or samples with it.

use crate::Error;
use crate::slot::{Slot, Token};

/// A next-token predictor with many live sequences.
///
/// Whatever the grouping of calls, the logits after a given sequence of tokens must be the same bits.
pub trait Predict: Send {
    /// Number of tokens, which is also the length of a row of logits.
    fn vocab(&self) -> usize;

    /// Most positions one slot can hold.
    fn max_context(&self) -> usize;

    /// Takes a free slot, of length zero.
    ///
    /// # Errors
    /// [`Error::PoolFull`] when there is none.
    fn open(&mut self) -> Result<Slot, Error>;

    /// Gives a slot and its positions back; an unknown slot is ignored.
    fn close(&mut self, slot: Slot);

    /// Positions fed to `slot`; 0 for an unknown slot.
    fn len(&self, slot: Slot) -> usize;

    /// Whether nothing has been fed to `slot`.
    fn is_empty(&self, slot: Slot) -> bool {
        self.len(slot) == 0
    }

    /// Rolls back to the first `len` positions; does nothing if there are no more than that.
    fn truncate(&mut self, slot: Slot, len: usize);

    /// Feeds `tokens` without computing logits. What is fed to an empty slot may begin with something computed before.
    ///
    /// # Errors
    /// See [`Predict::step`].
    fn prefill(&mut self, slot: Slot, tokens: &[Token]) -> Result<(), Error>;

    /// Feeds one token per row, in row order; a slot that appears again sees its earlier rows.
    ///
    /// `sink(row, logits)` is called once per row in row order, with `logits.len() == vocab()`.
    ///
    /// # Errors
    /// An unknown slot or token, a full pool or context (checked before anything is fed), or a non-finite value.
    /// After a non-finite value the lengths of the slots are unspecified: close them.
    fn step(&mut self, rows: &[(Slot, Token)], sink: &mut dyn FnMut(usize, &[f32])) -> Result<(), Error>;
}
