//! The only place of this program that reads a clock.

use std::io;
use weir_ledger::Moment;
use weir_wire::Instant;

/// Microseconds since this program started, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
    /// What all clocks showed then.
    moment: Moment,
}

impl Clock {
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn start() -> io::Result<Self> {
        Ok(Self {
            start: std::time::Instant::now(),
            moment: weir_ledger::moment()?,
        })
    }

    /// The governor's time, since boot, of a time of this program; and back.
    pub(crate) fn since_boot(&self, now: Instant) -> weir_meter::Instant {
        self.moment.since_boot + now.since(Instant::ZERO)
    }

    pub(crate) fn since_start(&self, at: weir_meter::Instant) -> Instant {
        Instant::ZERO + at.since(self.moment.since_boot)
    }

    pub(crate) fn now(&self) -> Instant {
        let micros = self.start.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).expect("584,000 years have not passed"))
    }
}
