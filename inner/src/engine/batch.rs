//! One batch as the engine has it.

use super::Limits;
use super::lent::Lent;
use weir_codec::Vocabulary;
use weir_model::{Kernel, Predict};
use weir_setup::coding::BatchEncoder;

pub(super) struct Batch<P> {
    pub(super) encoder: BatchEncoder<Lent<P>>,
    /// Messages applied since the last frame.
    pub(super) taken_in: u32,
}

impl<P: Predict> Batch<P> {
    /// A batch without live slots.
    pub(super) fn new(weak: Lent<P>, vocabulary: Vocabulary, limits: &Limits, kernel: Kernel) -> Self {
        let piece = limits.continuous.then_some(limits.code);
        Self {
            encoder: BatchEncoder::new(weak, vocabulary, limits.settings, kernel, piece),
            taken_in: 0,
        }
    }

    /// Gives the weak model's slots back.
    pub(super) fn close(&mut self) {
        for slot in self.encoder.live() {
            self.encoder.slots().close(slot);
        }
    }
}
