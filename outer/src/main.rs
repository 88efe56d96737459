//! The outer server as a program of its own; `weir outer` is the same.

use clap::Parser;

/// Answers OpenAI-style HTTP requests with what inner's strong model says, read from coded frames
#[derive(Parser)]
#[command(name = "weir-outer", version)]
struct Flags {
    #[command(flatten)]
    args: weir_outer::Args,
}

fn main() -> anyhow::Result<()> {
    weir_outer::run(Flags::parse().args)
}
