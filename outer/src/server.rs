//! The whole server, assembled: model and tokenizer, session, edge, listeners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use weir_link::{Address, Link, Socket};
use weir_model::{Model, PAGE, Predict};
use weir_setup::source::threads;
use weir_setup::weak::Layout;
use weir_setup::{SessionConfig, Weak, WeakConfig};
use weir_wire::{Format, OuterConfig, OuterSession};

use crate::admission::Admission;
use crate::ask::{Command, Desk, Health};
use crate::clock;
use crate::config::{Config, Limits, ReceiptsConfig};
use crate::http::{Bodies, Connections, Edge, Keys, Seats, health_router, router, serve};
use crate::metrics::Metrics;
use crate::pump::Pump;
use crate::reader::{Fresh, Reader};
use crate::receipts::Receipts;
use crate::threads::Session;

/// A running server; for programs that embed it.
pub struct Server {
    http: SocketAddr,
    metrics: Option<SocketAddr>,
    desk: Desk,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
    listeners: Vec<JoinHandle<()>>,
    session: std::thread::JoinHandle<anyhow::Result<()>>,
}

impl Server {
    /// Loads the weak model, opens the link and listens. Must be called within a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// What cannot be loaded, opened or bound, by name.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let keys = Keys::new(&config.api_keys)?;
        let parameters = config.session.parameters(config.link.mtu)?;
        let address = Address::between(&config.link.local, &config.link.peer).context("link")?;
        let link = Socket::open(&address).context("link")?;
        ensure!(
            config.link.mtu <= link.mtu(),
            "link.mtu: {} bytes do not fit this link's {}",
            config.link.mtu,
            link.mtu()
        );
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("listen {}", config.listen))?;
        let scraped = bind("metrics", config.metrics).await?;
        let asked = bind("health", config.health).await?;

        let weak = Weak::load(&config.weak, &config.session, Layout::Apart)?;
        let limits = limits(&config.limits, &config.weak, weak.model.max_context());
        let metrics = Metrics::default();
        let health = Arc::new(Health::new("no session yet"));
        let session = OuterSession::new(OuterConfig::new(parameters, weak.agreement)).context("session")?;
        let SessionConfig { batches, slots, .. } = config.session;
        let admission = Admission::new(batches, slots, config.weak.kv_tokens, limits.queue);
        let patience = Duration::from_secs(limits.queue_timeout_s);
        let pump = Pump::new(session, admission, patience, Arc::clone(&health), metrics.clone());
        // Holds the weights; each batch has a twin with slots and threads of its own.
        let weights = Arc::new(weak.model);
        let readers = (0..batches).map(|batch| {
            let (model, options) = (Arc::clone(&weights), weak.options.clone());
            let fresh: Fresh<Model> = Box::new(move || model.twin(&options));
            Reader::new(
                batch,
                fresh,
                weak.options.kernel,
                weak.vocabulary.clone(),
                weak.settings,
                parameters,
                metrics.clone(),
            )
        });
        let (over, ended) = watch::channel(false);
        let receipts = receipts(&config.receipts, parameters.format)?;
        let session = Session::start(
            link,
            pump,
            readers.collect(),
            metrics.clone(),
            receipts,
            move || {
                // Nobody may be waiting.
                let _ = over.send(true);
            },
        )?;

        let waker = session.waker;
        let seats = usize::from(batches) * usize::from(slots) + limits.queue;
        // A wake fails only when the poll is gone, and then nobody sleeps in it.
        let desk = Desk::new(
            session.commands,
            move || drop(waker.wake()),
            Arc::clone(&health),
            seats,
        );
        let connections = Connections {
            seats: Seats {
                strangers: limits.strangers,
                guests: limits.connections,
            },
            header_timeout: Duration::from_secs(limits.body_timeout_s),
            write_timeout: Duration::from_secs(limits.write_timeout_s),
            grace: GRACE,
        };
        let tokens = 0..u32::try_from(weak.tokenizer.vocab()).context("vocabulary")?;
        let longest = tokens.map(|token| weak.tokenizer.token_bytes(token).len()).max();
        let text_bytes = limits.prompt_tokens.saturating_mul(longest.unwrap_or(1));
        let edge = Edge {
            desk: desk.clone(),
            tokenizer: Arc::new(weak.tokenizer),
            model: config.model.clone(),
            keys,
            bodies: Bodies::new(limits.bodies_bytes, limits.body_bytes, metrics.body_bytes.clone()),
            limits,
            started: clock::unix_seconds(),
            expose_cost: config.expose_cost,
            retokenize: config.session.retokenize,
            least_tau: config.session.least_tau(),
            tokenizing: Arc::new(Semaphore::new(threads(0))),
            text_bytes,
        };
        let (stop, stopped) = watch::channel(false);
        let http = listener.local_addr().context("listen")?;
        let mut listeners = vec![tokio::spawn(serve(
            listener,
            router(Arc::new(edge)),
            connections,
            metrics.clone(),
            stopped.clone(),
        ))];
        let scraped_at = scraped.as_ref().map(TcpListener::local_addr).transpose()?;
        // Nobody shows a key there.
        let few = Connections {
            seats: Seats {
                strangers: 16,
                guests: 0,
            },
            ..connections
        };
        let aside = [
            scraped.map(|listener| (listener, metrics.router())),
            asked.map(|listener| (listener, health_router(health))),
        ];
        for (listener, router) in aside.into_iter().flatten() {
            // The gauges of connections are the API's.
            let own = Metrics::default();
            listeners.push(tokio::spawn(serve(listener, router, few, own, stopped.clone())));
        }
        tracing::info!(%http, model = config.model, link = %address, "listening");
        Ok(Self {
            http,
            metrics: scraped_at,
            desk,
            stop,
            ended,
            listeners,
            session: session.thread,
        })
    }

    /// Where the API is, with the port that the system chose if 0 was asked for.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where the metrics are, if anywhere.
    pub fn metrics(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Returns when the session's thread has ended, which it does not do by itself; [`Server::stop`] says why.
    pub async fn failed(&mut self) {
        // The sender is gone once it has sent.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }

    /// Stops accepting, cancels what is live, waits a few seconds for all to end.
    ///
    /// # Errors
    /// The session's thread had failed.
    pub async fn stop(self) -> anyhow::Result<()> {
        // Each is told; if one has ended already, it needs not be.
        let _ = self.stop.send(true);
        let _ = self.desk.send(Command::Stop);
        for listener in self.listeners {
            listener.await.context("a listener panicked")?;
        }
        let session = tokio::task::spawn_blocking(move || self.session.join()).await?;
        session.unwrap_or_else(|_| anyhow::bail!("the session's thread panicked"))
    }
}

async fn bind(name: &str, at: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(at) = at else { return Ok(None) };
    let listener = TcpListener::bind(at).await;
    listener.map(Some).with_context(|| format!("{name} {at}"))
}

/// Receipts, if there is a key for them.
fn receipts(config: &ReceiptsConfig, format: Format) -> anyhow::Result<Option<Receipts>> {
    let Some(key) = &config.key else {
        return Ok(None);
    };
    let key = weir_ledger::read_key(key).context("receipts.key")?;
    let ledger = config.ledger.as_deref().map(weir_ledger::read_public);
    let ledger = ledger.transpose().context("receipts.ledger")?.unwrap_or([0; 32]);
    let every = Duration::from_millis(config.every_ms);
    let start = u32::try_from(clock::unix_seconds()).unwrap_or(u32::MAX);
    let store = config.file.as_deref().map(weir_ledger::locked);
    let store = store.transpose().context("receipts.file")?;
    Receipts::new(key, ledger, every, format, start, store)
        .context("receipts.file")
        .map(Some)
}

/// The configured limits, lowered to what the weak model has room for.
fn limits(limits: &Limits, weak: &WeakConfig, context: usize) -> Limits {
    let context_tokens = limits
        .context_tokens
        .min(context)
        .min(weak.kv_tokens / PAGE * PAGE);
    Limits {
        context_tokens,
        ..limits.clone()
    }
}

/// After a stop: how long connections may take to end.
const GRACE: Duration = Duration::from_secs(3);
