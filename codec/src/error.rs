use crate::limits::MAX_COUNT;

/// What can go wrong in the codec.
///
/// After an error from a frame the batch is out of step and every later call answers [`Error::Broken`].
#[derive(thiserror::Error, Debug)]
pub enum Error {
    /// The weak model refused or failed.
    #[error("weak model: {0}")]
    Model(#[from] weir_exact::Error),
    /// The model gave a logit that is infinite or not a number.
    #[error("a logit is not finite")]
    NotFinite,
    /// The code decodes, but is not what the encoder writes for that content (peer).
    #[error("code is not the canonical one of its content")]
    NotCanonical,
    /// A segment of a continuous code follows one that has not brought a whole piece: the code ends there (peer, or caller).
    #[error("a segment follows one that filled no piece, where the code had to end")]
    Unfilled,
    /// A segment of a continuous code says nothing (peer, or caller).
    #[error("a segment takes in no message, and no slot is live: it says nothing")]
    Empty,
    /// The caller wanted no more (caller).
    #[error("stopped by its caller")]
    Stopped,
    /// A slot number is out of range, not free on opening, or not live (caller).
    #[error("slot {slot} is {problem}")]
    Slot {
        /// The slot's number.
        slot: u8,
        /// What it is.
        problem: &'static str,
    },
    /// A sampling parameter out of range (caller or peer).
    #[error("query has an unusable {0}")]
    Sampling(&'static str),
    /// The prompt is empty or holds an unknown token (caller or peer).
    #[error("prompt is empty or holds an unknown token")]
    Prompt,
    /// Prompt and answer do not fit the weak model's context.
    #[error("query needs {need} positions, the model has {max_context}")]
    TooLong {
        /// Positions that prompt and answer take together.
        need: usize,
        /// Positions of a slot.
        max_context: usize,
    },
    /// A token id beyond the vocabulary (caller).
    #[error("token {token} is outside a vocabulary of {vocab}")]
    Token {
        /// The id.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// Offers must name every live slot once, ascending, with at most 64 tokens each (caller).
    #[error("offers must name every live slot once, ascending, with at most {MAX_COUNT} tokens")]
    Offers,
    /// `limit` is below [`crate::Settings::least_limit`] (caller).
    #[error("limit of {limit} bytes is below the {least} that the live slots may need")]
    Limit {
        /// The limit given.
        limit: usize,
        /// The least allowed.
        least: usize,
    },
    /// More inward messages than one frame can take in (caller).
    #[error("a frame takes in at most 65535 messages")]
    TakenIn,
    /// A window of a stream that the model cannot hold, or that would not move on (caller).
    #[error("window of {size} with overlap {overlap} does not fit a model of {max_context} positions")]
    Window {
        /// Positions of the window.
        size: usize,
        /// Tokens repeated.
        overlap: usize,
        /// Positions of a slot.
        max_context: usize,
    },
    /// The vocabulary is too small or too large for the coder.
    #[error("vocabulary of {0} tokens; 2 to 2^24 are possible")]
    Vocab(usize),
    /// An earlier error left this batch out of step.
    #[error("batch is broken by an earlier error")]
    Broken,
}

impl Error {
    /// What the model's arithmetic says of logits.
    pub(crate) fn of_logits(error: weir_exact::Error) -> Self {
        match error {
            weir_exact::Error::NotFinite => Self::NotFinite,
            other => Self::Model(other),
        }
    }
}
