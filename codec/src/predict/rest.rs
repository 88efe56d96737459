//! The tokens that are no candidates, as intervals of a second 2^32 after an escape (SPEC 4.6).
//!
//! That takes a pass over the whole vocabulary with its noise, so it is made only once an escape is there.

use weir_exact::{Kernel, Token};

use super::widths::Widths;
use crate::noise::Noise;

/// The intervals, and what they were made from; keeps its buffers.
#[derive(Clone, Debug, Default)]
pub(super) struct Rest {
    is_set: bool,
    /// Ascending; the next lists have one entry for each.
    ids: Vec<Token>,
    widths: Widths,
    /// Weights under q, and with the noise; without noise the second list is empty.
    plain: Vec<u32>,
    lucky: Vec<f32>,
    sums: (u64, f64),

    /// Of all tokens.
    words: Vec<u32>,
    favoured: Vec<f32>,
}

/// The most that noise counts for, in nats, so that no sum is infinite.
const MOST: f32 = 40.0;

impl Rest {
    /// What was made is of no use any more.
    pub(super) fn clear(&mut self) {
        self.is_set = false;
    }

    /// Makes the intervals of the tokens that `candidates`, ascending, leave of `weights`, unless they are made. With noise (and
    /// the temperature), the part `trust` of all goes by it.
    pub(super) fn set(
        &mut self,
        kernel: Kernel,
        weights: &[u32],
        candidates: &[Token],
        drawn: Option<(&Noise, f32)>,
        trust: f32,
    ) {
        if self.is_set {
            return;
        }
        self.is_set = true;
        let mut skip = candidates.iter().copied().peekable();
        self.ids.clear();
        self.ids
            .extend((0..weights.len() as Token).filter(|id| skip.next_if_eq(id).is_none()));
        self.plain.clear();
        self.plain.extend(self.ids.iter().map(|&id| weights[id as usize]));
        self.lucky.clear();
        if let Some((noise, temperature)) = drawn {
            self.words.resize(weights.len(), 0);
            noise.high().fill(kernel, &mut self.words);
            self.favoured.resize(weights.len(), 0.0);
            weir_exact::favour(
                kernel,
                (temperature, MOST),
                &self.words,
                weights,
                &mut self.favoured,
            );
            self.lucky
                .extend(self.ids.iter().map(|&id| self.favoured[id as usize]));
        }
        self.sums = (
            self.plain.iter().map(|&w| u64::from(w)).sum(),
            self.lucky.iter().fold(0.0, |sum, &w| sum + f64::from(w)),
        );
        self.share_out(trust);
    }

    /// `(start, width)` of `token`, which is here.
    pub(super) fn place(&self, token: Token) -> Option<(u32, u32)> {
        let i = self.ids.binary_search(&token).ok()?;
        Some(self.widths.place(i))
    }

    /// The token at a point of 2^32, with its `(start, width)`.
    pub(super) fn find(&self, at: u32) -> (Token, (u32, u32)) {
        let i = self.widths.find(at);
        (self.ids[i], self.widths.place(i))
    }

    /// Probabilities of `token` with the noise and under q alone; none where the noise plays no part.
    pub(super) fn likelihoods(&self, token: Token) -> Option<(f32, f32)> {
        let i = self.ids.binary_search(&token).ok()?;
        let (plain, lucky) = self.sums;
        if plain == 0 || lucky <= 0.0 {
            return None;
        }
        Some((self.lucky[i] / lucky as f32, self.plain[i] as f32 / plain as f32))
    }

    /// Fills `widths`.
    fn share_out(&mut self, trust: f32) {
        let (plain, lucky) = self.sums;
        if plain == 0 {
            // Where q gives the rest nothing at all, they are alike.
            self.widths.set(self.ids.iter().map(|_| 1), None);
        } else if lucky > 0.0 {
            let unit = weir_exact::ONE as f32;
            let factors = (
                trust * (unit / lucky as f32),
                (1.0 - trust) * (unit / plain as f32),
            );
            let weight =
                |(&lucky, &plain): (&f32, &u32)| (factors.0 * lucky + factors.1 * plain as f32) as u32;
            self.widths
                .set(self.lucky.iter().zip(&self.plain).map(weight), None);
        } else {
            self.widths.set(self.plain.iter().copied(), None);
        }
    }
}
