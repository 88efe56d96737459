//! The only place of this program that reads a clock.

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};
use weir_meter::Instant;

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

/// The same, as the governor takes it.
pub(super) fn now() -> Instant {
    Instant::from_micros(micros())
}

/// Sleeps until `at`, in microseconds since boot, or until a signal comes.
pub(super) fn sleep_until(at: u64) {
    let when = Timespec {
        tv_sec: (at / 1_000_000) as i64,
        tv_nsec: (at % 1_000_000 * 1_000) as _,
    };
    // A signal is no error, and the clock is one that the kernel has.
    let _ = clock_nanosleep_absolute(ClockId::Boottime, &when);
}

/// Waits until `at`, in nanoseconds since boot, without giving the core away; returns when it was.
pub(super) fn spin_until(at: u64) -> u64 {
    loop {
        let now = nanos();
        if now >= at {
            return now;
        }
        core::hint::spin_loop();
    }
}
