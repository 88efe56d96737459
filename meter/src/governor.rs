//! The governor: says when a datagram may leave, or why never. SPEC 7.2.

use alloc::collections::VecDeque;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::cost::LinkCost;
use crate::ledger::{Ledger, LedgerError, Limit, State};
use crate::permit::{Permit, Purpose};
use crate::window::Window;
use bucket::Bucket;
use limits::gap_bits;
use spans::Spans;

pub use alarm::Alarm;
pub use limits::{Limits, LimitsError, Refused, side_bits};

mod alarm;
mod bucket;
mod limits;
mod spans;

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

/// A limit on what leaves in any stretch of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Its length; at least 1.
    pub seconds: u32,
    /// Bits.
    pub bits: u64,
}

/// What a frame or a repeat waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// When it may leave (microseconds).
    pub until: u64,
    /// The window that is used up, in seconds; none if it waits for the rate.
    pub window: Option<u32>,
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
    /// Bits charged for what was told without a datagram: see [`Governor::tell`].
    pub told: u64,
}

impl Counters {
    /// Bits charged in all; exact, because the governor never lets the sum pass `total`.
    pub const fn bits(&self) -> u64 {
        self.frames
            .bits
            .saturating_add(self.repeats.bits)
            .saturating_add(self.handshakes.bits)
            .saturating_add(self.told)
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
    spans: Spans,
    /// Of the last hour, outward and inward.
    traffic: [Window; 2],
    /// The last tick on which something left.
    tick: u64,
    /// A frame has just been told to wait for a window.
    waits: bool,
    /// What the last datagram has to wait for.
    wait: Option<Wait>,
    counters: Counters,
    ledger: Option<Ledger>,
    alarms: VecDeque<Alarm>,
    /// Whether it was told of the total, the ratio and the ledger.
    told: [bool; 3],
}

impl Governor {
    /// A governor with a full burst at `now` (microseconds), nothing spent and no memory: the budget of a test or a demo.
    ///
    /// # Errors
    /// A limit outside its range.
    pub fn new(now: u64, cost: LinkCost, limits: Limits) -> Result<Self, LimitsError> {
        Self::with_ledger(None, now, cost, limits, &[])
    }

    /// A governor whose permits draw on a ledger, and which keeps to the ledger's limits as well as to these; without one,
    /// to these alone. With a ledger `now` is in microseconds since boot, as in all calls that follow. `spans` are windows
    /// besides the ledger's.
    ///
    /// # Errors
    /// A limit outside its range.
    pub fn with_ledger(
        ledger: Option<Ledger>,
        now: u64,
        cost: LinkCost,
        limits: Limits,
        spans: &[Span],
    ) -> Result<Self, LimitsError> {
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
        let mut spans = spans.to_vec();
        if let Some(ledger) = &ledger {
            let caps = ledger.chain().caps.iter();
            spans.extend(caps.filter_map(|cap| match cap.limit {
                Limit::Window(seconds) => Some(Span {
                    seconds,
                    bits: cap.bits,
                }),
                Limit::Weights | Limit::Total => None,
            }));
        }
        if spans.iter().any(|span| span.seconds == 0) {
            return Err(LimitsError::NoTime);
        }
        let mut spans = Spans::new(&limits, &spans);
        if let Some(ledger) = &ledger {
            spans.replay(&ledger.chain().past);
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
            spans,
            traffic: [(); 2].map(|()| Window::new(HOUR, u64::MAX)),
            tick: ticks(now, limits.tick),
            waits: false,
            wait: None,
            counters: Counters::default(),
            ledger,
            alarms: VecDeque::new(),
            told: [false; 3],
        })
    }

    /// Asks to send a datagram of `len` bytes at `now` (microseconds). `Go` charges it.
    pub fn release(&mut self, now: u64, len: usize, purpose: Purpose) -> Release {
        let release = self.decide(now, len, purpose);
        // What came in more than an hour ago counts no more.
        self.traffic[1].add(now, 0);
        if matches!(release, Release::Refuse(_)) {
            self.counters.refused += 1;
        }
        self.watch();
        release
    }

    /// A datagram of `len` bytes has come in at `now`. It costs nothing; but so many must come for so many to leave.
    pub fn received(&mut self, now: u64, len: usize) {
        let bits = self.cost.bits(len.min(self.cost.mtu())).unwrap_or(0);
        self.traffic[1].add(now, bits);
    }

    /// Lets the ledger reserve while nothing waits to be sent; see [`Ledger::prepare`]. If that fails there is an alarm, and the
    /// next release is refused.
    pub fn prepare(&mut self, now: u64) {
        if let Some(ledger) = &mut self.ledger
            && ledger.prepare(now).is_err()
        {
            self.watch();
        }
    }

    /// Charges what somebody outside learns at `now` without a datagram: one of 2^`choices` things, and of each of `gaps` how
    /// many moments it let pass. It cannot be refused any more, so the charge ends where the total does, or what is reserved.
    pub fn tell(&mut self, now: u64, gaps: &[u64], choices: u64) {
        let moments = gaps
            .iter()
            .map(|&gap| gap_bits(gap))
            .fold(choices, u64::saturating_add);
        let bits = moments.min(self.limits.total.saturating_sub(self.counters.bits()));
        let (mut time, mut bits) = (now, bits);
        if let Some(ledger) = &mut self.ledger {
            time = ledger.time(now);
            bits = ledger.draw_reserved(bits);
        }
        self.counters.told += bits;
        self.spans.add(time, bits, Purpose::Frame);
    }

    /// Charges the silence that ends here, and gives back what the ledger has reserved and was not charged. Nothing may leave
    /// afterwards.
    ///
    /// # Errors
    /// The ledger's; then its next start counts what was reserved.
    pub fn close(mut self, now: u64) -> Result<(), LedgerError> {
        if self.limits.tick > 0 {
            let silence = ticks(now, self.limits.tick).saturating_sub(self.tick);
            self.tell(now, &[silence], 0);
        }
        self.ledger.map_or(Ok(()), |ledger| ledger.close(now))
    }

    fn decide(&mut self, now: u64, len: usize, purpose: Purpose) -> Release {
        self.wait = None;
        let tick = ticks(now, self.limits.tick);
        let bits = match self.charge(tick, len, purpose) {
            Ok(bits) => bits,
            Err(refused) => return Release::Refuse(refused),
        };
        // Windows run on the ledger's time, which goes on from boot to boot.
        let time = self.ledger.as_ref().map_or(now, |ledger| ledger.time(now));
        let window = match self.spans.wait(time, bits, purpose) {
            Ok(wait) => wait.map(|(at, seconds)| (now.saturating_add(at - time), seconds)),
            Err(refused) => return Release::Refuse(refused),
        };
        let mut share = match purpose {
            Purpose::Frame => None,
            Purpose::Repeat => Some((&mut self.repeats, Refused::RepeatRate)),
            Purpose::Handshake => Some((&mut self.handshakes, Refused::HandshakeRate)),
        };
        // Repeats and handshakes do not wait in line before the frames: they are dropped and asked for again.
        let whole = self.whole.wait(now, bits);
        let rate = match &mut share {
            Some((bucket, _)) => whole.max(bucket.wait(now, bits)),
            None => whole,
        };
        if let Some(until) = rate.max(window.map(|(at, _)| at)) {
            let window = window
                .filter(|&(at, _)| Some(at) >= rate)
                .map(|(_, seconds)| seconds);
            self.wait = Some(Wait { until, window });
            return match (share, window) {
                (Some(_), Some(seconds)) => Release::Refuse(Refused::WindowSpent { seconds }),
                (Some((_, refused)), None) => Release::Refuse(refused),
                (None, _) => {
                    self.waits = window.is_some();
                    Release::At(until)
                }
            };
        }
        if let Some(ledger) = &mut self.ledger
            && let Err(why) = ledger.draw(now, bits, purpose)
        {
            return Release::Refuse(match why {
                LedgerError::TotalSpent => Refused::TotalSpent,
                why => Refused::Ledger(why),
            });
        }
        match purpose {
            Purpose::Frame => {}
            Purpose::Repeat => self.repeats.take(bits),
            Purpose::Handshake => self.handshakes.take(bits),
        }
        self.whole.take(bits);
        self.spans.add(time, bits, purpose);
        self.traffic[0].add(now, bits);
        self.tick = self.tick.max(tick);
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

    /// What the last datagram that was asked for has to wait for, if it is not refused for another reason.
    pub const fn wait(&self) -> Option<Wait> {
        self.wait
    }

    /// What left so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The ledger, if there is one.
    pub const fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_ref()
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
    fn charge(&self, tick: u64, len: usize, purpose: Purpose) -> Result<u64, Refused> {
        let limits = &self.limits;
        let moment = match limits.tick {
            0 => 0,
            _ => gap_bits(tick.saturating_sub(self.tick)),
        };
        let cost = self.cost.bits(len);
        let bits = cost.and_then(|bits| bits.checked_add(limits.side_bits)?.checked_add(moment));
        let bits = bits.ok_or(Refused::TooLong { len })?;
        let burst = limits.burst;
        if bits > burst {
            return Err(Refused::AboveBurst { bits, burst });
        }
        let fits = |spent: u64, limit: u64| spent.checked_add(bits).is_some_and(|sum| sum <= limit);
        // Of both totals something is left for handshakes; the ledger sees to the rest of its own.
        let fits_total = |spent: u64, total: u64| match purpose {
            Purpose::Handshake => fits(spent, total),
            Purpose::Frame | Purpose::Repeat => fits(spent, total - limits.kept(total)),
        };
        let lifetime = self.ledger.as_ref();
        if !fits_total(self.counters.bits(), limits.total)
            || lifetime.is_some_and(|ledger| !fits_total(ledger.state().spent, ledger.total()))
        {
            return Err(Refused::TotalSpent);
        }
        // The same share of this program's total and of the ledger's.
        let fits_share = |own: &Spent, lifetime: fn(&State) -> u64, percent: u8| {
            let ledger = self.ledger.as_ref();
            fits(own.bits, part(limits.total, percent))
                && ledger.is_none_or(|ledger| fits(lifetime(ledger.state()), part(ledger.total(), percent)))
        };
        let counters = &self.counters;
        match purpose {
            Purpose::Repeat
                if !fits_share(&counters.repeats, |state| state.repeats, limits.repeat_percent) =>
            {
                Err(Refused::RepeatsSpent)
            }
            Purpose::Handshake
                if !fits_share(
                    &counters.handshakes,
                    |state| state.handshakes,
                    limits.handshake_percent,
                ) =>
            {
                Err(Refused::HandshakesSpent)
            }
            _ => Ok(bits),
        }
    }
}

/// Number of the tick at `now`.
const fn ticks(now: u64, tick: u64) -> u64 {
    match now.checked_div(tick) {
        Some(number) => number,
        None => 0,
    }
}

/// `percent` of `whole`, rounded down.
const fn part(whole: u64, percent: u8) -> u64 {
    (whole as u128 * percent as u128 / 100) as u64
}

const HOUR: u64 = 3_600_000_000;
/// Of a size that small machines have too.
static NEXT_ID: AtomicUsize = AtomicUsize::new(0);

#[cfg(test)]
mod tests;
