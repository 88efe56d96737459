//! The engine's desk: orders from the session side come in, frames go back, nothing is done before it may be.
//!
//! Sans-IO; `threads` runs it on a thread of its own.

use crate::engine::{Engine, Error, Frame};
use std::collections::VecDeque;
use weir_model::Predict;
use weir_wire::Message;

/// What the session side asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum Order {
    /// A session has begun, or ended (`None`): whatever was live is dropped.
    Session(Option<u64>),
    /// The next message of a batch.
    Message(u16, Message),
    /// The next frame of a batch will be welcome; one frame per order.
    Go(u16),
}

/// What the engine says to a session; anything for an older session must be thrown away.
#[derive(Clone, PartialEq, Debug)]
pub struct Said {
    /// The session that it speaks of.
    pub session: u64,
    /// What there is to say.
    pub what: What,
}

/// A word of the engine's.
#[derive(Clone, PartialEq, Debug)]
pub enum What {
    /// The engine has dropped whatever was live before: orders of this session are welcome.
    Ready,
    /// The next frame of its batch.
    Frame(Frame),
    /// The batches fell out of step: the session is lost.
    Lost,
}

/// An engine with its inbox.
pub struct Worker<P: Predict> {
    engine: Engine<P>,
    session: Option<u64>,
    desks: Vec<Desk>,
    frames: Vec<Frame>,
}

#[derive(Clone, Default)]
struct Desk {
    inbox: VecDeque<Message>,
    go: bool,
}

impl Desk {
    /// Messages for one turn. Long prompts wait for the next ones, or everybody else's answers would stand still.
    fn take(&mut self) -> Vec<Message> {
        let (mut taken, mut tokens) = (Vec::new(), 0);
        while tokens < PREFILL
            && let Some(message) = self.inbox.pop_front()
        {
            if let Message::Query(query) = &message {
                tokens += query.weight();
            }
            taken.push(message);
        }
        taken
    }
}

/// Prompt tokens of one batch and turn after which no further query is begun.
const PREFILL: usize = 1024;

impl<P: Predict> Worker<P> {
    /// A worker that waits for a session.
    pub fn new(engine: Engine<P>) -> Self {
        let desks = vec![Desk::default(); engine.batches()];
        Self {
            engine,
            session: None,
            desks,
            frames: Vec::new(),
        }
    }

    /// Takes an order; nothing is computed yet. A session gives [`What::Ready`].
    ///
    /// # Errors
    /// As [`Engine::reset`].
    pub fn order(&mut self, order: Order) -> Result<Option<Said>, Error> {
        match order {
            Order::Session(session) => {
                self.restart(session)?;
                let what = What::Ready;
                return Ok(session.map(|session| Said { session, what }));
            }
            Order::Message(batch, message) => self.desks[usize::from(batch)].inbox.push_back(message),
            Order::Go(batch) => self.desks[usize::from(batch)].go = true,
        }
        Ok(None)
    }

    /// Whether [`Worker::turn`] has anything to do.
    pub fn is_ready(&self) -> bool {
        (0..)
            .zip(&self.desks)
            .any(|(batch, desk)| self.is_due(batch, desk))
    }

    /// One turn for every batch that may say something and has something to say. If the codec fails, the session is
    /// lost and the next one begins afresh.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn turn(&mut self, mut say: impl FnMut(Said)) -> Result<(), Error> {
        let Some(session) = self.session else {
            return Ok(());
        };
        let is_due = |(batch, desk): &(u16, &Desk)| self.is_due(*batch, desk);
        let due: Vec<u16> = (0..)
            .zip(&self.desks)
            .filter(is_due)
            .map(|(batch, _)| batch)
            .collect();
        let mut inbox = Vec::with_capacity(due.len());
        for batch in due {
            let desk = &mut self.desks[usize::from(batch)];
            desk.go = false;
            inbox.push((batch, desk.take()));
        }
        let result = self.engine.turn(inbox, &mut self.frames);
        if let Err(Error::Codec { .. }) = &result {
            self.restart(None)?;
            say(Said {
                session,
                what: What::Lost,
            });
        }
        for frame in self.frames.drain(..) {
            say(Said {
                session,
                what: What::Frame(frame),
            });
        }
        match result {
            Err(error @ Error::Codec { .. }) => tracing::error!(%error, "the session is lost"),
            other => other?,
        }
        Ok(())
    }

    /// The engine.
    pub fn engine(&self) -> &Engine<P> {
        &self.engine
    }

    fn restart(&mut self, session: Option<u64>) -> Result<(), Error> {
        self.session = session;
        self.desks.fill(Desk::default());
        self.frames.clear();
        self.engine.reset()
    }

    fn is_due(&self, batch: u16, desk: &Desk) -> bool {
        self.session.is_some() && desk.go && (!desk.inbox.is_empty() || self.engine.is_live(batch))
    }
}
