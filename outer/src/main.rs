//! The outer server as a program of its own; `weir outer` is the same.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

/// Answers OpenAI-style HTTP requests with what inner's strong model says, read from coded frames
#[derive(Parser)]
#[command(name = "weir-outer", version)]
struct Flags {
    #[command(flatten)]
    args: weir_outer::Args,
}

fn main() -> ExitCode {
    match weir_outer::run(Flags::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever heard the log may have gone.
            let _ = writeln!(std::io::stderr(), "weir-outer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
