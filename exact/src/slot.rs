//! Names of tokens and of live sequences.

/// An index into the model's vocabulary.
pub type Token = u32;

/// A handle of one live sequence within one model instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Slot(pub u32);
