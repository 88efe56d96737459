//! One prediction at work on many answers: code lengths without a code.

use anyhow::{Context as _, Result};
use weir_codec::noise::Noise;
use weir_codec::predict::{Predictor, SlotState};

use super::jobs::Job;
use super::replay::Part;

pub(super) struct Scorer {
    predictor: Predictor,
    /// What each answer has taught, once it has begun.
    own: Vec<Option<SlotState>>,
}

/// Bits of one token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits {
    /// Under the weak model alone.
    pub(super) plain: f64,
    /// Under the prediction.
    pub(super) coded: f64,
}

impl Scorer {
    /// `predictor` knows nothing yet of any of the `answers`.
    pub(super) fn new(predictor: Predictor, answers: usize) -> Self {
        let own = vec![None; answers];
        Self { predictor, own }
    }

    /// Predicts the tokens of a part and learns from them, in order, given the logits of the model that is number `weak`.
    /// `tell` gets the number of each token in the part and what it takes.
    ///
    /// # Errors
    /// Logits that are not finite.
    pub(super) fn score(
        &mut self,
        part: Part<'_>,
        weak: usize,
        jobs: &[Job],
        mut tell: impl FnMut(usize, Bits),
    ) -> Result<()> {
        let Part {
            opened,
            tokens,
            logits,
        } = part;
        for &job in opened {
            self.own[job] = Some(self.predictor.begin(Some(&jobs[job].query.sampling)));
        }
        let logits = &logits[weak];
        let rows = logits.chunks(logits.len() / tokens.len().max(1));
        for (i, (at, logits)) in tokens.iter().zip(rows).enumerate() {
            let query = &jobs[at.job].query;
            let own = self.own[at.job]
                .as_mut()
                .context("an answer goes on that has not begun")?;
            let noise = Noise::new(&query.seed, at.position);
            self.predictor
                .prepare(logits, Some((&query.sampling, &noise)), own)
                .with_context(|| format!("token {} of answer {}", at.position, at.job))?;
            let (plain, coded) = (
                self.predictor.prediction().plain_bits(at.token),
                self.predictor.prediction().place(at.token).bits(),
            );
            self.predictor.learn(at.token, own);
            tell(i, Bits { plain, coded });
        }
        Ok(())
    }
}
