//! The limits of a program. SPEC 7.2.

use thiserror::Error;

use crate::cost::LinkCost;

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

/// A limit on what leaves in any stretch of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its length; at least 1.
    pub seconds: u32,
    /// Bits.
    pub bits: u64,
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
pub(crate) const fn gap_bits(gap: u64) -> u64 {
    let steps = gap.saturating_add(1);
    (2 * steps.ilog2() + 1) as u64
}

/// `percent` of `whole`, rounded down.
pub(crate) const fn part(whole: u64, percent: u8) -> u64 {
    (whole as u128 * percent as u128 / 100) as u64
}
