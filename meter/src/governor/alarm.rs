//! What an operator must hear of. SPEC 7.2.

use thiserror::Error;

use super::spans::Crossed;
use super::{Governor, part};
use crate::ledger::{Ledger, LedgerError};

/// What an operator must hear of; each once, until it is over and happens again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Alarm {
    /// Soft limit of the total.
    #[error("the upload budget is running out: {spent} of {total} bits are spent")]
    TotalLow {
        /// Bits charged.
        spent: u64,
        /// The total.
        total: u64,
    },
    /// Soft limit of a window.
    #[error("{spent} of {cap} bits left within {seconds} s")]
    WindowLow {
        /// The window's length.
        seconds: u32,
        /// Bits charged in it.
        spent: u64,
        /// Its limit.
        cap: u64,
    },
    /// A window is used up; what has to leave waits.
    #[error("{spent} of {cap} bits left within {seconds} s: what has to leave waits")]
    WindowFull {
        /// The window's length.
        seconds: u32,
        /// Bits charged in it.
        spent: u64,
        /// Its limit.
        cap: u64,
    },
    /// More leaves for what comes in than answers should take.
    #[error("{outward} bits left and {inward} came in within an hour: more than answers should take")]
    Ratio {
        /// Bits charged in the last hour.
        outward: u64,
        /// Bits that came in on the link in the last hour.
        inward: u64,
    },
    /// The ledger lets nothing out any more.
    #[error("the ledger lets nothing out: {0}")]
    Ledger(LedgerError),
}

impl Governor {
    /// The next thing that an operator must hear of.
    pub fn poll_alarm(&mut self) -> Option<Alarm> {
        self.alarms.pop_front()
    }

    /// Bits charged, and the total: the ledger's, where it is the nearer.
    pub fn spent(&self) -> (u64, u64) {
        let own = (self.counters.bits(), self.limits.total);
        let Some(ledger) = &self.ledger else {
            return own;
        };
        let lifetime = (ledger.state().spent, ledger.total());
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
        let ledger = self.ledger.as_ref();
        is_low(self.counters.bits(), self.limits.total)
            || ledger.is_some_and(|ledger| is_low(ledger.state().spent, ledger.total()))
    }

    /// Finds what an operator must hear of.
    pub(super) fn watch(&mut self) {
        let waits = core::mem::take(&mut self.waits);
        let alarms = &mut self.alarms;
        self.spans.crossed(self.limits.soft_percent, waits, |crossed| {
            let Crossed {
                seconds,
                spent,
                cap,
                is_full,
            } = crossed;
            alarms.push_back(match is_full {
                false => Alarm::WindowLow { seconds, spent, cap },
                true => Alarm::WindowFull { seconds, spent, cap },
            });
        });
        let (spent, total) = self.spent();
        let [outward, inward] = [0, 1].map(|way: usize| self.traffic[way].sum());
        let per_in = self.limits.out_per_in;
        // A burst may leave before anything is said about a ratio.
        let is_lopsided = per_in > 0
            && outward > self.limits.burst
            && u128::from(outward) > u128::from(per_in) * u128::from(inward);
        let broken = self.ledger.as_ref().and_then(Ledger::broken);
        let now = [
            self.is_low().then_some(Alarm::TotalLow { spent, total }),
            is_lopsided.then_some(Alarm::Ratio { outward, inward }),
            broken.map(Alarm::Ledger),
        ];
        for (was, alarm) in self.told.iter_mut().zip(now) {
            if let Some(alarm) = alarm
                && !*was
            {
                self.alarms.push_back(alarm);
            }
            *was = alarm.is_some();
        }
    }
}
