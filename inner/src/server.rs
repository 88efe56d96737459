//! From a configuration to a running server.

use crate::clock::Clock;
use crate::config::{Config, LinkConfig, SessionConfig};
use crate::engine::{Engine, Limits};
use crate::engine_thread::EngineThread;
use crate::io::{Io, WAKER};
use crate::models::Pair;
use crate::pump::Pump;
use crate::record::Record;
use crate::status::Status;
use crate::worker::Worker;
use anyhow::{Context, ensure};
use mio::{Poll, Waker};
use signal_hook_mio::v1_0::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use weir_codec::Settings;
use weir_link::{Address, Link, Metered, Udp};
use weir_meter::Governor;
use weir_wire::{CheckWidth, Format, IdWidth, InnerConfig, InnerSession, Parameters};

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

fn build(config: &Config) -> anyhow::Result<(Io<Udp>, Arc<Waker>)> {
    let parameters = parameters(&config.session, &config.link)?;
    let address = address(&config.link)?;
    let full = u8::try_from(config.session.tokens_per_tick).context("session.tokens_per_tick")?;
    let limits = Limits {
        batches: config.session.batches,
        slots: usize::from(config.session.slots),
        code: parameters.code_limit(),
        settings: Settings { full },
    };
    let least = Settings::least_limit(limits.slots);
    ensure!(
        limits.code >= least,
        "link.mtu: a frame holds {} bytes of code, but {} slots need {least}",
        limits.code,
        limits.slots
    );
    let record = config
        .record
        .as_ref()
        .map(|path| Record::open(path).with_context(|| path.display().to_string()));
    let record = record.transpose()?;
    let Pair {
        strong,
        weak,
        vocabulary,
        agreement,
    } = Pair::load(config, &limits.settings)?;

    // Nothing is heard before everything is ready.
    let link = Udp::open(address)?;
    let mtu = link.mtu();
    ensure!(
        config.link.mtu <= mtu,
        "link.mtu: {} bytes on a link that takes {mtu}",
        config.link.mtu
    );
    let (clock, poll) = (Clock::start(), Poll::new()?);
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    let governor =
        Governor::new(clock.now().micros(), link.cost(), (&config.meter).into()).context("meter")?;
    let session = InnerSession::new(clock.now(), InnerConfig::new(parameters, agreement))?;
    let worker = Worker::new(Engine::new(strong, weak, vocabulary, limits, record));
    let io = Io {
        poll,
        link: Metered::new(link, &governor),
        governor,
        pump: Pump::new(session),
        engine: EngineThread::start(worker, Arc::clone(&waker), clock)?,
        clock,
        status: Status::new(clock.now(), config.status_s),
        stop: Arc::new(AtomicBool::new(false)),
    };
    tracing::info!(link = %address, batches = config.session.batches, "ready");
    Ok((io, waker))
}

fn parameters(session: &SessionConfig, link: &LinkConfig) -> anyhow::Result<Parameters> {
    let id = match session.id_bits {
        8 => IdWidth::One,
        16 => IdWidth::Two,
        bits => anyhow::bail!("session.id_bits: 8 or 16, not {bits}"),
    };
    let check = match session.check_bytes {
        2 => CheckWidth::Two,
        4 => CheckWidth::Four,
        bytes => anyhow::bail!("session.check_bytes: 2 or 4, not {bytes}"),
    };
    let parameters = Parameters {
        format: Format { id, check },
        window: session.window,
        batches: session.batches,
        tokens_per_tick: u16::try_from(session.tokens_per_tick).context("session.tokens_per_tick")?,
        tick: session
            .tick_ms
            .checked_mul(1000)
            .context("session.tick_ms: too long")?,
        mtu: u16::try_from(link.mtu).context("link.mtu")?,
        ..Parameters::default()
    };
    parameters.validate()?;
    Ok(parameters)
}

/// Both ends of the link as one address.
fn address(link: &LinkConfig) -> anyhow::Result<Address> {
    let LinkConfig { local, peer, .. } = link;
    let (_, own) = local
        .split_once("://")
        .with_context(|| format!("link.local: {local:?} is not a URL"))?;
    let url = format!("{peer}?bind={own}");
    url.parse()
        .with_context(|| format!("link.local = {local:?}, link.peer = {peer:?}"))
}
