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

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use weir_setup::signals::is_ignored;

/// Runs the server until SIGTERM, SIGINT, SIGQUIT or SIGHUP (unless that is ignored, as under `nohup`), then cancels what is live and returns. Logs go to stderr, filtered by
/// `RUST_LOG` (`info` without it).
///
/// # Errors
/// A bad configuration, model, address or link; or the session's thread has failed.
pub fn run(args: Args) -> anyhow::Result<()> {
    let clock = clock::Clock::start();
    weir_setup::log::start(move || clock.now());
    let config = Config::load(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no tokio runtime")?;
    runtime.block_on(async {
        // From before anything is opened: what comes meanwhile ends it in order, too.
        let signals = Signals::new()?;
        let mut server = Server::start(&config).await?;
        tokio::select! {
            () = server.failed() => {}
            signal = signals.next() => tracing::info!(signal, "shutting down"),
        }
        server.stop().await
    })
}

/// Those that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let hangup = SignalKind::hangup();
        let hangup = (!is_ignored(hangup.as_raw_value())).then(|| signal(hangup));
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("no SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("no SIGINT")?,
            quit: signal(SignalKind::quit()).context("no SIGQUIT")?,
            hangup: hangup.transpose().context("no SIGHUP")?,
        })
    }

    /// The name of the first that comes.
    async fn next(mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
            _ = hangup => "SIGHUP",
        }
    }
}
