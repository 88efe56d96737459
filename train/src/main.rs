//! `weir train` on its own, for whoever trains and needs nothing else of Weir.
#![forbid(unsafe_code)]

use clap::Parser;

/// Train a strong and a weak model with one tokenizer.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    args: weir_train::Args,
}

fn main() -> anyhow::Result<()> {
    weir_train::run(Cli::parse().args)
}
