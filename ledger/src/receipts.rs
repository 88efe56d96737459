//! Outer's signed counts against ours. SPEC 9.4.

use thiserror::Error;

use crate::echo::Echo;

/// Datagrams, and the bits that they took on the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Datagrams.
    pub datagrams: u64,
    /// Bits.
    pub bits: u64,
}

/// What a receipt says that should not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Disagreement {
    /// Outer has received what we did not let out.
    #[error("outer has received {} datagrams and {} bits, the gate let out {} and {}", theirs.datagrams, theirs.bits, ours.datagrams, ours.bits)]
    More {
        /// Outer's count.
        theirs: Count,
        /// Ours, now.
        ours: Count,
    },
    /// More is missing than may be lost.
    #[error("outer has received {} datagrams only, the gate had let out {}", theirs.datagrams, ours.datagrams)]
    Less {
        /// Outer's count.
        theirs: Count,
        /// Ours, at the receipt before.
        ours: Count,
    },
}

/// What has been heard of outer's counts. Sums begin at the first receipt, and anew when outer does.
#[derive(Clone, Debug)]
pub struct Receipts {
    key: [u8; 32],
    ledger: [u8; 32],
    /// Datagrams that may be lost on the way, in all.
    tolerance: u64,
    last: Option<Last>,
    heard: u64,
    refused: u64,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    number: u64,
    /// Ours, when it came.
    ours: Count,
    /// Where sums begin: theirs; ours then, and at the receipt before, as frames were under way.
    from: [Count; 3],
}

impl Receipts {
    /// Those under this key and for this ledger.
    pub const fn new(key: [u8; 32], ledger: [u8; 32], tolerance: u64) -> Self {
        Self {
            key,
            ledger,
            tolerance,
            last: None,
            heard: 0,
            refused: 0,
        }
    }

    /// Takes a receipt, when `ours` has left. One that is forged, old or of another ledger is counted and has no effect.
    ///
    /// # Errors
    /// How the counts differ.
    pub fn take(&mut self, receipt: &[u8], ours: Count) -> Result<(), Disagreement> {
        let echo = Echo::open(receipt, &self.key).filter(|echo| {
            echo.ledger == self.ledger && self.last.is_none_or(|last| echo.number > last.number)
        });
        let Some(echo) = echo else {
            self.refused += 1;
            return Ok(());
        };
        self.heard += 1;
        let theirs = Count {
            datagrams: echo.datagrams,
            bits: echo.bits,
        };
        let earlier = self.last.map_or_else(Count::default, |last| last.ours);
        let start = |number| number / Echo::START;
        let known = self.last.filter(|last| start(last.number) == start(echo.number));
        let from = known.map_or([theirs, ours, earlier], |last| last.from);
        let before = known.map_or(ours, |last| last.ours);
        self.last = Some(Last {
            number: echo.number,
            ours,
            from,
        });
        let [theirs, now, before] = [(theirs, from[0]), (ours, from[2]), (before, from[1])].map(since);
        if theirs.datagrams > now.datagrams || theirs.bits > now.bits {
            return Err(Disagreement::More { theirs, ours: now });
        }
        if before.datagrams.saturating_sub(theirs.datagrams) > self.tolerance {
            return Err(Disagreement::Less { theirs, ours: before });
        }
        Ok(())
    }

    /// Receipts that counted, and those that did not.
    pub const fn counters(&self) -> [u64; 2] {
        [self.heard, self.refused]
    }
}

fn since((count, from): (Count, Count)) -> Count {
    Count {
        datagrams: count.datagrams.saturating_sub(from.datagrams),
        bits: count.bits.saturating_sub(from.bits),
    }
}
