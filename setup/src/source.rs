//! Models by name: a file, or one of the embedded pair.

use std::path::Path;

use anyhow::{Context, Result};
use weir_codec::Vocabulary;
use weir_model::{Kernel, Model, Options, Tokenizer, embedded};

/// Where a model comes from.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    embedded: Option<&'static [u8]>,
}

impl Source {
    /// A strong model: a file, or the one of the pair for `embedded`.
    pub fn strong(name: &str) -> Self {
        Self::new(name, embedded::strong)
    }

    /// A weak model: a file, or the one of the pair for `embedded`.
    pub fn weak(name: &str) -> Self {
        Self::new(name, embedded::weak)
    }

    fn new(name: &str, bytes: fn() -> &'static [u8]) -> Self {
        Self {
            name: name.to_owned(),
            embedded: (name == EMBEDDED).then(bytes),
        }
    }

    /// As it was named.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's content, where it is part of the program.
    pub fn embedded(&self) -> Option<&'static [u8]> {
        self.embedded
    }

    /// Loads the weights, once the machine has shown that it computes rightly; a file of some size takes seconds.
    ///
    /// # Errors
    /// What is wrong with the file, by name; or [`weir_model::Error::SelfCheck`].
    pub fn model(&self, options: &Options) -> Result<Model, weir_model::Error> {
        Model::self_check(options)?;
        match self.embedded {
            Some(bytes) => Model::from_bytes(&self.name, bytes, options),
            None => Model::load(Path::new(&self.name), options),
        }
    }

    /// Loads the tokenizer of the same file.
    ///
    /// # Errors
    /// What is wrong with the file, by name.
    pub fn tokenizer(&self) -> Result<Tokenizer, weir_model::Error> {
        match self.embedded {
            Some(bytes) => Tokenizer::from_bytes(&self.name, bytes),
            None => Tokenizer::load(Path::new(&self.name)),
        }
    }
}

/// The name of a model that is part of the program.
pub const EMBEDDED: &str = "embedded";

/// The kernel of a name in a configuration. `auto` is the one that the environment variable `WEIR_KERNEL` names, else the
/// fastest that this CPU has.
///
/// # Errors
/// A name that no kernel has, or a kernel that this CPU lacks.
pub fn kernel(name: &str) -> Result<Kernel> {
    let forced = std::env::var("WEIR_KERNEL")
        .ok()
        .filter(|forced| !forced.is_empty());
    Ok(match (name, forced) {
        ("auto", None) => Kernel::detect(),
        ("auto", Some(forced)) => Kernel::named(&forced).context("WEIR_KERNEL")?,
        (name, _) => Kernel::named(name)?,
    })
}

/// Threads of a number in a configuration: 0 stands for all cores.
pub fn threads(count: usize) -> usize {
    match count {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

/// What the codec needs of a tokenizer.
pub fn vocabulary(tokenizer: &Tokenizer) -> Vocabulary {
    let tokens = 0..u32::try_from(tokenizer.vocab()).expect("token ids are u32");
    Vocabulary {
        bytes: tokens.map(|token| tokenizer.token_bytes(token).into()).collect(),
        end: tokenizer.end_tokens().to_vec(),
    }
}
