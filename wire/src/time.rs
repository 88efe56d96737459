//! Time as an argument: microseconds on whatever monotonic clock the caller has.

use core::ops::Add;
use core::time::Duration;

/// A moment: microseconds since an origin of the caller's choosing. Sessions only compare and add.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// The clock's origin. As an answer of `poll_at` it means "at once".
    pub const ZERO: Self = Self(0);

    /// The moment `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Time gone by since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates at the end of the clock (584,000 years).
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

/// A deadline whose waits double: `None` while nothing waits for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    at: Option<Instant>,
    first: Duration,
    cap: Duration,
    wait: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, cap: Duration) -> Self {
        Self {
            at: None,
            first,
            cap,
            wait: first,
        }
    }

    /// Starts the wait, `delay` from now, unless it runs already.
    pub(crate) fn arm(&mut self, now: Instant, delay: Duration) {
        if self.at.is_none() {
            self.at = Some(now + delay);
        }
    }

    /// Starts over: first wait, `delay` from now.
    pub(crate) fn restart(&mut self, now: Instant, delay: Duration) {
        *self = Self {
            at: Some(now + delay),
            wait: self.first,
            ..*self
        };
    }

    pub(crate) const fn clear(&mut self) {
        self.at = None;
        self.wait = self.first;
    }

    /// Acknowledges that the deadline was acted on; the next one is twice as far away, up to the cap.
    pub(crate) fn fired(&mut self, now: Instant) {
        self.at = Some(now + self.wait);
        self.wait = (self.wait * 2).min(self.cap);
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.at.is_some_and(|at| at <= now)
    }

    /// Shortens a long wait: things move again.
    pub(crate) fn ease(&mut self, now: Instant) {
        self.wait = self.first;
        self.at = self.at.map(|at| at.min(now + self.first));
    }

    pub(crate) const fn first(&self) -> Duration {
        self.first
    }

    pub(crate) const fn at(&self) -> Option<Instant> {
        self.at
    }
}
