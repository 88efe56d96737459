//! The only place of this program that reads a clock.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot, time asleep included.
pub(super) fn nanos() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    // Since boot, so neither is negative, and 584 years have not passed.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Microseconds since boot, time asleep included.
pub(super) fn micros() -> u64 {
    nanos() / 1_000
}
