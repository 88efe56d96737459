//! Predicts the tokens of one text: q, corrected by what the text has shown (SPEC 4.12).

use weir_exact::{Kernel, Token};

use super::mixer::Mixer;
use crate::Error;
use crate::predict::{BEST_IN_TEXT, Prediction};

/// The prediction of a text's next token, and what the text has taught.
pub(super) struct TextPredictor {
    prediction: Prediction,
    mixer: Mixer,
    /// Shares of the candidates, in units of 2^-30.
    mix: Vec<f32>,
}

impl TextPredictor {
    /// Knows nothing yet of the text.
    pub(super) fn new(kernel: Kernel) -> Self {
        Self {
            prediction: Prediction::new(kernel),
            mixer: Mixer::new(),
            mix: Vec::new(),
        }
    }

    /// Predicts the token that follows `logits`.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a logit is; [`Error::Vocab`] for fewer than 2 or more than 2^24 of them.
    pub(super) fn prepare(&mut self, logits: &[f32]) -> Result<&mut Prediction, Error> {
        let Self {
            prediction,
            mixer,
            mix,
        } = self;
        prediction.weigh(logits)?;
        prediction.choose(logits, BEST_IN_TEXT, |best| mixer.propose(best));
        let (sum, outside) = (prediction.weights.sum, prediction.outside);
        let candidates = &prediction.candidates;
        let escape = mixer.predict(&candidates.ids, &candidates.logit, (sum, outside), mix);
        let escape = (prediction.rest_len() > 0).then_some(escape);
        prediction.widths.set(mix.iter().map(|&mix| mix as u32), escape);
        Ok(prediction)
    }

    /// Learns that `token` came; to be called once after each [`TextPredictor::prepare`] and coding.
    pub(super) fn learn(&mut self, token: Token) {
        self.mixer.learn(token);
    }
}
