//! A token bucket in exact integers. SPEC 7.2.

/// Fills at `rate / per` bits per second up to `burst` bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: u128,
    per: u128,
    burst: u128,
    /// Level in units of 1 / (1,000,000 * per) bit, so that every microsecond adds a whole number.
    level: u128,
    /// Time of `level`, microseconds.
    at: u64,
}

impl Bucket {
    pub(super) fn full(now: u64, rate: u128, per: u128, burst: u64) -> Self {
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
    pub(super) fn wait(&mut self, now: u64, bits: u64) -> Option<u64> {
        // A clock that steps back adds nothing and takes nothing.
        let elapsed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        // Saturation is exact here: the burst is far below the end of u128.
        let filled = self.rate.saturating_mul(u128::from(elapsed));
        self.level = self.level.saturating_add(filled).min(self.burst);
        let want = self.units(bits);
        if want <= self.level {
            return None;
        }
        if self.rate == 0 || want > self.burst {
            return Some(u64::MAX);
        }
        let micros = (want - self.level).div_ceil(self.rate);
        Some(self.at.saturating_add(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// Takes bits that `wait` has found.
    pub(super) fn take(&mut self, bits: u64) {
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
