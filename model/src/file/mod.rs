//! Model files: what is in them, read without trusting it.

pub(crate) mod dtype;
pub(crate) mod gguf;
pub(crate) mod mapped;
pub(crate) mod metadata;
pub(crate) mod weirfile;
pub(crate) mod write;
