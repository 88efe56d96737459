//! The only place of this crate that reads a clock.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};
use weir_meter::Instant;

use crate::moment::Moment;

/// What all clocks show. The boot's number is a part of the kernel's random `boot_id`.
///
/// # Errors
/// The kernel does not say which boot this is, or shows this process another clock since boot than the machine's; or another file lies
/// over the one in which it says so.
#[allow(clippy::disallowed_methods)]
pub fn moment() -> io::Result<Moment> {
    let own = Path::new("/proc").join(std::fs::read_link("/proc/self")?);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    for file in [Path::new(BOOT_ID), &own.join("timens_offsets")] {
        if !is_the_kernels(&mounts, file) {
            let what = format!(
                "{}: something is mounted over it, so it need not be the kernel's",
                file.display()
            );
            return Err(io::Error::other(what));
        }
    }
    let id = std::fs::read_to_string(BOOT_ID)?;
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let boot = u64::from_str_radix(&digits, 16).map_err(io::Error::other)?;
    let offsets = match std::fs::read_to_string("/proc/self/timens_offsets") {
        // A kernel without time namespaces has no such file.
        Err(error) if error.kind() == ErrorKind::NotFound && !Path::new("/proc/self/ns/time").exists() => {
            String::new()
        }
        offsets => offsets?,
    };
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

/// Whether a file of /proc is what the kernel has at that place, by the mounts of this process: each that covers it is a procfs, and
/// shows there what a whole one does. A container's own mounts of parts of /proc are that.
fn is_the_kernels(mounts: &str, file: &Path) -> bool {
    let inner = file.strip_prefix("/proc").unwrap_or(file);
    let mut covers = 0;
    let genuine = mounts.lines().all(|line| {
        // Number, parent, device, root, mount point, options …, "-", type, source: proc(5).
        let (mut fields, kind) = match line.split_once(" - ") {
            Some((before, after)) => (before.split(' '), after.split(' ').next()),
            None => return false,
        };
        let (Some(root), Some(point)) = (fields.nth(3), fields.next()) else {
            return false;
        };
        let Ok(rest) = file.strip_prefix(point) else {
            return true;
        };
        if !point.starts_with("/proc") {
            return true;
        }
        covers += 1;
        // Joined with nothing, a path would end in a slash.
        let shown = if rest.as_os_str().is_empty() {
            PathBuf::from(root)
        } else {
            Path::new(root).join(rest)
        };
        kind == Some("proc") && shown == Path::new("/").join(inner)
    });
    genuine && covers > 0
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Whether this clock was set after all: whoever makes a time namespace sets it, and windows would refill. SPEC 7.6.
fn is_shifted(offsets: &str) -> bool {
    let boottime = offsets.lines().find_map(|line| line.strip_prefix("boottime"));
    boottime.is_some_and(|offset| offset.split_whitespace().any(|number| number != "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lies over the kernel's word on which boot this is.
    #[test]
    fn a_boot_id_that_is_another_file_is_found_out() {
        let is_good = |mounts: &str| is_the_kernels(mounts, Path::new(BOOT_ID));
        let proc = "22 1 0:21 / / rw - ext4 /dev/sda1 rw\n25 22 0:23 / /proc rw,nosuid - proc proc rw\n";
        assert!(is_good(proc));
        // A container's read-only part of /proc, and what it hides of it.
        let container = [
            proc,
            "30 25 0:23 /sys /proc/sys ro - proc proc rw\n",
            "31 25 0:40 / /proc/kcore rw - tmpfs tmpfs rw\n",
            "32 25 0:41 / /proc/sys/fs/binfmt_misc rw shared:1 - binfmt_misc binfmt_misc rw\n",
        ];
        assert!(is_good(&container.concat()));
        for over in [
            "40 25 8:1 /tmp/fake /proc/sys/kernel/random/boot_id rw - ext4 /dev/sda1 rw\n",
            "40 25 0:23 /sys/kernel/random/uuid /proc/sys/kernel/random/boot_id rw - proc proc rw\n",
            "40 25 0:23 /sys/kernel /proc/sys/kernel/random rw - proc proc rw\n",
            "40 25 0:42 / /proc/sys/kernel rw - tmpfs tmpfs rw\n",
            "40 25 0:42 / /proc rw - tmpfs tmpfs rw\n",
            "40 25\n",
        ] {
            assert!(!is_good(&[proc, over].concat()), "{over}");
        }
        // No procfs at all.
        assert!(!is_good("22 1 0:21 / / rw - ext4 /dev/sda1 rw\n"));
        assert!(!is_the_kernels(
            &[
                proc,
                "40 25 8:1 /tmp/fake /proc/77/timens_offsets rw - ext4 /dev/sda1 rw\n"
            ]
            .concat(),
            Path::new("/proc/77/timens_offsets")
        ));
    }

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
