//! Which tokens the prediction looks at one by one: the likely and the lucky (SPEC 4.6).

use weir_exact::{Kernel, Token, Top, Weights};

use crate::noise::Noise;

/// Candidates by logit.
pub(crate) const BEST: usize = 128;
/// The same in a text, where more of them are corrected.
pub(crate) const BEST_IN_TEXT: usize = 256;
/// Expected number of candidates by noise.
const LUCKY: u64 = 256;

/// Candidates in ascending order of their ids: all lists have one entry for each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates {
    pub(crate) ids: Vec<Token>,
    /// Logit of the weak model relative to its best.
    pub(crate) logit: Vec<f32>,
    /// Gumbel variate; 0 where the noise plays no part. Of kept tokens 1 for the best, else 0.
    pub(crate) gumbel: Vec<f32>,
    /// Weight under q.
    pub(crate) plain: Vec<u32>,

    top: Top,
    best: Vec<Token>,
    high: Vec<u32>,
    /// The best and the lucky, with their words.
    found: Vec<(Token, u32)>,
    words: Vec<u32>,
}

impl Candidates {
    /// The `most` likely, those that `more` adds and, with noise, those with the smallest words. `weights` are those of
    /// `logits`.
    pub(crate) fn choose(
        &mut self,
        kernel: Kernel,
        logits: &[f32],
        weights: &Weights,
        noise: Option<&Noise>,
        most: usize,
        more: impl FnOnce(&mut Vec<Token>),
    ) {
        self.top.find(logits, weights, most, &mut self.best);
        more(&mut self.best);
        self.best.sort_unstable();
        self.best.dedup();
        self.high.clear();
        self.high.resize(self.best.len(), 0);
        self.found.clear();
        if let Some(noise) = noise {
            noise.high().gather(kernel, &self.best, &mut self.high);
            let limit = u32::try_from((LUCKY << 32) / logits.len() as u64).unwrap_or(u32::MAX);
            noise
                .high()
                .below(kernel, logits.len() as u32, limit, &mut self.found);
        }
        self.found
            .extend(self.best.iter().copied().zip(self.high.iter().copied()));
        // Two rows that are in order, which this sort takes as they are.
        self.found.sort();
        self.found.dedup();
        self.ids.clear();
        self.ids.extend(self.found.iter().map(|found| found.0));

        self.logit.clear();
        self.logit
            .extend(self.ids.iter().map(|&id| logits[id as usize] - weights.max));
        self.plain.clear();
        self.plain
            .extend(self.ids.iter().map(|&id| weights.weights[id as usize]));
        self.gumbel.clear();
        self.gumbel.resize(self.ids.len(), 0.0);
        if noise.is_some() {
            self.words.clear();
            self.words.extend(self.found.iter().map(|found| found.1));
            weir_exact::gumbels(kernel, &self.words, &mut self.gumbel);
        }
    }

    /// Notes in place of the noise which one a sampler keeps: the first of the best.
    pub(crate) fn mark_best(&mut self) {
        let best = self.logit.iter().position(|&x| x == 0.0);
        self.gumbel[best.expect("the largest logit is a candidate's")] = 1.0;
    }

    /// Weight of all other tokens, where that of all is `sum`.
    pub(crate) fn outside(&self, sum: u64) -> u64 {
        sum - self.plain.iter().map(|&w| u64::from(w)).sum::<u64>()
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Place of `token` in the lists.
    pub(crate) fn find(&self, token: Token) -> Option<usize> {
        self.ids.binary_search(&token).ok()
    }
}
