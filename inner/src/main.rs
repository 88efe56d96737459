//! The inner server as a program of its own; `weir inner` is the same.

use clap::Parser;
use std::process::ExitCode;

/// Runs the strong model, and lets out its answers as coded frames
#[derive(Parser)]
#[command(name = "weir-inner", version)]
struct Flags {
    #[command(flatten)]
    args: weir_inner::Args,
}

fn main() -> ExitCode {
    match weir_inner::run(Flags::parse().args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            weir_inner::last_words("weir-inner", &error);
            weir_inner::exit_code(&error)
        }
    }
}
