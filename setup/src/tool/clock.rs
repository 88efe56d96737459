//! The only place of the tools that reads a clock.

use std::time::Duration;

/// Measures from its own start.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// From now on.
    #[allow(clippy::disallowed_methods)]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// How long it has run.
    #[allow(clippy::disallowed_methods)]
    pub fn elapsed(&self) -> Duration {
        std::time::Instant::now() - self.0
    }

    /// The same in seconds.
    pub fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}
