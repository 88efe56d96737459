//! The limits, and what stands in the way of a datagram. SPEC 7.2.

use thiserror::Error;

use crate::cost::LinkCost;
use crate::ledger::LedgerError;

/// The limits. All in bits as charged, that is on the physical link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bits per second in the long run; at least 1.
    pub rate: u64,
    /// Bits that may leave at once after a pause; holds at least the longest datagram.
    pub burst: u64,
    /// Bits in the governor's life.
    pub total: u64,
    /// Percent of rate, burst and total that repeats may take, 0 to 100. What they take counts in the whole too.
    pub repeat_percent: u8,
    /// The same for handshakes.
    pub handshake_percent: u8,
    /// Percent of the total, and of each window, from which on there is an alarm, 0 to 100.
    pub soft_percent: u8,
    /// Bits charged for each datagram on top of those on the link, for what its length can say (and its moment, if `tick`
    /// is 0): see [`side_bits`].
    pub side_bits: u64,
    /// Microseconds between the moments at which a datagram may leave. Each is charged for the ones that were let pass
    /// before it. 0 charges nothing: something leaves at each of them, or `side_bits` has it.
    pub tick: u64,
    /// Bits in any hour for handshakes.
    pub handshakes_per_hour: u64,
    /// Alarm when in an hour more than so many bits leave for each bit that comes in; 0 for none.
    pub out_per_in: u64,
    /// Bits of the totals and of each window that only handshakes may use, so that it can be said that the rest is used up; at
    /// most a 16th of each.
    pub reserve: u64,
}

/// 64 kbit/s, 10 s of burst, 1 Gbit in all; 10 % for repeats, 1 % for handshakes, a warning at 80 %; 11 bits for
/// a length up to 1472 bytes and 1 for the choice to use a tick; as many handshakes in an hour as 1 % of the rate gives.
impl Default for Limits {
    fn default() -> Self {
        Self {
            rate: 64_000,
            burst: 640_000,
            total: 1_000_000_000,
            repeat_percent: 10,
            handshake_percent: 1,
            soft_percent: 80,
            side_bits: 12,
            tick: 0,
            handshakes_per_hour: 2_304_000,
            out_per_in: 0,
            reserve: 0,
        }
    }
}

/// A limit outside its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum LimitsError {
    /// `rate` is 0.
    #[error("rate is 0 bits per second")]
    NoRate,
    /// A window has no length.
    #[error("a window has 0 seconds")]
    NoTime,
    /// A percentage is above 100.
    #[error("{name} is {percent}, above 100")]
    Percent {
        /// Name of the limit.
        name: &'static str,
        /// Its value.
        percent: u8,
    },
}

impl Limits {
    /// Bits of a total, or of a window, of `whole` bits that only handshakes may use.
    pub const fn kept(&self, whole: u64) -> u64 {
        let most = whole / 16;
        if self.reserve < most { self.reserve } else { most }
    }

    /// The most that a datagram of `len` bytes can be charged; `None` if the link does not carry it.
    pub fn dearest(&self, cost: LinkCost, len: usize) -> Option<u64> {
        let moment = if self.tick == 0 { 0 } else { gap_bits(u64::MAX) };
        let charge = cost.bits(len)?.checked_add(self.side_bits)?;
        charge.checked_add(moment)
    }
}

/// Bits that a choice among `choices` says, rounded up: what a shape that leaves so many lengths open must be charged for
/// each datagram.
pub const fn side_bits(choices: u64) -> u64 {
    match choices {
        0 | 1 => 0,
        _ => (u64::BITS - (choices - 1).leading_zeros()) as u64,
    }
}

/// Bits of Elias's gamma code for `gap + 1`: no choice of moments says more than the sum of these, whatever was planned.
pub(super) const fn gap_bits(gap: u64) -> u64 {
    let steps = gap.saturating_add(1);
    (2 * steps.ilog2() + 1) as u64
}

/// The limit in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// Longer than the link carries in one piece.
    #[error("{len} bytes are more than the link carries in one piece")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Its charge is more than the burst: it could never leave.
    #[error("its charge of {bits} bits is above the burst limit of {burst}")]
    AboveBurst {
        /// Its charge.
        bits: u64,
        /// The limit.
        burst: u64,
    },
    /// The total is spent: hard limit.
    #[error("the total budget is spent")]
    TotalSpent,
    /// The share of repeats in the total is spent.
    #[error("the repeats' share of the total budget is spent")]
    RepeatsSpent,
    /// The share of handshakes in the total is spent.
    #[error("the handshakes' share of the total budget is spent")]
    HandshakesSpent,
    /// Repeats come faster than their share of the rate; this one is dropped, and may be asked for again.
    #[error("repeats come faster than their share of the rate")]
    RepeatRate,
    /// Handshakes come faster than their share of the rate.
    #[error("handshakes come faster than their share of the rate")]
    HandshakeRate,
    /// Its charge is more than a window ever lets out.
    #[error("its charge of {bits} bits is above the limit of {cap} in {seconds} s")]
    AboveWindow {
        /// Its charge.
        bits: u64,
        /// The window's length.
        seconds: u32,
        /// Its limit.
        cap: u64,
    },
    /// Repeats, or everything, has used a window up; this one is dropped, and may be asked for again.
    #[error("the window of {seconds} s is used up")]
    WindowSpent {
        /// The window's length.
        seconds: u32,
    },
    /// Handshakes have used their hour up.
    #[error("the hour's budget of handshakes is spent")]
    HandshakeHour,
    /// The ledger lets nothing out.
    #[error("ledger: {0}")]
    Ledger(LedgerError),
}

impl Refused {
    /// Whether the same datagram would be refused at any later time, too.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::TooLong { .. }
            | Self::AboveBurst { .. }
            | Self::TotalSpent
            | Self::RepeatsSpent
            | Self::HandshakesSpent
            | Self::AboveWindow { .. }
            | Self::Ledger(_) => true,
            Self::RepeatRate | Self::HandshakeRate | Self::WindowSpent { .. } | Self::HandshakeHour => false,
        }
    }

    /// Whether nothing at all will leave any more.
    pub const fn is_end(&self) -> bool {
        match self {
            Self::TotalSpent => true,
            Self::Ledger(why) => !matches!(why, LedgerError::AboveBlock { .. }),
            _ => false,
        }
    }
}
