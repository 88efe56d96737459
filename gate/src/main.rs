//! The gate as a program of its own; `weir gate` is the same.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

/// Lets frames out of a closed data centre: well-formed, on the tick, inside the budget
#[derive(Parser)]
#[command(name = "weir-gate", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: weir_gate::Command,
}

fn main() -> ExitCode {
    match weir_gate::command(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Its exit code says why even where nobody reads that: docs/operations.md.
            let _ = writeln!(std::io::stderr(), "weir-gate: {error:#}");
            weir_gate::exit_code(&error).into()
        }
    }
}
