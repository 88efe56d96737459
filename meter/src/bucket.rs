//! A token bucket in exact integers. SPEC 7.2.

use crate::time::Instant;

/// Fills at `rate / per` bits per second up to `burst` bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: u128,
    per: u128,
    burst: u128,
    /// Level in units of 1 / (1,000,000 * per) bit, so that every microsecond adds a whole number.
    level: u128,
    /// Time of `level`.
    at: Instant,
}

impl Bucket {
    pub(crate) fn full(now: Instant, rate: u128, per: u128, burst: u64) -> Self {
        let burst = u128::from(burst) * per * MICROS;
        Self {
            rate,
            per,
            burst,
            level: burst,
            at: now,
        }
    }

    /// `None` if `bits` are there at `now`, else the time at which they will be (the end of time if never).
    pub(crate) fn wait(&mut self, now: Instant, bits: u64) -> Option<Instant> {
        // A clock that steps back adds nothing and takes nothing.
        let elapsed = now.micros().saturating_sub(self.at.micros());
        self.at = self.at.max(now);
        // Saturation is exact here: the burst is far below the end of u128.
        let filled = self.rate.saturating_mul(u128::from(elapsed));
        self.level = self.level.saturating_add(filled).min(self.burst);
        let want = self.units(bits);
        if want <= self.level {
            return None;
        }
        if self.rate == 0 || want > self.burst {
            return Some(Instant::END);
        }
        let micros = (want - self.level).div_ceil(self.rate);
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        Some(Instant::from_micros(self.at.micros().saturating_add(micros)))
    }

    /// Takes bits that `wait` has found.
    pub(crate) fn take(&mut self, bits: u64) {
        self.level = self
            .level
            .checked_sub(self.units(bits))
            .expect("wait has found these bits");
    }

    fn units(&self, bits: u64) -> u128 {
        u128::from(bits) * self.per * MICROS
    }
}

const MICROS: u128 = 1_000_000;
