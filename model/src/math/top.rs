//! The best few of a row of logits, ties to the lower id.

use super::Weights;

/// Finds the `k` best tokens of a row; keeps its buffers.
#[derive(Clone, Debug, Default)]
pub struct Top {
    blocks: Vec<f32>,
    found: Vec<(f32, u32)>,
}

impl Top {
    /// Ids of the `k` best logits in `ids` (all of them if there are fewer), in no particular order. `weights` must be
    /// of the same logits, which are finite.
    pub fn find(&mut self, logits: &[f32], weights: &Weights, k: usize, ids: &mut Vec<u32>) {
        let descending = |a: &f32, b: &f32| b.total_cmp(a);
        self.blocks.clear();
        self.blocks.extend_from_slice(&weights.block_max);
        // At least k logits reach the k-th best block maximum, so nothing below it is needed.
        let floor = match k.checked_sub(1) {
            Some(last) if last < self.blocks.len() => *self.blocks.select_nth_unstable_by(last, descending).1,
            _ => f32::NEG_INFINITY,
        };
        self.found.clear();
        for (block, &max) in weights.block_max.iter().enumerate() {
            if max >= floor {
                let start = block * Weights::BLOCK;
                let end = logits.len().min(start + Weights::BLOCK);
                let here = (start as u32..).zip(&logits[start..end]);
                self.found
                    .extend(here.filter(|(_, x)| **x >= floor).map(|(id, &x)| (x, id)));
            }
        }
        if self.found.len() > k {
            // A total order on finite values: the set does not depend on the algorithm.
            self.found.select_nth_unstable_by(k, |a, b| {
                b.0.partial_cmp(&a.0)
                    .unwrap_or(std::cmp::Ordering::Equal)
                    .then(a.1.cmp(&b.1))
            });
            self.found.truncate(k);
        }
        ids.clear();
        ids.extend(self.found.iter().map(|&(_, id)| id));
    }
}
