//! What the operator is told: a line of counters now and then, and each alarm once.

use crate::pump::{Pump, Totals};
use core::time::Duration;
use weir_ledger::{Governor, Refused};
use weir_wire::{Instant, Purpose};

/// When to say what.
pub(crate) struct Status {
    every: Option<Duration>,
    next: Instant,
    last: Option<Refused>,
    last_error: Option<i32>,
}

impl Status {
    /// A status line every `seconds`; 0 for none but those that are asked for.
    pub(crate) fn new(now: Instant, seconds: u64) -> Self {
        let every = (seconds > 0).then(|| Duration::from_secs(seconds));
        Self {
            every,
            next: every.map_or(now, |every| now + every),
            last: None,
            last_error: None,
        }
    }

    /// Says what is due.
    pub(crate) fn poll(&mut self, now: Instant, pump: &Pump, governor: &mut Governor) {
        while let Some(alarm) = governor.poll_alarm() {
            tracing::warn!("ALARM: {alarm}");
        }
        if let Some(every) = self.every
            && self.next <= now
        {
            self.next = now + every;
            self.log(now, pump, governor);
        }
    }

    /// The governor has refused; said when the reason is new.
    pub(crate) fn refused(&mut self, why: Refused, purpose: Purpose) {
        if self.last != Some(why) {
            self.last = Some(why);
            tracing::error!(%why, ?purpose, "ALARM: the governor refuses");
        }
    }

    /// The system did not take a datagram; said when the reason is new.
    pub(crate) fn lost(&mut self, error: i32) {
        if self.last_error.replace(error) != Some(error) {
            let error = std::io::Error::from_raw_os_error(error);
            tracing::error!(%error, "the system refuses what should leave; it counts as sent and lost");
        }
    }

    /// The link beneath takes no datagram of `len` bytes.
    pub(crate) fn too_long(&self, len: usize) {
        tracing::error!(
            len,
            "the interface takes no datagram of this length; it counts as sent and lost: make link.mtu smaller at both ends"
        );
    }

    /// One line of counters.
    pub(crate) fn log(&self, now: Instant, pump: &Pump, governor: &Governor) {
        let Totals {
            frames,
            tokens,
            coded_bits,
            plain_bits,
            code_bits,
        } = *pump.totals();
        let per_token = |bits: f64| format!("{:.3}", bits / tokens.max(1) as f64);
        let (spent, wire) = (governor.counters(), pump.session().counters());
        tracing::info!(
            // By our own clock, so that the log does not limit it: `weir_setup::log`.
            target: "weir_inner::clock",
            seconds = now.micros() / 1_000_000,
            frames,
            tokens,
            coded_bits_per_token = per_token(coded_bits),
            plain_bits_per_token = per_token(plain_bits),
            code_bits_per_token = per_token(code_bits as f64),
            link_bits = spent.bits(),
            link_bits_left = governor.left(),
            lifetime_bits = governor.spent().0,
            repeats = spent.repeats.datagrams,
            handshakes = spent.handshakes.datagrams,
            refused = spent.refused,
            received = wire.received,
            "status"
        );
    }
}
