//! `weir convert`: GGUF to the project's own file, which is mapped instead of repacked at every start.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use weir_setup::tool::progress;

/// Repacks a GGUF file into a .weir file, which loads at once
///
/// Nothing is lost: the model keeps its hash, and either file can stand for the other.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The GGUF file
    #[arg(value_name = "GGUF")]
    input: PathBuf,
    /// The .weir file to write
    #[arg(value_name = "OUT.weir")]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let spinner = progress::spinner("Repacking");
    let result = weir_model::convert(&args.input, &args.output);
    spinner.finish_and_clear();
    let hash = result.with_context(|| format!("cannot convert {}", args.input.display()))?;
    println!(
        "{} -> {}: model {}",
        args.input.display(),
        args.output.display(),
        blake3::Hash::from(hash).to_hex()
    );
    Ok(())
}
