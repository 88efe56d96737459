//! Opening a model file, or one of the embedded pair.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use weir_codec::Vocabulary;
use weir_model::{Kernel, Model, Options, Tokenizer, embedded};

use crate::progress;

/// Flags of every command that runs a model.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Machine {
    /// Threads of the model [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Kernel of the model: reference, portable, avx2 or avx512; all give the same bits [default: the fastest here]
    #[arg(long, value_name = "NAME", value_parser = kernel)]
    kernel: Option<Kernel>,
}

impl Machine {
    /// Options for a pool of `kv_tokens` positions with at most `max_context` for each slot.
    pub(crate) fn options(&self, kv_tokens: usize, max_context: usize) -> Options {
        let default = Options::default();
        let threads = self.threads.map_or(default.threads, usize::from);
        Options {
            kernel: self.kernel,
            threads,
            kv_tokens,
            max_context,
        }
    }
}

/// Where a model comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    File(PathBuf),
    EmbeddedStrong,
    EmbeddedWeak,
}

impl Source {
    pub(crate) fn strong(path: Option<&Path>) -> Self {
        path.map_or(Self::EmbeddedStrong, |path| Self::File(path.to_owned()))
    }

    pub(crate) fn weak(path: Option<&Path>) -> Self {
        path.map_or(Self::EmbeddedWeak, |path| Self::File(path.to_owned()))
    }

    /// Loads the weights; a file of some size takes seconds.
    pub(crate) fn model(&self, options: &Options) -> Result<Model> {
        Model::self_check(options).context("this machine cannot be relied on to be exact")?;
        let spinner = progress::spinner(&format!("Loading {}", self.name()));
        let model = match self {
            Self::File(path) => Model::load(path, options),
            Self::EmbeddedStrong => Model::from_bytes(&self.name(), embedded::strong(), options),
            Self::EmbeddedWeak => Model::from_bytes(&self.name(), embedded::weak(), options),
        };
        spinner.finish_and_clear();
        model.with_context(|| self.failed())
    }

    /// Loads the tokenizer of the same file.
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer> {
        let tokenizer = match self {
            Self::File(path) => Tokenizer::load(path),
            Self::EmbeddedStrong => Tokenizer::from_bytes(&self.name(), embedded::strong()),
            Self::EmbeddedWeak => Tokenizer::from_bytes(&self.name(), embedded::weak()),
        };
        tokenizer.with_context(|| self.failed())
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::EmbeddedStrong => "the embedded strong model".to_owned(),
            Self::EmbeddedWeak => "the embedded weak model".to_owned(),
        }
    }

    fn failed(&self) -> String {
        format!("cannot load {}", self.name())
    }
}

/// What the codec needs of a tokenizer.
pub(crate) fn vocabulary(tokenizer: &Tokenizer) -> Result<Vocabulary> {
    let size = u32::try_from(tokenizer.vocab()).context("the vocabulary has more than 2^32 tokens")?;
    Ok(Vocabulary {
        bytes: (0..size)
            .map(|token| tokenizer.token_bytes(token).into())
            .collect(),
        end: tokenizer.end_tokens().to_vec(),
    })
}

/// A kernel by its name, for flags.
pub(crate) fn kernel(name: &str) -> Result<Kernel> {
    match Kernel::ALL.into_iter().find(|kernel| kernel.name() == name) {
        Some(kernel) => Ok(kernel),
        None => bail!("choose one of reference, portable, avx2 and avx512"),
    }
}
