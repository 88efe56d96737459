//! The governor: says when a datagram may leave, or why never. SPEC 7.2.

use alloc::vec::Vec;
use core::convert::Infallible;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::account::{Account, Denied, Lifetime, Memory};
use crate::alarm::{Alarm, Alarms};
use crate::bucket::Bucket;
use crate::cost::LinkCost;
use crate::limits::{Limits, LimitsError, Span, gap_bits, part};
use crate::permit::{Permit, Purpose};
use crate::refused::Refused;
use crate::spans::Spans;
use crate::time::Instant;
use crate::window::Window;

/// The governor's word on one datagram. `E` is the error of its [`Account`].
#[must_use]
#[derive(Debug)]
pub enum Release<E = Infallible> {
    /// It may leave now; it is charged.
    Go(Permit),
    /// Ask again at this time; nothing is charged. Only frames are told to wait.
    At(Instant),
    /// It must not leave; nothing is charged.
    Refuse(Refused<E>),
}

/// What a frame or a repeat waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// When it may leave.
    pub until: Instant,
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

/// Holds the budget and makes permits. What it remembers from start to start is its account's; with [`Memory`] it is the budget of
/// a test or a demo. (`weir_ledger::Governor` is one on a ledger.)
#[derive(Debug)]
pub struct Governor<A: Account = Memory> {
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
    account: A,
    alarms: Alarms<A::Error>,
}

impl Governor {
    /// A governor with a full burst at `now`, nothing spent and no memory.
    ///
    /// # Errors
    /// A limit outside its range.
    pub fn new(now: Instant, cost: LinkCost, limits: Limits) -> Result<Self, LimitsError> {
        Self::with_account(Memory, now, cost, limits, &[])
    }
}

impl<A: Account> Governor<Option<A>> {
    /// The account, if there is one: `weir_ledger::Ledger`, where that is what it is.
    pub const fn ledger(&self) -> Option<&A> {
        self.account.as_ref()
    }
}

impl<A: Account> Governor<A> {
    /// A governor whose permits draw on an account, and which keeps to the account's limits as well as to these. `now` is on the clock of
    /// all calls that follow: with a ledger, since boot. `spans` are windows besides the account's.
    ///
    /// # Errors
    /// A limit outside its range.
    pub fn with_account(
        account: A,
        now: Instant,
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
        let spans: Vec<Span> = spans.iter().copied().chain(account.windows()).collect();
        if spans.iter().any(|span| span.seconds == 0) {
            return Err(LimitsError::NoTime);
        }
        let mut spans = Spans::new(&limits, &spans);
        spans.replay(account.past());
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
            traffic: [(); 2].map(|()| Window::new(3_600, u64::MAX)),
            tick: ticks(now, limits.tick),
            waits: false,
            wait: None,
            counters: Counters::default(),
            account,
            alarms: Alarms::new(),
        })
    }

    /// Asks to send a datagram of `len` bytes at `now`. `Go` charges it.
    pub fn release(&mut self, now: Instant, len: usize, purpose: Purpose) -> Release<A::Error> {
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
    pub fn received(&mut self, now: Instant, len: usize) {
        let bits = self.cost.bits(len.min(self.cost.mtu())).unwrap_or(0);
        self.traffic[1].add(now, bits);
    }

    /// Lets the account reserve while nothing waits to be sent; see [`Account::prepare`]. If that fails there is an alarm, and the
    /// next release is refused.
    pub fn prepare(&mut self, now: Instant) {
        if self.account.prepare(now).is_err() {
            self.watch();
        }
    }

    /// Charges what somebody outside learns at `now` without a datagram: one of 2^`choices` things, and of each of `gaps` how
    /// many moments it let pass. It cannot be refused any more, so the charge ends where the total does, or what is reserved.
    pub fn tell(&mut self, now: Instant, gaps: &[u64], choices: u64) {
        let moments = gaps
            .iter()
            .map(|&gap| gap_bits(gap))
            .fold(choices, u64::saturating_add);
        let bits = moments.min(self.limits.total.saturating_sub(self.counters.bits()));
        let bits = self.account.draw_reserved(bits);
        self.counters.told += bits;
        self.spans.add(self.account.time(now), bits, Purpose::Frame);
    }

    /// Charges the silence that ends here, and gives back what the account has reserved and was not charged. Nothing may leave
    /// afterwards.
    ///
    /// # Errors
    /// The account's; then its next start counts what was reserved.
    pub fn close(mut self, now: Instant) -> Result<(), A::Error> {
        if self.limits.tick > 0 {
            let silence = ticks(now, self.limits.tick).saturating_sub(self.tick);
            self.tell(now, &[silence], 0);
        }
        self.account.close(now)
    }

    fn decide(&mut self, now: Instant, len: usize, purpose: Purpose) -> Release<A::Error> {
        self.wait = None;
        let tick = ticks(now, self.limits.tick);
        let bits = match self.charge(tick, len, purpose) {
            Ok(bits) => bits,
            Err(refused) => return Release::Refuse(refused),
        };
        // Windows run on the account's time, which goes on from boot to boot.
        let time = self.account.time(now);
        let window = match self.spans.wait(time, bits, purpose) {
            Ok(wait) => wait.map(|(at, seconds)| (now + at.since(time), seconds)),
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
        if let Err(why) = self.account.draw(now, bits, purpose) {
            return Release::Refuse(match why {
                Denied::TotalSpent => Refused::TotalSpent,
                Denied::AboveBlock { bits, block } => Refused::AboveBlock { bits, block },
                Denied::Broken(why) => Refused::Ledger(why),
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

    /// What it remembers from start to start.
    pub const fn account(&self) -> &A {
        &self.account
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

    /// The next thing that an operator must hear of.
    pub fn poll_alarm(&mut self) -> Option<Alarm<A::Error>> {
        self.alarms.pop()
    }

    /// Bits charged, and the total: the account's, where it is the nearer.
    pub fn spent(&self) -> (u64, u64) {
        let own = (self.counters.bits(), self.limits.total);
        let Some(lifetime) = self.account.lifetime() else {
            return own;
        };
        let lifetime = (lifetime.spent, lifetime.total);
        let left = |(spent, total): (u64, u64)| total.saturating_sub(spent);
        if left(lifetime) < left(own) { lifetime } else { own }
    }

    /// Bits of the total that are left.
    pub fn left(&self) -> u64 {
        let (spent, total) = self.spent();
        total.saturating_sub(spent)
    }

    /// Soft limit: the operator should know by now that the total will be spent.
    pub fn is_low(&self) -> bool {
        let is_low = |spent, total| spent >= part(total, self.limits.soft_percent);
        let lifetime = self.account.lifetime();
        is_low(self.counters.bits(), self.limits.total)
            || lifetime.is_some_and(|lifetime| is_low(lifetime.spent, lifetime.total))
    }

    /// Finds what an operator must hear of.
    fn watch(&mut self) {
        let waits = core::mem::take(&mut self.waits);
        let alarms = &mut self.alarms;
        self.spans
            .crossed(self.limits.soft_percent, waits, |crossed| alarms.cross(crossed));
        let (spent, total) = self.spent();
        let [outward, inward] = [0, 1].map(|way: usize| self.traffic[way].sum());
        let per_in = self.limits.out_per_in;
        // A burst may leave before anything is said about a ratio.
        let is_lopsided = per_in > 0
            && outward > self.limits.burst
            && u128::from(outward) > u128::from(per_in) * u128::from(inward);
        let now = [
            self.is_low().then_some(Alarm::TotalLow { spent, total }),
            is_lopsided.then_some(Alarm::Ratio { outward, inward }),
            self.account.broken().map(Alarm::Ledger),
        ];
        self.alarms.watch(now);
    }

    /// The datagram's charge, if lifetime and size allow it at all. SPEC 7.2.
    fn charge(&self, tick: u64, len: usize, purpose: Purpose) -> Result<u64, Refused<A::Error>> {
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
        // Of both totals something is left for handshakes; the account sees to the rest of its own.
        let fits_total = |spent: u64, total: u64| match purpose {
            Purpose::Handshake => fits(spent, total),
            Purpose::Frame | Purpose::Repeat => fits(spent, total - limits.kept(total)),
        };
        let lifetime = self.account.lifetime();
        if !fits_total(self.counters.bits(), limits.total)
            || lifetime.is_some_and(|lifetime| !fits_total(lifetime.spent, lifetime.total))
        {
            return Err(Refused::TotalSpent);
        }
        // The same share of this program's total and of the account's.
        let fits_share = |own: &Spent, of: fn(&Lifetime) -> u64, percent: u8| {
            fits(own.bits, part(limits.total, percent))
                && lifetime.is_none_or(|lifetime| fits(of(&lifetime), part(lifetime.total, percent)))
        };
        let counters = &self.counters;
        match purpose {
            Purpose::Repeat
                if !fits_share(
                    &counters.repeats,
                    |lifetime| lifetime.repeats,
                    limits.repeat_percent,
                ) =>
            {
                Err(Refused::RepeatsSpent)
            }
            Purpose::Handshake
                if !fits_share(
                    &counters.handshakes,
                    |lifetime| lifetime.handshakes,
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
const fn ticks(now: Instant, tick: u64) -> u64 {
    match now.micros().checked_div(tick) {
        Some(number) => number,
        None => 0,
    }
}

/// Of a size that small machines have too.
static NEXT_ID: AtomicUsize = AtomicUsize::new(0);

#[cfg(test)]
mod tests;
