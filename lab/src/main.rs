//! The `weir-lab` tool: what researchers need, beside the `weir` of operators.
//!
//! `trace` lets a strong model answer, `bench` measures what the answers cost and how fast the parts are, `plot` draws,
//! `train` makes the embedded pair and the network that predicts which token wins.

#![forbid(unsafe_code)]

mod bench;
mod plot;
mod trace;
mod train;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures what Weir's answers cost, draws it, and trains what Weir predicts with
///
/// Try `weir-lab trace --out T.jsonl`, then `weir-lab bench codec --trace T.jsonl`: neither needs another file or a network.
#[derive(Debug, Parser)]
#[command(name = "weir-lab", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Trace(Box<trace::Args>),
    #[command(subcommand)]
    Bench(Box<bench::Command>),
    #[command(subcommand)]
    Plot(Box<plot::Command>),
    Train(Box<train::Args>),
}

fn main() -> ExitCode {
    // What an engine cannot say in its answer: why it could not go on.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::ERROR)
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            weir_inner::last_words("weir-lab", &error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Trace(args) => trace::run(&args),
        Command::Bench(command) => bench::run(&command),
        Command::Plot(command) => plot::run(&command),
        Command::Train(args) => train::run(*args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
