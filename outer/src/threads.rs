//! The threads of the session: one owns the link and the pump, one per batch owns a reader.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use mio::{Events, Poll, Token, Waker};
use weir_link::{Link, Sent};
use weir_model::Predict;
use weir_wire::Instant;

use crate::ask::Command;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::pump::{Orders, Pump};
use crate::reader::{Order, Reader, Report};
use crate::receipts::Receipts;

/// The running session.
pub(crate) struct Session {
    /// Where the edge's commands go; wake the session after each.
    pub(crate) commands: Sender<Command>,
    pub(crate) waker: Arc<Waker>,
    pub(crate) thread: JoinHandle<anyhow::Result<()>>,
}

impl Session {
    /// Starts all threads. `ended` is called when the session's has ended, for whatever reason.
    pub(crate) fn start<L: Link + Send + 'static, P: Predict + 'static>(
        link: L,
        pump: Pump,
        readers: Vec<Reader<P>>,
        metrics: Metrics,
        receipts: Option<Receipts>,
        ended: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new().context("no poll")?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).context("no waker")?);
        let (commands, inbox) = channel();
        let (reports, desk) = channel();
        let mut orders = Vec::with_capacity(readers.len());
        for (batch, reader) in readers.into_iter().enumerate() {
            orders.push(Desk::start(batch, reader, reports.clone(), Arc::clone(&waker))?);
        }
        let io = Io {
            link,
            pump,
            clock: Clock::start(),
            metrics,
            receipts,
            desks: orders,
            commands: inbox,
            reports: desk,
        };
        let ended = Ended(Some(ended));
        let thread = Builder::new().name("session".to_owned()).spawn(move || {
            let _ended = ended;
            io.run(poll)
        });
        Ok(Self {
            commands,
            waker,
            thread: thread.context("no session thread")?,
        })
    }
}

/// A reader's thread, from outside.
struct Desk {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

impl Desk {
    fn start<P: Predict + 'static>(
        batch: usize,
        mut reader: Reader<P>,
        reports: Sender<Report>,
        waker: Arc<Waker>,
    ) -> anyhow::Result<Self> {
        let (orders, inbox) = channel();
        let thread = Builder::new().name(format!("reader {batch}")).spawn(move || {
            // A panic must be noticed, too.
            let _ended = Ended(Some({
                let waker = Arc::clone(&waker);
                move || drop(waker.wake())
            }));
            while let Ok(order) = inbox.recv() {
                let Some(report) = reader.order(order) else {
                    continue;
                };
                if reports.send(report).is_err() {
                    return;
                }
                // Without a poll there is nobody to wake.
                let _ = waker.wake();
            }
        });
        Ok(Self {
            orders,
            thread: thread.context("no reader thread")?,
        })
    }
}

/// Calls when dropped, so also when its thread panics.
struct Ended<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for Ended<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}

/// What the session's thread turns around.
struct Io<L> {
    link: L,
    pump: Pump,
    clock: Clock,
    metrics: Metrics,
    receipts: Option<Receipts>,
    desks: Vec<Desk>,
    commands: Receiver<Command>,
    reports: Receiver<Report>,
}

impl<L: Link> Io<L> {
    fn run(mut self, mut poll: Poll) -> anyhow::Result<()> {
        self.link
            .register(poll.registry(), LINK)
            .context("the link cannot be polled")?;
        let mut events = Events::with_capacity(16);
        let mut orders = Orders::new();
        let mut datagram = vec![0; self.link.mtu().max(2048)];
        let mut out = Vec::new();
        let mut linger: Option<Instant> = None;
        let mut refused: Option<i32> = None;
        loop {
            let now = self.clock.now();
            let has_more = self.receive(now, &mut datagram, &mut orders)?;
            while let Ok(command) = self.commands.try_recv() {
                if matches!(command, Command::Stop) {
                    linger = Some(now + LINGER);
                }
                self.pump.command(now, command, &mut orders);
            }
            while let Ok(report) = self.reports.try_recv() {
                self.pump.report(now, report, &mut orders);
            }
            self.pump.tick(now, session_id, &mut orders);
            while self.pump.poll_transmit(now, &mut out, &mut orders) {
                // What the link loses is said again.
                match self.link.send(&out)? {
                    Sent::Whole | Sent::Lost => {}
                    Sent::TooLong => tracing::error!(
                        len = out.len(),
                        "the interface takes no datagram of this length: make link.mtu smaller at both ends"
                    ),
                    Sent::Refused(error) => {
                        if refused.replace(error) != Some(error) {
                            let error = std::io::Error::from_raw_os_error(error);
                            tracing::error!(%error, "the system refuses what should go to inner");
                        }
                    }
                }
                self.metrics.sent.inc();
            }
            self.receipt(now, &mut out)?;
            self.hand_over(&mut orders)?;
            if linger.is_some_and(|until| self.pump.is_finished() || until <= now) {
                let last = self.receipts.as_ref().map_or(now, Receipts::poll_at);
                return self.receipt(last, &mut out);
            }
            let receipt = self.receipts.as_ref().map(Receipts::poll_at);
            let next = self.pump.poll_at().into_iter().chain(linger).chain(receipt).min();
            let wait = match has_more {
                true => Some(Duration::ZERO),
                false => next.map(|next| next.since(self.clock.now())),
            };
            match poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("poll"),
            }
        }
    }

    /// Says what has come, if that is due.
    fn receipt(&mut self, now: Instant, out: &mut Vec<u8>) -> anyhow::Result<()> {
        let counts = (self.metrics.datagrams.get(), self.metrics.link_bits.get());
        let Some(receipts) = &mut self.receipts else {
            return Ok(());
        };
        match receipts.poll(now, counts, out) {
            Ok(true) => {
                // One that is lost is followed by another.
                let _ = self.link.send(out)?;
                self.metrics.sent.inc();
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "no receipt, as receipts.file cannot be written"),
        }
        Ok(())
    }

    /// Takes what the link has, but not so much that users wait, and writes the receipts; tells whether there may be more.
    fn receive(&mut self, now: Instant, buffer: &mut [u8], orders: &mut Orders) -> anyhow::Result<bool> {
        let cost = self.link.cost();
        for _ in 0..AT_ONCE {
            let Some(len) = self.link.recv(buffer)? else {
                return Ok(false);
            };
            let datagram = &buffer[..len];
            self.metrics.datagrams.inc();
            self.metrics.datagram_bytes.inc_by(len as u64);
            self.metrics.link_bits.inc_by(cost.bits(len).unwrap_or_default());
            if let Err(why) = self.pump.recv(now, datagram, orders) {
                tracing::debug!(len, %why, "datagram dropped");
            }
        }
        Ok(true)
    }

    fn hand_over(&self, orders: &mut Orders) -> anyhow::Result<()> {
        for (batch, order) in orders.drain(..) {
            if self.desks[usize::from(batch)].orders.send(order).is_err() {
                bail!("the reader of batch {batch} has ended");
            }
        }
        match self.desks.iter().position(|desk| desk.thread.is_finished()) {
            Some(batch) => bail!("the reader of batch {batch} has ended"),
            None => Ok(()),
        }
    }
}

/// A fresh session id. It only has to differ from that of the last session, so if the system has no random bytes a
/// process-wide counter would do; the system always has them once booted.
fn session_id() -> u64 {
    getrandom::u64().expect("the operating system gives random bytes")
}

const LINK: Token = Token(0);
const WAKE: Token = Token(1);
/// Datagrams that are taken in one go.
const AT_ONCE: usize = 256;
/// After a stop: how long inner may take to take the cancels in.
const LINGER: Duration = Duration::from_secs(2);
