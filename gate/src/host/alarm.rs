//! What the operator must know, on stderr. Under systemd the number in front is syslog's level of the line (sd-daemon(3)), so
//! that alarms reach syslog without a socket of ours.
//!
//! A log is carried outside, so it says what inner can cause in fixed words only, without numbers, and seldom; and it is charged.
//! Numbers are for the control socket. SPEC 9.6.

use std::fmt::Display;
use std::io::{Write as _, stderr};

use weir_meter::Instant;

/// Something is wrong, and somebody must look.
pub(super) fn alarm(what: impl Display) {
    say(2, "alarm: ", &what);
}

/// Something that is worth a line.
pub(super) fn note(what: impl Display) {
    say(6, "", &what);
}

fn say(level: u8, kind: &str, what: &dyn Display) {
    // A gate goes on if nobody reads any more.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        writeln!(stderr(), "<{level}>{kind}{what}")
    } else {
        writeln!(stderr(), "weir-gate: {kind}{what}")
    };
}

/// All that happens again and again.
pub(super) const LINES: [&str; 14] = [
    "datagrams from inside broke the rules",
    "frames came in from inside that are not the link's",
    "frames did not fit the queue",
    "frames were over the rate",
    "frames were over the budget",
    "pieces were absent",
    "ticks were late",
    "ticks were missed",
    "frames were not taken by the link",
    "the upload budget is running out",
    "a window is running out",
    "a window is used up: what has to leave waits",
    "more leaves than answers should take for what comes in",
    "the ledger lets nothing out",
];

/// What has been said of [`LINES`], and what has to be.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// What has happened and was not said.
    pub(super) due: [bool; LINES.len()],
    /// The step from which on each may be said.
    next: [u64; LINES.len()],
    /// The present step, and that of the last line.
    step: u64,
    last: u64,
}

impl Log {
    pub(super) fn new(now: Instant) -> Self {
        let step = now.micros() / STEP;
        Self {
            step,
            last: step,
            ..Self::default()
        }
    }

    /// When a new step has begun, says what is due and was not said within an hour. `told` hears for each line how many steps
    /// after the last line it is.
    pub(super) fn say(&mut self, now: Instant, mut told: impl FnMut(u64)) {
        let step = now.micros() / STEP;
        if step == self.step {
            return;
        }
        self.step = step;
        for ((line, due), next) in LINES.iter().zip(&mut self.due).zip(&mut self.next) {
            if *due && step >= *next {
                alarm(line);
                told(step - self.last);
                (*due, *next, self.last) = (false, step + HOLD, step);
            }
        }
    }
}

/// Bits that say which of [`LINES`] it is, or which reason of a cut.
pub(super) const LINE_BITS: u64 = 4;
/// Microseconds of a step: lines are said at its beginning.
const STEP: u64 = 10_000_000;
/// Steps within which no line is said twice: an hour.
const HOLD: u64 = 360;
