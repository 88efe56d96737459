//! The inner server: strong model, seeded sampler, encoder, cadence.
//!
//! The way of a query, room by room:
//!
//! - `io` owns the link and the clock: datagrams come in, frames leave on ticks, each against a permit of the governor;
//! - [`pump`]: the session of `weir-wire` with what waits at its door, at most one frame ahead;
//! - [`worker`]: the engine's desk, on a thread of its own: orders in, frames back;
//! - [`engine`]: the strong engine says tokens ([`engine::Answers`]), one encoder per batch writes them;
//! - [`strong`]: whatever runs the model whose weights are guarded; tokens are all that leave it;
//! - [`record`]: every answer as it was said, for audits.
//!
//! Everything but `io` and the thread around the worker is sans-IO: a test drives it with a virtual clock.
#![forbid(unsafe_code)]

mod clock;
mod config;
pub mod engine;
mod engine_thread;
mod io;
mod models;
pub mod pump;
pub mod record;
pub mod retokenize;
mod server;
mod status;
pub mod strong;
pub mod worker;

pub use config::{Args, Config, Engine, LinkConfig, StrongConfig};
pub use server::Server;
pub use weir_ledger::MeterConfig;

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use std::io::Write;
use std::process::ExitCode;
use weir_setup::signals::is_ignored;

/// Runs the server until SIGTERM, SIGINT, SIGQUIT or SIGHUP (unless that is ignored, as under `nohup`). Logs go to stderr, filtered by `RUST_LOG` (`info` without it).
///
/// # Errors
/// A bad configuration, model, address or link; or the link or the engine has failed.
pub fn run(args: Args) -> anyhow::Result<()> {
    let clock = clock::Clock::start().context("clock")?;
    weir_setup::log::start(move || clock.now());
    let config = Config::load(&args)?;
    // From before the ledger is opened: a start that has begun is ended in order, too.
    let ends = [SIGTERM, SIGINT, SIGQUIT, SIGHUP];
    let ends = ends.iter().filter(|&&end| end != SIGHUP || !is_ignored(end));
    let signals = Signals::new(ends).context("signals")?;
    server::run(&config, signals)
}

/// What a program that ends with this error exits with: each reason of a ledger's has a number of its own
/// (docs/operations.md), any other is 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    weir_ledger::exit_code(error.chain()).into()
}

/// Says why `program` ends, if anybody still hears it: a terminal that has gone must not change how it ends.
pub fn last_words(program: &str, error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "{program}: {error:#}");
}
