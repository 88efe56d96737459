//! The best few of a row of logits, ties to the lower id.

use super::Weights;
use super::order::{descending, float, keep_best, ranked};

/// Finds the `k` best tokens of a row; keeps its buffers.
#[derive(Clone, Debug, Default)]
pub struct Top {
    /// The best of each block, as an integer of the opposite order.
    blocks: Vec<u32>,
    /// See [`ranked`].
    found: Vec<u64>,
}

impl Top {
    /// Ids of the `k` best logits in `ids` (all of them if there are fewer), in no particular order. `weights` must be
    /// of the same logits, which are finite.
    pub fn find(&mut self, logits: &[f32], weights: &Weights, k: usize, ids: &mut Vec<u32>) {
        self.blocks.clear();
        self.blocks
            .extend(weights.block_max.iter().map(|&x| descending(x)));
        // At least k logits reach the k-th best block maximum, so nothing below it is needed.
        let floor = match k.checked_sub(1) {
            Some(last) if last < self.blocks.len() => float(*self.blocks.select_nth_unstable(last).1),
            _ => f32::NEG_INFINITY,
        };
        self.found.clear();
        for (block, &max) in weights.block_max.iter().enumerate() {
            if max >= floor {
                let start = block * Weights::BLOCK;
                let end = logits.len().min(start + Weights::BLOCK);
                let here = (start as u32..).zip(&logits[start..end]);
                let good = here.filter(|(_, x)| **x >= floor);
                self.found.extend(good.map(|(id, &x)| ranked(x, id)));
            }
        }
        keep_best(&mut self.found, k);
        ids.clear();
        ids.extend(self.found.iter().map(|&found| found as u32));
    }
}
