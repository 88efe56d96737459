//! The seam between the HTTP edge (tokio) and the session (mio): a channel inward, a channel back per request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc as replies};
use weir_codec::Query;
use weir_model::Token;
use weir_wire::Source;

/// One request on its way in.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Unique within this process; never crosses the wire.
    pub(crate) id: u64,
    pub(crate) query: Query,
    /// What the prompt was made from, until it is sent in; for a strong model with other tokens.
    pub(crate) source: Source,
    pub(crate) events: replies::UnboundedSender<Event>,
    /// Free again when the session is done with the query, whether or not the user has heard the end of it.
    pub(crate) _seat: Option<Seat>,
}

/// The right to have one query live or waiting.
#[derive(Debug)]
pub(crate) struct Seat(#[expect(dead_code, reason = "held, and let go of")] OwnedSemaphorePermit);

impl Ask {
    /// Tells the user, if they are still there: if not, their cancel is on its way.
    pub(crate) fn tell(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }
}

/// What comes back, in this order: `Admitted`, any number of `Piece`, then `Done`; or `Failed` at any point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The query has a slot and is on its way to inner.
    Admitted,
    /// Tokens that have come, and the text that is certain now: it may lag behind them, where a character is not whole
    /// or a stop string may have begun.
    Piece {
        text: String,
        tokens: Vec<Token>,
    },
    Done {
        finish: Finish,
        usage: Usage,
    },
    Failed(Failure),
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// An end token or a stop string.
    Stop,
    /// `max_tokens` was reached.
    Length,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: u32,
    pub(crate) completion_tokens: u32,
    /// Code length of the answer's tokens as sent.
    pub(crate) coded_bits: f64,
    /// Code length under the weak model alone, for comparison.
    pub(crate) plain_bits: f64,
    /// This answer's share of the bits of the frames that carried it, check and batch id included.
    pub(crate) frame_bits: f64,
}

/// Why there is no (complete) answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{limit} requests are being answered or waiting already")]
    Busy { limit: usize },
    #[error("the inner server is not reachable: {0}")]
    Away(String),
    #[error("the session with the inner server was lost before the answer was complete: {0}")]
    Lost(String),
    /// Inner's budget lets no answer out: for so many seconds at most, or until somebody does something.
    #[error("no answer can leave the inner server: {why}{}", about(*.seconds))]
    Held { why: String, seconds: Option<u64> },
    #[error(
        "the inner server refused the query: it has no room for it, or its model does not take such a prompt"
    )]
    Refused,
    #[error("the model failed on this query")]
    Engine,
    #[error("the query waited {seconds} s for a free slot")]
    Waited { seconds: u64 },
    #[error("this server is shutting down")]
    Stopping,
}

/// When it is worth trying again, in words.
fn about(seconds: Option<u64>) -> String {
    match seconds {
        None => String::new(),
        Some(seconds @ 0..120) => format!("; try again in about {seconds} s"),
        Some(seconds @ 120..7_200) => format!("; try again in about {} min", seconds.div_ceil(60)),
        Some(seconds) => format!("; try again in about {} h", seconds.div_ceil(3_600)),
    }
}

/// From the edge to the session thread.
#[derive(Debug)]
pub(crate) enum Command {
    Ask(Ask),
    /// The user has gone away, or the time is up.
    Cancel(u64),
    /// Cancel all that is live and end the thread.
    Stop,
}

/// The session's state in one place, for `/healthz`, `/metrics` and the 503s.
#[derive(Debug)]
pub(crate) struct Health(Mutex<Result<(), Failure>>);

impl Health {
    /// Away for `reason`.
    pub(crate) fn new(reason: &str) -> Self {
        Self(Mutex::new(Err(Failure::Away(reason.to_owned()))))
    }

    pub(crate) fn set(&self, state: Result<(), Failure>) {
        *self.lock() = state;
    }

    /// `Err` carries the reason.
    pub(crate) fn get(&self) -> Result<(), Failure> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Result<(), Failure>> {
        // The state is a plain value: a writer that panicked cannot have left it half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The edge's end of the seam.
#[derive(Clone)]
pub(crate) struct Desk {
    commands: mpsc::Sender<Command>,
    wake: Arc<dyn Fn() + Send + Sync>,
    pub(crate) health: Arc<Health>,
    seats: Arc<Semaphore>,
    limit: usize,
    next: Arc<AtomicU64>,
}

impl Desk {
    /// `limit`: requests that may be live or waiting at once. `wake` is called after every command.
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        wake: impl Fn() + Send + Sync + 'static,
        health: Arc<Health>,
        limit: usize,
    ) -> Self {
        let seats = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Self {
            commands,
            wake: Arc::new(wake),
            health,
            seats,
            limit,
            next: Arc::default(),
        }
    }

    /// A seat, if inner can be reached and there is one.
    pub(crate) fn seat(&self) -> Result<Seat, Failure> {
        self.health.get()?;
        let seat = Arc::clone(&self.seats).try_acquire_owned();
        seat.map(Seat).map_err(|_| Failure::Busy { limit: self.limit })
    }

    /// Sends a query in. Dropping the answer cancels it.
    pub(crate) fn ask(&self, query: Query, source: Source, seat: Seat) -> Result<Answer, Failure> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (events, inbox) = replies::unbounded_channel();
        self.send(Command::Ask(Ask {
            id,
            query,
            source,
            events,
            _seat: Some(seat),
        }))?;
        Ok(Answer {
            id,
            inbox,
            desk: self.clone(),
            over: false,
        })
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), Failure> {
        self.commands.send(command).map_err(|_| Failure::Stopping)?;
        (self.wake)();
        Ok(())
    }
}

/// A request that has been sent in, and its events.
pub(crate) struct Answer {
    id: u64,
    inbox: replies::UnboundedReceiver<Event>,
    desk: Desk,
    over: bool,
}

impl Answer {
    /// The next event; after `Done` or `Failed` there is none. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Event {
        // The session thread ends only with the program.
        let event = self
            .inbox
            .recv()
            .await
            .unwrap_or(Event::Failed(Failure::Stopping));
        self.over = matches!(event, Event::Done { .. } | Event::Failed(_));
        event
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.over {
            // The thread is gone only when everything is.
            let _ = self.desk.send(Command::Cancel(self.id));
        }
    }
}
