//! The only place of this crate that reads a clock.

use std::io;
use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};
use weir_meter::Instant;

use crate::moment::Moment;

/// What all clocks show. The boot's number is a part of the kernel's random `boot_id`.
///
/// # Errors
/// The kernel does not say which boot this is, or shows this process another clock since boot than the machine's.
#[allow(clippy::disallowed_methods)]
pub fn moment() -> io::Result<Moment> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let boot = u64::from_str_radix(&digits, 16).map_err(io::Error::other)?;
    // A kernel without time namespaces has no such file.
    let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    if is_shifted(&offsets) {
        return Err(io::Error::other("a time namespace shifts the clock since boot"));
    }
    let since_boot = since_boot();
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let wall = wall.map_or(0, |since| since.as_secs());
    Ok(Moment {
        boot,
        since_boot,
        wall,
    })
}

/// The clock since boot, for waiting: whatever it shows, by which boot, nothing is charged by it.
pub(super) fn since_boot() -> Instant {
    let now = clock_gettime(ClockId::Boottime);
    // Not negative: the kernel's clock counts from boot.
    Instant::from_micros(now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000)
}

/// Whether this clock was set after all: whoever makes a time namespace sets it, and windows would refill. SPEC 7.6.
fn is_shifted(offsets: &str) -> bool {
    let boottime = offsets.lines().find_map(|line| line.strip_prefix("boottime"));
    boottime.is_some_and(|offset| offset.split_whitespace().any(|number| number != "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_namespace_is_found_out() {
        assert!(
            !is_shifted("")
                && !is_shifted("monotonic           0         0\nboottime            0         0\n")
        );
        assert!(!is_shifted("monotonic 5 0\nboottime 0 0\n"));
        assert!(is_shifted("monotonic 0 0\nboottime 86400 0\n"));
        assert!(is_shifted("monotonic 0 0\nboottime 0 1\n"));
        moment().unwrap();
    }
}
