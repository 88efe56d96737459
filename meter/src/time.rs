//! Time as an argument. SPEC 7.2.

use core::ops::Add;
use core::time::Duration;

/// A moment on a monotonic clock: microseconds since an origin that the caller chooses. On a ledger that origin is the machine's
/// boot, as all calls for one governor must share it.
///
/// Microseconds, because the ledger's records hold them and the bucket fills in them: a moment goes from the clock into a record
/// without a division. A type of its own, because sessions (`weir_wire::Instant`) count from their program's start: a time of
/// theirs where one since boot belongs does not compile. `core::time::Duration` would do neither.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// The end of time (584,000 years), which as a time to wait for means "never".
    pub const END: Self = Self(u64::MAX);

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

/// Saturates at [`Instant::END`].
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stays_within_its_ends() {
        let at = Instant::from_micros;
        assert_eq!(at(7).since(at(9)), Duration::ZERO);
        assert_eq!(at(9).since(at(7)), Duration::from_micros(2));
        assert_eq!(at(9) + Duration::from_nanos(1_999), at(10));
        assert_eq!(at(9) + Duration::MAX, Instant::END);
    }
}
