//! What operators read: the answer to `status`, and alarms.

use std::fmt::Write as _;

use weir_ledger::{Alarm, Receipts};

use super::alarm::{LINE_BITS, LINES, alarm};
use super::clock::now;
use super::state::Gate;
use crate::Cut;

impl Gate {
    /// One `name value` a line.
    pub(super) fn status(&self) -> String {
        let counters = self.valve.counters();
        let spent = self.governor.counters();
        let (spent_bits, total_bits) = self.governor.spent();
        let [receipts, receipts_refused] = self.receipts.as_ref().map_or([0, 0], Receipts::counters);
        let host = &self.host;
        let mut out = match self.valve.is_cut() {
            Some(cut) => format!("state cut: {cut}\n"),
            None => "state open\n".to_owned(),
        };
        let _ = writeln!(out, "protection {}", self.machine.status());
        for (name, value) in [
            ("ticks", counters.ticks),
            ("offered", counters.offered),
            ("released", counters.released),
            ("released_absent", counters.absent),
            ("strays", counters.strays),
            ("dropped_length", counters.length),
            ("dropped_range", counters.range),
            ("dropped_order", counters.order),
            ("dropped_second", counters.second),
            ("dropped_full", counters.full),
            ("dropped_cut", counters.cut),
            ("dropped_rate", counters.rate),
            ("dropped_refused", counters.refused),
            ("lost", host.lost),
            ("inward", host.inward),
            ("inward_bytes", host.inward_bytes),
            ("inward_dropped", host.inward_dropped),
            ("ticks_late", host.late),
            ("ticks_missed", host.missed),
            ("latest_us", host.latest / 1_000),
            ("receipts", receipts),
            ("receipts_refused", receipts_refused),
            ("datagrams", host.left.datagrams),
            ("line_bytes", host.left.bits / 8),
            ("charged_bits", spent.bits()),
            ("told_bits", spent.told),
            ("spent_bits", spent_bits),
            ("total_bits", total_bits),
        ] {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name} {value}");
        }
        if let Some(why) = self.differs {
            let _ = writeln!(out, "receipts_differ {why}");
        }
        if let Some(why) = self.governor.ledger().and_then(|ledger| ledger.broken()) {
            let _ = writeln!(out, "ledger {why}");
        }
        out
    }

    /// Says what is new and matters: a cut at once, the rest as the log has it. To be called after a tick, so that nothing is
    /// said at a moment that inner could choose more finely.
    pub(super) fn report(&mut self) {
        let now = now();
        let is_silent = self.silence.is_some_and(|silence| now > self.heard + silence);
        if is_silent && self.valve.is_cut().is_none() {
            alarm("no receipt of outer's for too long");
            self.valve.cut(Cut::Counters);
        }
        let (counters, host) = (*self.valve.counters(), self.host);
        let (governor, seen) = (&mut self.governor, &mut self.reported);
        let cut = self.valve.is_cut();
        if let Some(why) = cut.filter(|_| cut != seen.cut) {
            alarm(format_args!("cut, nothing leaves any more: {why}"));
            governor.tell(now, &[counters.ticks - seen.open], LINE_BITS);
        }
        seen.cut = cut;
        let (was, had, due) = (&seen.counters, &seen.host, &mut seen.log.due);
        let grown = [
            counters.violations() > was.violations(),
            counters.strays > was.strays,
            counters.full > was.full,
            counters.rate > was.rate,
            counters.refused > was.refused,
            counters.absent > was.absent,
            host.late > had.late,
            host.missed > had.missed,
            host.lost > had.lost,
        ];
        for (due, grown) in due.iter_mut().zip(grown) {
            *due |= grown;
        }
        while let Some(what) = governor.poll_alarm() {
            due[match what {
                Alarm::TotalLow { .. } => LINES.len() - 5,
                Alarm::WindowLow { .. } => LINES.len() - 4,
                Alarm::WindowFull { .. } => LINES.len() - 3,
                Alarm::Ratio { .. } => LINES.len() - 2,
                Alarm::Ledger(_) => LINES.len() - 1,
            }] = true;
        }
        (seen.counters, seen.host) = (counters, host);
        seen.log.say(now, |gap| governor.tell(now, &[gap], LINE_BITS));
    }
}
