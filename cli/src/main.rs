//! The `weir` tool: what operators need.
//!
//! `demo` makes tokens and says what they cost, `compress` and `decompress` put the codec to work on files; `ledger` and
//! `plan` look after the budget, `reconcile` compares counters; `inner`, `outer` and `gate` hand over to the crates of these
//! names. What only researchers need is in `weir-lab`.

#![forbid(unsafe_code)]

mod aside;
mod compress;
mod container;
mod convert;
mod demo;
mod ledger;
mod moved;
mod nft;
mod number;
mod plan;
mod reconcile;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Lets the answers of a language model out of a closed data centre at a few bits per token or less
///
/// Try `weir demo`: it needs no other file and no network.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(Box<demo::Args>),
    /// Runs the end inside: strong model, sampler, encoder, budget
    Inner(Box<weir_inner::Args>),
    /// Runs the end outside: OpenAI-style HTTP API, decoder
    Outer(Box<weir_outer::Args>),
    /// Runs the gate between them, or speaks with one that runs
    #[command(subcommand)]
    Gate(Box<GateCommand>),
    Reconcile(Box<reconcile::Args>),
    Compress(Box<compress::CompressArgs>),
    Decompress(Box<compress::DecompressArgs>),
    Convert(convert::Args),
    #[command(subcommand)]
    Ledger(Box<ledger::Command>),
    Plan(Box<plan::Args>),
    #[command(hide = true)]
    Bench(moved::Args),
    #[command(hide = true)]
    Trace(moved::Args),
    #[command(hide = true)]
    Train(moved::Args),
}

#[derive(Debug, Subcommand)]
enum GateCommand {
    #[command(flatten)]
    Program(weir_gate::Command),
    Nft(nft::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            weir_inner::last_words("weir", &error);
            weir_gate::exit_code(&error).into()
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Inner(args) => {
            demo::end_with_parent();
            weir_inner::run(*args)
        }
        Command::Outer(args) => {
            demo::end_with_parent();
            weir_outer::run(*args)
        }
        Command::Gate(command) => match *command {
            GateCommand::Program(command) => weir_gate::command(command),
            GateCommand::Nft(args) => nft::print(&args),
        },
        Command::Reconcile(args) => reconcile::run(&args),
        Command::Compress(args) => compress::compress(&args),
        Command::Decompress(args) => compress::decompress(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Ledger(command) => ledger::run(&command),
        Command::Plan(args) => return plan::run(&args),
        Command::Bench(_) => return Ok(moved::say("bench")),
        Command::Trace(_) => return Ok(moved::say("trace")),
        Command::Train(_) => return Ok(moved::say("train")),
    }?;
    Ok(ExitCode::SUCCESS)
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
