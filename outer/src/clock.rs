//! The only place of this program that reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use weir_wire::Instant;

/// Microseconds since this program started, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn now(&self) -> Instant {
        let micros = u64::try_from(self.0.elapsed().as_micros());
        Instant::from_micros(micros.expect("580,000 years have not passed"))
    }
}

/// Seconds since 1970, for the `created` field of an answer and the numbers of receipts, and nothing else.
#[allow(clippy::disallowed_methods)]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
