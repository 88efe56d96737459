//! The only place of this program that reads a clock.

use std::time::Duration;

/// Measures from its own start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    #[allow(clippy::disallowed_methods)]
    pub(crate) fn elapsed(&self) -> Duration {
        std::time::Instant::now() - self.0
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}
