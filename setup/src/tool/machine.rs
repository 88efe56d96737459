//! Flags of commands that run a model, and opening one.

use super::progress;
use crate::Source;
use crate::source::kernel;
use anyhow::{Context as _, Result};
use weir_model::{Kernel, Kv, Model, Options, Tokenizer};

/// Flags of every command that runs a model.
#[derive(Clone, Debug, clap::Args)]
pub struct Machine {
    /// Threads of the model [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Kernel of the model: auto, reference, portable, avx2 or avx512; all give the same bits
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = kernel)]
    kernel: Kernel,
}

/// A kind of keys and values by its name, for flags.
pub fn kv(name: &str) -> Result<Kv> {
    let found = Kv::ALL.into_iter().find(|kv| kv.name() == name);
    found.with_context(|| format!("{name:?} is neither f32 nor int8"))
}

impl Machine {
    /// Options for a pool of `kv_tokens` positions with at most `max_context` for each slot.
    pub fn options(&self, kv_tokens: usize, max_context: usize) -> Options {
        let default = Options::default();
        let threads = self.threads.map_or(default.threads, usize::from);
        Options {
            kernel: self.kernel,
            threads,
            kv_tokens,
            max_context,
            kv: Kv::F32,
        }
    }
}

/// Loads the weights; a file of some size takes seconds.
pub fn load(source: &Source, options: &Options) -> Result<Model> {
    let spinner = progress::spinner(&format!("Loading {}", source.name()));
    let model = source.model(options);
    spinner.finish_and_clear();
    model.with_context(|| format!("cannot load the model {}", source.name()))
}

/// Loads the tokenizer of the same file.
pub fn tokenizer(source: &Source) -> Result<Tokenizer> {
    let tokenizer = source.tokenizer();
    tokenizer.with_context(|| format!("cannot load the tokenizer of the model {}", source.name()))
}
