//! From a configuration to a running server.

use crate::clock::Clock;
use crate::config::Config;
use crate::engine::{Engine, Limits};
use crate::engine_thread::EngineThread;
use crate::io::{Io, WAKER};
use crate::models;
use crate::pump::Pump;
use crate::record::Record;
use crate::retokenize::Retokenizer;
use crate::status::Status;
use crate::worker::Worker;
use anyhow::{Context, ensure};
use core::time::Duration;
use mio::{Poll, Waker};
use signal_hook_mio::v1_0::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use weir_codec::Settings;
use weir_ledger::Governor;
use weir_link::{Address, Link, Metered, Socket};
use weir_meter::{LinkCost, side_bits};
use weir_model::Predict;
use weir_setup::Weak;
use weir_setup::weak::Layout;
use weir_wire::message::PROMPT_MAX;
use weir_wire::{Caps, InnerConfig, InnerSession, Parameters};

/// A server on threads of its own, for programs that run more than it.
pub struct Server {
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Loads the models, opens the link and starts. Signals are the caller's affair.
    ///
    /// # Errors
    /// A bad configuration, model, address or link.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let (io, waker) = build(config)?;
        let stop = Arc::clone(&io.stop);
        let thread = std::thread::Builder::new()
            .name("inner".to_owned())
            .spawn(move || io.run(None))?;
        Ok(Self { stop, waker, thread })
    }

    /// Whether the server has ended by itself; [`Server::stop`] says why.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends the server, after what the engine is at.
    ///
    /// # Errors
    /// The link or the engine had failed.
    pub fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        // If this fails the loop looks by itself a second later.
        let _ = self.waker.wake();
        self.thread
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the server's thread panicked"))
    }
}

/// Runs a server on this thread until one of `signals` comes.
pub(crate) fn run(config: &Config, signals: Signals) -> anyhow::Result<()> {
    build(config)?.0.run(Some(signals))
}

fn build(config: &Config) -> anyhow::Result<(Io<Socket>, Arc<Waker>)> {
    let parameters = config.session.parameters(config.link.mtu)?;
    let address = Address::between(&config.link.local, &config.link.peer).context("link")?;
    let limits = Limits {
        batches: config.session.batches,
        slots: usize::from(config.session.slots),
        code: parameters.code_limit(),
        continuous: parameters.piece_len().is_some(),
        settings: config.session.settings(),
    };
    let least = Settings::least_limit(limits.slots);
    ensure!(
        limits.continuous || limits.code >= least,
        "link.mtu: a frame holds {} bytes of code, but {} slots need {least}",
        limits.code,
        limits.slots
    );
    let record = config
        .record
        .as_ref()
        .map(|path| Record::open(path).with_context(|| path.display().to_string()));
    let record = record.transpose()?;
    let weak = Weak::load(&config.weak, &config.session, Layout::Together)?;
    let own = models::tokenizer(config, &weak.tokenizer)?;
    let strong = models::strong(config, &weak, own.as_ref())?;
    let Weak {
        tokenizer,
        model,
        vocabulary,
        agreement,
        options,
        ..
    } = weak;
    let retokenizer = own.map(|own| Retokenizer::new(own, tokenizer)).transpose()?;

    // Nothing is heard before everything is ready.
    let link = Socket::open(&address)?;
    let mtu = link.mtu();
    ensure!(
        config.link.mtu <= mtu,
        "link.mtu: {} bytes on a link that takes {mtu}",
        config.link.mtu
    );
    let (clock, poll) = (Clock::start().context("clock")?, Poll::new()?);
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let governor = governor(config, &parameters, link.cost())?;
    let session = InnerConfig {
        caps: Caps {
            prompt_tokens: model.max_context().min(PROMPT_MAX),
        },
        quarantine: Duration::from_millis(config.link.quarantine_ms),
        ..InnerConfig::new(parameters, agreement)
    };
    let session = InnerSession::new(clock.now(), session)?;
    let worker = Worker::new(Engine::new(
        strong,
        model,
        options.kernel,
        vocabulary,
        limits,
        retokenizer,
        record,
    ));
    let io = Io {
        poll,
        link: Metered::new(link, &governor),
        governor,
        ledger: config.meter.ledger.clone().unwrap_or_default(),
        ends_at: None,
        pump: Pump::new(session, 2 * config.weak.kv_tokens),
        engine: EngineThread::start(worker, Arc::clone(&waker), clock)?,
        clock,
        status: Status::new(clock.now(), config.status_s),
        stop: Arc::new(AtomicBool::new(false)),
    };
    tracing::info!(link = %address, batches = config.session.batches, "ready");
    Ok((io, waker))
}

/// The budget: on the ledger, if there is one.
fn governor(config: &Config, parameters: &Parameters, cost: LinkCost) -> anyhow::Result<Governor> {
    // Where every tick has its frame, moments say nothing.
    let tick = match config.session.shape.as_str() {
        "constant" => 0,
        _ => u64::from(config.session.tick_ms) * 1_000,
    };
    let mut limits = config.meter.limits(side_bits(1473), tick);
    // A control frame is no longer than 16 bytes, but for its shape.
    let control = parameters.shape.padded(parameters, 16);
    limits.reserve = RESERVE * limits.dearest(cost, control).unwrap_or(0);
    // A frame that is refused for its length would never leave.
    let governor = config.meter.governor(cost, limits, config.link.mtu, None)?;
    match governor.ledger() {
        Some(ledger) => {
            let (state, total) = (ledger.state(), ledger.total());
            tracing::info!(spent = state.spent, total, starts = state.starts, "ledger open");
        }
        None => tracing::warn!(
            "NO LEDGER: the budget is in memory, and every restart begins it anew; set meter.ledger where weights are guarded"
        ),
    }
    Ok(governor)
}

/// Control frames that can leave when frames have used up a total or a window. SPEC 7.2.
const RESERVE: u64 = 8;
