//! What operators read: the answer to `status`, and alarms.

use std::fmt::Write as _;

use super::alarm::alarm;
use super::clock::micros;
use super::run::Gate;
use crate::{Counters, Cut, Receipts};

/// What the host saw, beside the valve's and the governor's counters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Host {
    pub(super) inward: u64,
    pub(super) inward_bytes: u64,
    /// Datagrams from outside that are not for inner.
    pub(super) inward_dropped: u64,
    /// Datagrams with a permit, and their bytes on the line.
    pub(super) datagrams: u64,
    pub(super) line_bytes: u64,
    /// Datagrams with a permit that the system did not take.
    pub(super) lost: u64,
    /// Ticks that began late by more than a millisecond.
    pub(super) late: u64,
    /// Ticks that did not happen at all.
    pub(super) missed: u64,
    /// The latest beginning of a tick, in nanoseconds.
    pub(super) latest: u64,
}

/// What has been said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reported {
    counters: Counters,
    host: Host,
    cut: Option<Cut>,
    at: u64,
}

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
            ("datagrams", host.datagrams),
            ("line_bytes", self.host.line_bytes),
            ("charged_bits", spent.bits()),
            ("spent_bits", spent_bits),
            ("total_bits", total_bits),
        ] {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name} {value}");
        }
        out
    }

    /// Says what is new and matters: a cut at once, the rest once a second.
    pub(super) fn report(&mut self) {
        let heard = self.heard;
        let is_silent = self.silence.is_some_and(|silence| micros() > heard + silence);
        if is_silent && self.valve.is_cut().is_none() {
            alarm("no receipt of outer's for too long");
            self.valve.cut(Cut::Counters);
        }
        let (cut, seen) = (self.valve.is_cut(), &mut self.reported);
        if cut != seen.cut {
            if let Some(why) = cut {
                alarm(format_args!("cut, nothing leaves any more: {why}"));
            }
            seen.cut = cut;
        }
        let now = micros();
        while let Some(what) = self.governor.poll_alarm() {
            alarm(what);
        }
        if now < seen.at + REPORT_EVERY {
            return;
        }
        let (counters, host) = (*self.valve.counters(), self.host);
        let (was, had) = (&seen.counters, &seen.host);
        let [broken, before] = [&counters, was].map(Counters::violations);
        for (what, now, before) in [
            ("datagrams from inside broke the rules", broken, before),
            ("frames did not fit the queue", counters.full, was.full),
            ("frames were over the rate", counters.rate, was.rate),
            ("frames were over the budget", counters.refused, was.refused),
            ("pieces were absent", counters.absent, was.absent),
            ("ticks were late", host.late, had.late),
            ("ticks were missed", host.missed, had.missed),
            ("frames were not taken by the link", host.lost, had.lost),
        ] {
            if now > before {
                alarm(format_args!("{} {what}", now - before));
            }
        }
        (seen.counters, seen.host, seen.at) = (counters, host, now);
    }
}

/// Microseconds.
const REPORT_EVERY: u64 = 1_000_000;
