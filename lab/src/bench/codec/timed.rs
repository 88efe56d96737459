//! A model that knows how long it took, without what its caller does with the logits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_exact::{Error, Predict, Slot, Token};

use weir_setup::tool::clock::Stopwatch;

pub(super) struct Timed<P> {
    model: P,
    spent: Spent,
}

/// Time spent in a model; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent(Arc<AtomicU64>);

impl Spent {
    pub(super) fn seconds(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / 1e9
    }

    fn add(&self, nanoseconds: u128) {
        self.0
            .fetch_add(u64::try_from(nanoseconds).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl<P> Timed<P> {
    pub(super) fn new(model: P) -> (Self, Spent) {
        let spent = Spent::default();
        (
            Self {
                model,
                spent: spent.clone(),
            },
            spent,
        )
    }
}

impl<P: Predict> Predict for Timed<P> {
    fn vocab(&self) -> usize {
        self.model.vocab()
    }

    fn max_context(&self) -> usize {
        self.model.max_context()
    }

    fn open(&mut self) -> Result<Slot, Error> {
        self.model.open()
    }

    fn close(&mut self, slot: Slot) {
        self.model.close(slot);
    }

    fn len(&self, slot: Slot) -> usize {
        self.model.len(slot)
    }

    fn truncate(&mut self, slot: Slot, len: usize) {
        self.model.truncate(slot, len);
    }

    fn prefill(&mut self, slot: Slot, tokens: &[Token]) -> Result<(), Error> {
        let watch = Stopwatch::start();
        let result = self.model.prefill(slot, tokens);
        self.spent.add(watch.elapsed().as_nanos());
        result
    }

    fn step(&mut self, rows: &[(Slot, Token)], sink: &mut dyn FnMut(usize, &[f32])) -> Result<(), Error> {
        let watch = Stopwatch::start();
        let mut outside = 0;
        let result = self.model.step(rows, &mut |row, logits| {
            let watch = Stopwatch::start();
            sink(row, logits);
            outside += watch.elapsed().as_nanos();
        });
        self.spent.add(watch.elapsed().as_nanos().saturating_sub(outside));
        result
    }
}
