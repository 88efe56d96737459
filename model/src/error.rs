//! What can go wrong, with the culprit named.

use crate::{Slot, Token};

/// An error of loading or running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read or written.
    #[error("{file}")]
    Io {
        /// Path as given.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is damaged, or not of this kind.
    #[error("{file}: {part}: expected {expected}, got {got}")]
    Format {
        /// Path or name as given.
        file: String,
        /// The tensor, metadata key or header field.
        part: String,
        /// What would have been right.
        expected: String,
        /// What is there.
        got: String,
    },
    /// The tokenizer could not be rebuilt, or a text could not be encoded.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The chat template could not be rendered.
    #[error("chat template: {0}")]
    Chat(String),
    /// The positions pool (or the slot table) has no room; close a slot or make the pool larger.
    #[error("pool full: {needed} positions needed, {free} free")]
    PoolFull {
        /// Positions asked for.
        needed: usize,
        /// Positions that are free.
        free: usize,
    },
    /// The slot would outgrow its context.
    #[error("slot {} would hold {len} positions of at most {max}", slot.0)]
    ContextFull {
        /// The slot.
        slot: Slot,
        /// Its length after the call.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The slot is not open.
    #[error("slot {} is not open", .0.0)]
    NoSlot(Slot),
    /// The token is not in the vocabulary.
    #[error("token {token} is outside the vocabulary of {vocab}")]
    NoToken {
        /// The token.
        token: Token,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A value became infinite or NaN: the weights are damaged or the model is unfit.
    #[error("a value is not finite")]
    NotFinite,
    /// A kernel that does not exist here was asked for.
    #[error("kernel {name:?}: {reason}")]
    Kernel {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// The float control word of a computing thread could not be set to IEEE defaults.
    #[error("float control word {0:#06x} is not round-to-nearest with subnormals kept")]
    FloatEnv(u32),
    /// The self-check gave other logits than the specification's digest.
    #[error("self-check of kernel {kernel}: logits digest {got}, specification {expected}")]
    SelfCheck {
        /// Kernel that ran.
        kernel: &'static str,
        /// Digest in `vectors/logits.json`.
        expected: String,
        /// Digest here.
        got: String,
    },
}

impl Error {
    pub(crate) fn format(
        file: &str,
        part: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Format {
            file: file.into(),
            part: part.into(),
            expected: expected.into(),
            got: got.into(),
        }
    }
}
