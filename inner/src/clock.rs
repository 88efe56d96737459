//! The only place of this program that reads a clock.

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
        let micros = self.0.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).expect("584,000 years have not passed"))
    }
}
