//! The only place of this crate that reads a clock.

use std::io;
use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};
use weir_meter::ledger::Moment;

/// What all clocks show. The boot's number is a part of the kernel's random `boot_id`.
///
/// # Errors
/// The kernel does not say which boot this is.
#[allow(clippy::disallowed_methods)]
pub fn moment() -> io::Result<Moment> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let boot = u64::from_str_radix(&digits, 16).map_err(io::Error::other)?;
    let since_boot = clock_gettime(ClockId::Boottime);
    // Neither is negative: the kernel's clock counts from boot, and the year is past 1970 or taken for it.
    let micros = since_boot.tv_sec as u64 * 1_000_000 + since_boot.tv_nsec as u64 / 1_000;
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let wall = wall.map_or(0, |since| since.as_secs());
    Ok(Moment { boot, micros, wall })
}
