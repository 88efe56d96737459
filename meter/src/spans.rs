//! The rolling windows of a governor, with the shares of repeats and handshakes in them. SPEC 7.2.

use alloc::vec::Vec;

use crate::account::Charge;
use crate::limits::{Limits, Span, part};
use crate::permit::Purpose;
use crate::refused::Refused;
use crate::time::Instant;
use crate::window::Window;

/// All windows; on the account's time.
#[derive(Debug)]
pub(crate) struct Spans {
    spans: Vec<Paired>,
    handshakes: Window,
    limits: Limits,
}

#[derive(Debug)]
struct Paired {
    seconds: u32,
    whole: Window,
    repeats: Window,
    /// Whether the operator has been told that it is nearly used up, and that it is.
    told: [bool; 2],
}

/// What a window says when it has just come so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Crossed {
    pub(crate) seconds: u32,
    pub(crate) spent: u64,
    pub(crate) cap: u64,
    /// The hard limit, else the soft one.
    pub(crate) is_full: bool,
}

impl Spans {
    pub(crate) fn new(limits: &Limits, spans: &[Span]) -> Self {
        let mut strictest: Vec<Span> = Vec::new();
        for span in spans {
            match strictest.iter_mut().find(|known| known.seconds == span.seconds) {
                Some(known) => known.bits = known.bits.min(span.bits),
                None => strictest.push(*span),
            }
        }
        let pair = |span: &Span| Paired {
            seconds: span.seconds,
            whole: Window::new(span.seconds, span.bits),
            repeats: Window::new(
                span.seconds,
                part(span.bits, limits.repeat_percent.min(REPEATS_MAX)),
            ),
            told: [false; 2],
        };
        Self {
            spans: strictest.iter().map(pair).collect(),
            handshakes: Window::new(3_600, limits.handshakes_per_hour),
            limits: *limits,
        }
    }

    /// Goes through what the account remembers.
    pub(crate) fn replay(&mut self, past: impl Iterator<Item = Charge>) {
        for charge in past {
            for span in &mut self.spans {
                span.whole.add(charge.time, charge.bits);
                span.repeats.add(charge.time, charge.repeats);
            }
            self.handshakes.add(charge.time, charge.handshakes);
        }
    }

    /// When `bits` may leave: now (`None`), or at a time, for a window of so many seconds.
    ///
    /// # Errors
    /// Never; or handshakes have used their hour up.
    pub(crate) fn wait<E>(
        &mut self,
        time: Instant,
        bits: u64,
        purpose: Purpose,
    ) -> Result<Option<(Instant, u32)>, Refused<E>> {
        if purpose == Purpose::Handshake && self.handshakes.wait(time, bits).is_some() {
            return Err(Refused::HandshakeHour);
        }
        let mut latest = None;
        for span in &mut self.spans {
            let kept = match purpose {
                Purpose::Handshake => 0,
                Purpose::Frame | Purpose::Repeat => self.limits.kept(span.whole.cap()),
            };
            let (seconds, cap) = (span.seconds, span.whole.cap() - kept);
            if bits > cap {
                return Err(Refused::AboveWindow { bits, seconds, cap });
            }
            let mut wait = span.whole.wait(time, bits + kept);
            if purpose == Purpose::Repeat {
                wait = wait.max(span.repeats.wait(time, bits));
            }
            latest = latest.max(wait.map(|at| (at, seconds)));
        }
        Ok(latest)
    }

    pub(crate) fn add(&mut self, time: Instant, bits: u64, purpose: Purpose) {
        for span in &mut self.spans {
            span.whole.add(time, bits);
            if purpose == Purpose::Repeat {
                span.repeats.add(time, bits);
            }
        }
        if purpose == Purpose::Handshake {
            self.handshakes.add(time, bits);
        }
    }

    /// Windows that have come to their soft or hard limit since the last call; `waits`: a charge had to wait. A window that
    /// has come below its soft limit meanwhile may tell again.
    pub(crate) fn crossed(&mut self, soft_percent: u8, waits: bool, mut tell: impl FnMut(Crossed)) {
        for span in &mut self.spans {
            let (spent, cap, seconds) = (span.whole.sum(), span.whole.cap(), span.seconds);
            let is_low = spent >= part(cap, soft_percent);
            let is_full = is_low && (span.told[1] || waits || spent >= cap);
            for (told, is, is_full) in [(span.told[0], is_low, false), (span.told[1], is_full, true)] {
                if is && !told {
                    tell(Crossed {
                        seconds,
                        spent,
                        cap,
                        is_full,
                    });
                }
            }
            span.told = [is_low, is_full];
        }
    }
}

/// Percent of a window that repeats may take, whatever is configured.
const REPEATS_MAX: u8 = 10;
