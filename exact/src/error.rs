//! What a predictor or an exact pass can refuse, with the culprit named.

use crate::{Slot, Token};

/// An error of a [`Predict`](crate::Predict) or of a pass over logits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The positions pool (or the slot table) has no room: close a slot or make the pool larger (caller).
    #[error("pool full: {needed} positions needed, {free} free")]
    PoolFull {
        /// Positions asked for.
        needed: usize,
        /// Positions that are free.
        free: usize,
    },
    /// The slot would outgrow its context (caller).
    #[error("slot {} would hold {len} positions of at most {max}", slot.0)]
    ContextFull {
        /// The slot.
        slot: Slot,
        /// Its length after the call, in positions.
        len: usize,
        /// The limit, in positions.
        max: usize,
    },
    /// The slot is not open (caller).
    #[error("slot {} is not open", .0.0)]
    NoSlot(Slot),
    /// The token is not in the vocabulary (caller).
    #[error("token {token} is outside the vocabulary of {vocab}")]
    NoToken {
        /// The token.
        token: Token,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A value became infinite or NaN: the weights are damaged or the model is unfit (model).
    #[error("a value is not finite")]
    NotFinite,
    /// A kernel that does not exist here was asked for (caller).
    #[error("kernel {name:?}: {reason}")]
    Kernel {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// The calling thread rounds otherwise than IEEE's default: call [`float_env::set`](crate::float_env::set) on it (caller).
    #[error("float control word {0:#06x} is not round-to-nearest with subnormals kept")]
    FloatEnv(u32),
    /// What a model of another crate says of itself (model).
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}
