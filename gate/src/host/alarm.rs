//! What the operator must know, on stderr. Under systemd the number in front is syslog's level of the line (sd-daemon(3)), so
//! that alarms reach syslog without a socket of ours.

use std::fmt::Display;

/// Something is wrong, and somebody must look.
pub(super) fn alarm(what: impl Display) {
    say(2, "alarm: ", &what);
}

/// Something that is worth a line.
pub(super) fn note(what: impl Display) {
    say(6, "", &what);
}

fn say(level: u8, kind: &str, what: &dyn Display) {
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        eprintln!("<{level}>{kind}{what}");
    } else {
        eprintln!("weir-gate: {kind}{what}");
    }
}
