//! Why nothing leaves inner for a while, or ever: what outer is told, roughly. SPEC 5.3, 7.2.

use core::fmt;
use core::time::Duration;

use crate::error::Malformed;

/// What of the budget is used up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Budget {
    /// What may leave within some time.
    Window = 0,
    /// What may leave in a second.
    Rate = 1,
    /// All that may ever leave.
    Total = 2,
    /// The ledger cannot be written any more, so that nothing may leave.
    Ledger = 3,
}

/// Inner holds back all frames: why, and for how long at most. One byte on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Held {
    budget: Budget,
    /// Half the exponent of the seconds.
    wait: u8,
}

impl Held {
    /// Held for at most `wait`, rounded up to a power of the square root of two seconds; or, by a total or a ledger, for good.
    pub fn new(budget: Budget, wait: Duration) -> Self {
        let whole = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        let fits = (0..WAIT_MAX).find(|&code| code != SPARE && seconds(code) >= whole);
        let wait = match budget {
            Budget::Window | Budget::Rate => fits.unwrap_or(WAIT_MAX),
            Budget::Total | Budget::Ledger => 0,
        };
        Self { budget, wait }
    }

    /// What is used up.
    pub const fn budget(self) -> Budget {
        self.budget
    }

    /// After this nothing is held for this reason any more, if there is such a time.
    pub fn wait(self) -> Option<Duration> {
        match self.budget {
            Budget::Window | Budget::Rate => Some(Duration::from_secs(seconds(self.wait))),
            Budget::Total | Budget::Ledger => None,
        }
    }

    /// The byte on the wire.
    pub const fn to_code(self) -> u8 {
        (self.budget as u8) << 6 | self.wait
    }

    /// What a byte on the wire says.
    pub const fn from_code(code: u8) -> Result<Self, Malformed> {
        let (budget, wait) = match (code >> 6, code & WAIT_MAX) {
            (_, SPARE) => return Err(Malformed),
            (0, wait) => (Budget::Window, wait),
            (1, wait) => (Budget::Rate, wait),
            (2, 0) => (Budget::Total, 0),
            (3, 0) => (Budget::Ledger, 0),
            _ => return Err(Malformed),
        };
        Ok(Self { budget, wait })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.budget {
            Budget::Window => "a window of the upload budget is used up",
            Budget::Rate => "the upload budget's rate does not allow an answer",
            Budget::Total => "the upload budget is spent: nothing will leave until its operators raise it",
            Budget::Ledger => "the ledger of the upload budget has failed, so that nothing may leave",
        })
    }
}

/// The least whole number that is at least 2^(code / 2).
const fn seconds(code: u8) -> u64 {
    let square = 1_u64 << code;
    let root = square.isqrt();
    root + (root * root < square) as u64
}

const WAIT_MAX: u8 = 63;
/// Says two seconds, as the code above it does; one of them must not be written.
const SPARE: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_one_thing_or_refused() {
        let good = (0..=255).filter_map(|code| Some((code, Held::from_code(code).ok()?)));
        let good: alloc::vec::Vec<_> = good.collect();
        assert_eq!(good.len(), 63 + 63 + 1 + 1);
        for (code, held) in good {
            assert_eq!(held.to_code(), code);
            let again = Held::new(held.budget(), held.wait().unwrap_or_default());
            assert_eq!(again, held);
        }
    }

    #[test]
    fn times_are_never_too_short_and_at_most_half_too_long() {
        let said = |micros| {
            Held::new(Budget::Window, Duration::from_micros(micros))
                .wait()
                .unwrap()
        };
        for micros in [
            0,
            1,
            999_999,
            1_000_000,
            1_000_001,
            3_000_000,
            20 * 60_000_000,
            604_800_000_000,
        ] {
            let said = said(micros).as_micros() as u64;
            assert!(said >= micros, "{micros}: {said}");
            assert!(said <= micros * 3 / 2 + 1_000_000, "{micros}: {said}");
        }
        assert_eq!(said(20 * 60_000_000).as_secs(), 1449);
        assert!(said(u64::MAX).as_secs() > 3_000_000_000);
        assert_eq!(Held::new(Budget::Total, Duration::from_secs(9)).wait(), None);
    }
}
