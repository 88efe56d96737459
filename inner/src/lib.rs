//! The inner server: strong model, seeded sampler, encoder, cadence.
//!
//! The way of a query, room by room:
//!
//! - `io` owns the link and the clock: datagrams come in, frames leave on ticks, each against a permit of the governor;
//! - [`pump`]: the session of `weir-wire` with what waits at its door, at most one frame ahead;
//! - [`worker`]: the engine's desk, on a thread of its own: orders in, frames back;
//! - [`engine`]: the strong engine says tokens, one encoder per batch writes them;
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
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Runs the server until SIGTERM or SIGINT. Logs go to stderr, filtered by `RUST_LOG` (`info` without it).
///
/// # Errors
/// A bad configuration, model, address or link; or the link or the engine has failed.
pub fn run(args: Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A caller may have set up its own.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    let config = Config::load(&args)?;
    let signals = Signals::new([SIGTERM, SIGINT]).context("signals")?;
    server::run(&config, signals)
}

/// What a program that ends with this error exits with: each reason of a ledger's has a number of its own
/// (docs/operations.md), any other is 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    weir_ledger::exit_code(error.chain()).into()
}
