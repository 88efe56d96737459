//! The governor: says when a datagram may leave, or why never. SPEC 7.2.

use core::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;

use crate::cost::LinkCost;
use crate::permit::{Permit, Purpose};
use bucket::Bucket;

mod bucket;

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
    /// Percent of the total from which on [`Governor::is_low`] warns, 0 to 100.
    pub soft_percent: u8,
    /// Bits charged for each datagram on top of those on the link, for what its length and its moment can say.
    pub side_bits: u64,
}

/// 64 kbit/s, 10 s of burst, 1 Gbit in all; 10 % for repeats, 1 % for handshakes, a warning at 80 %; 11 bits for
/// a length up to 1472 bytes and 1 for the choice to use a tick.
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
        }
    }
}

/// A limit outside its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum LimitsError {
    /// `rate` is 0.
    #[error("rate is 0 bits per second")]
    NoRate,
    /// A percentage is above 100.
    #[error("{name} is {percent}, above 100")]
    Percent {
        /// Name of the limit.
        name: &'static str,
        /// Its value.
        percent: u8,
    },
}

/// The governor's word on one datagram.
#[must_use]
#[derive(Debug)]
pub enum Release {
    /// It may leave now; it is charged.
    Go(Permit),
    /// Ask again at this time (microseconds); nothing is charged. Only frames are told to wait.
    At(u64),
    /// It must not leave; nothing is charged.
    Refuse(Refused),
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
}

impl Refused {
    /// Whether the same datagram would be refused at any later time, too.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::TooLong { .. }
            | Self::AboveBurst { .. }
            | Self::TotalSpent
            | Self::RepeatsSpent
            | Self::HandshakesSpent => true,
            Self::RepeatRate | Self::HandshakeRate => false,
        }
    }
}

/// What left for one purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spent {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of the datagrams themselves.
    pub bytes: u64,
    /// Bits charged.
    pub bits: u64,
}

/// What left, by purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// New frames.
    pub frames: Spent,
    /// Repeats.
    pub repeats: Spent,
    /// Handshakes.
    pub handshakes: Spent,
    /// Datagrams refused, for any reason.
    pub refused: u64,
}

impl Counters {
    /// Bits charged in all; exact, because the governor never lets the sum pass `total`.
    pub const fn bits(&self) -> u64 {
        self.frames
            .bits
            .saturating_add(self.repeats.bits)
            .saturating_add(self.handshakes.bits)
    }
}

/// Holds the budget and makes permits.
#[derive(Debug)]
pub struct Governor {
    id: u64,
    cost: LinkCost,
    limits: Limits,
    whole: Bucket,
    repeats: Bucket,
    handshakes: Bucket,
    counters: Counters,
}

impl Governor {
    /// A governor with a full burst at `now` (microseconds) and nothing spent.
    pub fn new(now: u64, cost: LinkCost, limits: Limits) -> Result<Self, LimitsError> {
        if limits.rate == 0 {
            return Err(LimitsError::NoRate);
        }
        let percents = [
            ("repeat_percent", limits.repeat_percent),
            ("handshake_percent", limits.handshake_percent),
            ("soft_percent", limits.soft_percent),
        ];
        for (name, percent) in percents {
            if percent > 100 {
                return Err(LimitsError::Percent { name, percent });
            }
        }
        // A share's burst holds one of the longest datagrams, or small budgets could never repeat anything.
        let longest = cost
            .bits(cost.mtu())
            .unwrap_or(0)
            .saturating_add(limits.side_bits)
            .min(limits.burst);
        let share = |percent: u8| {
            let burst = if percent == 0 {
                0
            } else {
                part(limits.burst, percent).max(longest)
            };
            Bucket::full(now, u128::from(limits.rate) * u128::from(percent), 100, burst)
        };
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed) as u64,
            cost,
            limits,
            whole: Bucket::full(now, u128::from(limits.rate), 1, limits.burst),
            repeats: share(limits.repeat_percent),
            handshakes: share(limits.handshake_percent),
            counters: Counters::default(),
        })
    }

    /// Asks to send a datagram of `len` bytes at `now` (microseconds). `Go` charges it.
    pub fn release(&mut self, now: u64, len: usize, purpose: Purpose) -> Release {
        let bits = match self.charge(len, purpose) {
            Ok(bits) => bits,
            Err(refused) => return self.refuse(refused),
        };
        let share = match purpose {
            Purpose::Frame => None,
            Purpose::Repeat => Some((&mut self.repeats, Refused::RepeatRate)),
            Purpose::Handshake => Some((&mut self.handshakes, Refused::HandshakeRate)),
        };
        // Repeats and handshakes do not wait in line before the frames: they are dropped and asked for again.
        if let Some((bucket, refused)) = share {
            if bucket.wait(now, bits).is_some() || self.whole.wait(now, bits).is_some() {
                return self.refuse(refused);
            }
            bucket.take(bits);
        } else if let Some(at) = self.whole.wait(now, bits) {
            return Release::At(at);
        }
        self.whole.take(bits);
        let spent = match purpose {
            Purpose::Frame => &mut self.counters.frames,
            Purpose::Repeat => &mut self.counters.repeats,
            Purpose::Handshake => &mut self.counters.handshakes,
        };
        // `charge` has shown that bits fit; bytes and datagrams are fewer.
        spent.datagrams += 1;
        spent.bytes += len as u64;
        spent.bits += bits;
        Release::Go(Permit {
            governor: self.id,
            len,
            bits,
            purpose,
        })
    }

    /// What left so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bits of the total that are left.
    pub const fn left(&self) -> u64 {
        self.limits.total.saturating_sub(self.counters.bits())
    }

    /// Soft limit: the operator should know by now that the total will be spent.
    pub const fn is_low(&self) -> bool {
        self.counters.bits() >= part(self.limits.total, self.limits.soft_percent)
    }

    /// The limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What datagrams cost.
    pub const fn cost(&self) -> LinkCost {
        self.cost
    }

    /// Binds permits to the governor that made them: unique in the process.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The datagram's charge, if lifetime and size allow it at all. SPEC 7.2.
    fn charge(&self, len: usize, purpose: Purpose) -> Result<u64, Refused> {
        let limits = &self.limits;
        let too_long = Refused::TooLong { len };
        let bits = self
            .cost
            .bits(len)
            .and_then(|bits| bits.checked_add(limits.side_bits))
            .ok_or(too_long)?;
        if bits > limits.burst {
            return Err(Refused::AboveBurst {
                bits,
                burst: limits.burst,
            });
        }
        let fits = |spent: u64, limit: u64| spent.checked_add(bits).is_some_and(|sum| sum <= limit);
        if !fits(self.counters.bits(), limits.total) {
            return Err(Refused::TotalSpent);
        }
        match purpose {
            Purpose::Frame => Ok(bits),
            Purpose::Repeat
                if fits(
                    self.counters.repeats.bits,
                    part(limits.total, limits.repeat_percent),
                ) =>
            {
                Ok(bits)
            }
            Purpose::Repeat => Err(Refused::RepeatsSpent),
            Purpose::Handshake
                if fits(
                    self.counters.handshakes.bits,
                    part(limits.total, limits.handshake_percent),
                ) =>
            {
                Ok(bits)
            }
            Purpose::Handshake => Err(Refused::HandshakesSpent),
        }
    }

    const fn refuse(&mut self, refused: Refused) -> Release {
        self.counters.refused += 1;
        Release::Refuse(refused)
    }
}

/// `percent` of `whole`, rounded down.
const fn part(whole: u64, percent: u8) -> u64 {
    (whole as u128 * percent as u128 / 100) as u64
}

/// Of a size that small machines have too.
static NEXT_ID: AtomicUsize = AtomicUsize::new(0);

#[cfg(test)]
mod tests;
