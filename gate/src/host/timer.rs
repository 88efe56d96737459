//! A timer that wakes the loop a moment before each tick.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// A `timerfd` on the clock of `clock.rs`.
pub(super) struct Timer(OwnedFd);

impl Timer {
    pub(super) fn register(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Boottime, flags)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self(fd))
    }

    /// Wakes the loop once, at `at` (microseconds since boot), or at once if that is over. Setting it anew makes a new event,
    /// so it is never read.
    pub(super) fn arm(&self, at: u64) -> io::Result<()> {
        let at = at.max(1);
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let value = Timespec {
            tv_sec: (at / 1_000_000) as i64,
            tv_nsec: (at % 1_000_000 * 1_000) as _,
        };
        let when = Itimerspec {
            it_interval: zero,
            it_value: value,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &when)?;
        Ok(())
    }
}
