//! The outer server: OpenAI-style HTTP, sessions, decoder.
//!
//! The way of a query, room by room:
//!
//! - `http` takes a request, checks it, tokenizes its prompt and draws its seed;
//! - `ask` is the seam behind which tokio ends: a channel inward, a channel back per request;
//! - `admission` gives it a slot in a batch as soon as both weak models have room for it, and keeps it waiting until;
//! - `pump` submits it to the session of `weir-wire`, and hands that session's frames on;
//! - `reader` decodes the frames of one batch and tells each user their piece of text, cut by `text`;
//! - `threads` moves bytes between the link, the pump and the readers; `metrics` counts them as they come in.
//!
//! Everything but `http` and `threads` is sans-IO: a test drives it with a virtual clock.
#![forbid(unsafe_code)]

mod admission;
mod ask;
mod clock;
mod config;
mod http;
mod metrics;
mod pump;
mod reader;
mod receipts;
mod server;
mod text;
mod threads;

pub use config::{Args, Config, Limits, LinkConfig};
pub use server::Server;

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Runs the server until SIGTERM or SIGINT, then cancels what is live and returns. Logs go to stderr, filtered by
/// `RUST_LOG` (`info` without it).
///
/// # Errors
/// A bad configuration, model, address or link; or the session's thread has failed.
pub fn run(args: Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    // A caller may have set up its own.
    let _ = log.try_init();
    let config = Config::load(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no tokio runtime")?;
    runtime.block_on(async {
        let mut server = Server::start(&config).await?;
        tokio::select! {
            () = server.failed() => {}
            signal = stop_signal() => tracing::info!(signal = signal?, "shutting down"),
        }
        server.stop().await
    })
}

async fn stop_signal() -> anyhow::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("no SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no SIGINT")?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}
