//! What an operator must hear of. SPEC 7.2.

use alloc::collections::VecDeque;
use core::convert::Infallible;
use thiserror::Error;

use crate::spans::Crossed;

/// What an operator must hear of; each once, until it is over and happens again. `E` is the error of the governor's
/// [`Account`](crate::Account).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Alarm<E = Infallible> {
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
    Ledger(E),
}

/// What is to be told, and what was.
#[derive(Debug)]
pub(crate) struct Alarms<E> {
    waiting: VecDeque<Alarm<E>>,
    /// Whether it was told of the total, the ratio and the ledger.
    told: [bool; 3],
}

impl<E> Alarms<E> {
    pub(crate) const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            told: [false; 3],
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Alarm<E>> {
        self.waiting.pop_front()
    }

    /// A window has just come so far.
    pub(crate) fn cross(&mut self, crossed: Crossed) {
        let Crossed {
            seconds,
            spent,
            cap,
            is_full,
        } = crossed;
        self.waiting.push_back(match is_full {
            false => Alarm::WindowLow { seconds, spent, cap },
            true => Alarm::WindowFull { seconds, spent, cap },
        });
    }

    /// The total, the ratio and the ledger, as they are now.
    pub(crate) fn watch(&mut self, now: [Option<Alarm<E>>; 3]) {
        for (was, alarm) in self.told.iter_mut().zip(now) {
            let is = alarm.is_some();
            self.waiting.extend(alarm.filter(|_| !*was));
            *was = is;
        }
    }
}
