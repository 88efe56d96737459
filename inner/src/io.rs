//! The thread that owns the link: datagrams in, ticks, frames out, each against a permit of the governor.

use crate::clock::Clock;
use crate::engine_thread::{Ended, EngineThread};
use crate::pump::{News, Pump};
use crate::status::Status;
use anyhow::Context;
use core::time::Duration;
use mio::{Events, Poll, Token};
use signal_hook_mio::v1_0::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use weir_link::{Link, Metered, Sent, governed_purpose};
use weir_meter::{Governor, Release};
use weir_wire::{InnerEvent, Purpose};

/// Everything the loop turns around.
pub(crate) struct Io<L> {
    pub(crate) poll: Poll,
    pub(crate) link: Metered<L>,
    pub(crate) governor: Governor,
    pub(crate) pump: Pump,
    pub(crate) engine: EngineThread,
    pub(crate) clock: Clock,
    pub(crate) status: Status,
    /// Set to end the loop; the engine's waker makes it look.
    pub(crate) stop: Arc<AtomicBool>,
}

pub(crate) const WAKER: Token = Token(0);
const LINK: Token = Token(1);
const SIGNALS: Token = Token(2);

/// The longest sleep: a lost wake-up costs no more.
const NAP: Duration = Duration::from_secs(1);

impl<L: Link> Io<L> {
    /// Runs until told to stop, by the flag or by one of `signals`; then says what was done.
    ///
    /// # Errors
    /// The link or the engine failed.
    pub(crate) fn run(mut self, mut signals: Option<Signals>) -> anyhow::Result<()> {
        let result = self.turn_until_stopped(&mut signals);
        self.status.log(self.clock.now(), &self.pump, &self.governor);
        let closed = self.governor.close(self.clock.since_boot(self.clock.now()));
        // Why the engine ended is worth more than that it did.
        self.engine.join()?;
        result?;
        closed.context("the ledger was not closed; what it had reserved counts as spent")
    }

    fn turn_until_stopped(&mut self, signals: &mut Option<Signals>) -> anyhow::Result<()> {
        self.link
            .register(self.poll.registry(), LINK)
            .context("the link cannot be polled")?;
        if let Some(signals) = signals {
            self.poll
                .registry()
                .register(signals, SIGNALS, mio::Interest::READABLE)
                .context("signals")?;
        }
        let mut events = Events::with_capacity(16);
        let mut datagram = vec![0; self.link.mtu().max(LARGEST)];
        let mut out = Vec::new();
        // Whatever came before the registration makes no event.
        let mut has_link = true;
        loop {
            if has_link {
                has_link = self.receive(&mut datagram)?;
            }
            loop {
                match self.engine.poll() {
                    Ok(Some((said, took))) => self.pump.said(self.clock.now(), said, took),
                    Ok(None) => break,
                    Err(Ended) => anyhow::bail!("the engine has ended"),
                }
            }
            self.transmit(&mut out)?;
            self.hand_over();
            self.status.poll(self.clock.now(), &self.pump, &mut self.governor);

            let now = self.clock.now();
            let mut wait = self.pump.poll_at().map_or(NAP, |at| at.since(now).min(NAP));
            if has_link {
                wait = Duration::ZERO;
            }
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(error).context("poll");
                }
                _ => {}
            }
            has_link |= events.iter().any(|event| event.token() == LINK);
            if let Some(signal) = signals.as_mut().and_then(|signals| signals.pending().next()) {
                tracing::info!(signal, "shutting down");
                return Ok(());
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }

    /// Takes what has come, but not so much that ticks are missed; tells whether there may be more.
    fn receive(&mut self, datagram: &mut [u8]) -> anyhow::Result<bool> {
        for _ in 0..AT_ONCE {
            let Some(len) = self.link.recv(datagram)? else {
                return Ok(false);
            };
            let now = self.clock.now();
            self.governor.received(self.clock.since_boot(now), len);
            if let Err(why) = self.pump.recv(now, &datagram[..len]) {
                tracing::debug!(%why, len, "a datagram had no effect");
            }
        }
        Ok(true)
    }

    /// Lets out what is due and what the budget allows.
    fn transmit(&mut self, out: &mut Vec<u8>) -> anyhow::Result<()> {
        loop {
            // Anew for each: a ledger that had to reserve takes its time, and what is late for a gate must wait.
            let now = self.clock.now();
            let Some(transmit) = self.pump.poll_transmit(now, out) else {
                // The disk has until the next tick.
                self.governor.prepare(self.clock.since_boot(now));
                return Ok(());
            };
            let purpose = governed_purpose(transmit.purpose);
            match self
                .governor
                .release(self.clock.since_boot(now), out.len(), purpose)
            {
                Release::Go(permit) => match self.link.send(permit, out)? {
                    Sent::Whole => {}
                    Sent::Lost => tracing::debug!("the link's queue is full"),
                    Sent::Refused(error) => self.status.lost(error),
                    Sent::TooLong => {
                        self.status.too_long(out.len());
                        // As long as it is, it would be lost again whenever outer asks for it.
                        if transmit.purpose != Purpose::Control {
                            self.pump.give_up(now, false);
                            return Ok(());
                        }
                    }
                },
                Release::At(at) => {
                    self.pump.put_back(transmit, self.clock.since_start(at));
                    continue;
                }
                Release::Refuse(why) => {
                    self.status.refused(why, transmit.purpose);
                    // SPEC 7.2: what can never leave would leave outer waiting for ever.
                    if why.is_final() && transmit.purpose != Purpose::Control {
                        self.pump.give_up(now, why.is_end());
                        return Ok(());
                    }
                }
            }
            // What was refused for now is lost to the session: outer asks again.
            self.pump.left(now, transmit);
        }
    }

    fn hand_over(&mut self) {
        while let Some(order) = self.pump.poll_order() {
            self.engine.order(order);
        }
        while let Some(news) = self.pump.poll_news() {
            match news {
                News::Session(InnerEvent::Opened { session }) => {
                    tracing::info!(session = format_args!("{session:016x}"), "session open");
                }
                News::Session(InnerEvent::Closed { session, reason }) => {
                    tracing::error!(session = format_args!("{session:016x}"), %reason, "session closed");
                }
                News::Session(InnerEvent::Refused { session, refusal }) => {
                    tracing::warn!(session = format_args!("{session:016x}"), %refusal, "session refused");
                }
                News::Abandoned(session) => {
                    tracing::error!(session = format_args!("{session:016x}"), "session given up");
                }
                News::Misfit(misuse) => tracing::error!(%misuse, "a frame was not submitted"),
            }
        }
    }
}

/// Datagrams that are taken in one go.
const AT_ONCE: usize = 256;
/// Room for the longest UDP datagram: inward ones may be longer than those outward.
const LARGEST: usize = 65_536;
