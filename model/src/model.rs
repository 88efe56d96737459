//! A loaded model: the public face of this crate.

use crate::gguf::Gguf;
use crate::{Error, Kernel, Options, Predict, Slot, Token};
use std::path::Path;

/// What a model is, for people and for budgets.
#[derive(Clone, Debug)]
pub struct Info {
    /// `llama` or `qwen2`.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Positions the model was made for.
    pub context: usize,
    /// Number of layers.
    pub layers: usize,
    /// Bytes of the weights in memory.
    pub bytes: u64,
    /// The kernel chosen at load.
    pub kernel: Kernel,
}

/// A bit-exact language model.
pub struct Model {
    info: Info,
    hash: [u8; 32],
}

impl Model {
    /// Loads a `.gguf` or `.weir` file, told apart by their first bytes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`] or [`Error::Kernel`].
    pub fn load(path: &Path, options: &Options) -> Result<Self, Error> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| Error::Io { file: name.clone(), source })?;
        Self::from_bytes(&name, &bytes, options)
    }

    /// Loads from memory; `name` is used in errors.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes(name: &str, bytes: &[u8], options: &Options) -> Result<Self, Error> {
        let _ = (Gguf::parse(name, bytes)?, options);
        Err(Error::format(name, "architecture", "llama or qwen2", "nothing"))
    }

    /// Content hash of weights and architecture, independent of container, kernel and threads.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// What this model is.
    pub fn info(&self) -> &Info {
        &self.info
    }
}

impl Predict for Model {
    fn vocab(&self) -> usize {
        self.info.vocab
    }

    fn max_context(&self) -> usize {
        self.info.context
    }

    fn open(&mut self) -> Result<Slot, Error> {
        Err(Error::PoolFull { needed: 1, free: 0 })
    }

    fn close(&mut self, _slot: Slot) {}

    fn len(&self, _slot: Slot) -> usize {
        0
    }

    fn truncate(&mut self, _slot: Slot, _len: usize) {}

    fn prefill(&mut self, slot: Slot, _tokens: &[Token]) -> Result<(), Error> {
        Err(Error::NoSlot(slot))
    }

    fn step(
        &mut self,
        rows: &[(Slot, Token)],
        _sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        rows.first().map_or(Ok(()), |&(slot, _)| Err(Error::NoSlot(slot)))
    }
}
