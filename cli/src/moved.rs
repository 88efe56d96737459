//! Commands that are `weir-lab`'s now: each says where it has gone.

use std::ffi::OsString;
use std::process::ExitCode;

/// Whatever is asked of a command that has gone.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Says where `command` has gone.
pub(crate) fn say(command: &str) -> ExitCode {
    eprintln!(
        "weir: `weir {command}` is `weir-lab {command}` now: cargo run --release -p weir-lab -- {command} …"
    );
    USAGE.into()
}

/// The same of `weir plan --plot`.
pub(crate) fn say_plot() -> ExitCode {
    eprintln!(
        "weir: `weir plan --plot` is `weir-lab plot plan` now: \
         weir plan … --json | cargo run --release -p weir-lab -- plot plan STEM"
    );
    USAGE.into()
}

/// What a wrong command line exits with.
const USAGE: u8 = 2;
