//! The loop: datagrams in from both sides, a word to inner before each tick, frames out on it.

use std::fmt::Write as _;

use anyhow::Context as _;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use weir_link::{Link as _, Metered, Sent, Udp};
use weir_meter::Governor;
use weir_wire::inward::{Body, Inward, Kind};

use super::alarm::{alarm, note};
use super::clock::{micros, nanos};
use super::config::Config;
use super::control::{Control, Order};
use super::timer::Timer;
use crate::{Count, Counters, Cut, Receipts, Valve};

/// Everything that the loop turns around.
struct Gate {
    inside: Udp,
    outside: Metered<Udp>,
    governor: Governor,
    valve: Valve,
    receipts: Option<Receipts>,
    /// Microseconds without a receipt that are borne, and when the last one came.
    silence: Option<u64>,
    heard: u64,
    /// Length of a tick in microseconds.
    tick: u64,
    /// Beginning of the next tick, in microseconds since boot: a multiple of its length.
    due: u64,
    /// Whether inner has been told of it.
    told: bool,
    host: Host,
    /// What has been reported.
    reported: Reported,
    /// What inner is told.
    word: Vec<u8>,
}

/// What the host saw, beside the valve's and the governor's counters.
#[derive(Clone, Copy, Debug, Default)]
struct Host {
    inward: u64,
    inward_bytes: u64,
    /// Datagrams from outside that are not for inner.
    inward_dropped: u64,
    /// Datagrams with a permit, and their bytes on the line.
    datagrams: u64,
    line_bytes: u64,
    /// Datagrams with a permit that the system did not take.
    lost: u64,
    /// Ticks that began late by more than `LATE`.
    late: u64,
    /// Ticks that did not happen at all.
    missed: u64,
    /// The latest beginning of a tick, in nanoseconds.
    latest: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Reported {
    counters: Counters,
    host: Host,
    cut: Option<Cut>,
    at: u64,
}

/// Runs until a signal comes.
pub(super) fn run(config: &Config) -> anyhow::Result<()> {
    let (inside, outside) = config.addresses()?;
    let rules = config.rules()?;
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("signals")?;
    let mut poll = Poll::new()?;
    let registry = poll.registry().try_clone()?;
    let mut control = Control::open(&config.control, &registry, CONTROL)?;
    let outside_link = Udp::open(outside).context("outside")?;
    let mut inside_link = Udp::open(inside).context("inside")?;
    let cost = outside_link.cost();
    let longest = usize::from(config.session.mtu);
    let governor = config.meter.governor(cost, config.limits(cost)?, longest)?;
    match governor.ledger() {
        Some(ledger) => note(format_args!(
            "ledger open: {} of {} bits spent",
            ledger.state().spent,
            ledger.total()
        )),
        None => {
            alarm("NO LEDGER: every start begins the budget anew; set meter.ledger where weights are guarded")
        }
    }
    let id = governor.ledger().map_or([0; 32], |ledger| ledger.chain().id);
    let key = config.receipts.key.as_deref().map(weir_ledger::read_key);
    let receipts = key
        .transpose()?
        .map(|key| Receipts::new(key, id, config.receipts.tolerance));
    let mut outside_link = Metered::new(outside_link, &governor);
    inside_link.register(&registry, INSIDE)?;
    outside_link.register(&registry, OUTSIDE)?;
    registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
    let timer = Timer::register(&registry, TIMER)?;
    let tick = u64::from(rules.parameters.tick);
    let mut gate = Gate {
        inside: inside_link,
        outside: outside_link,
        governor,
        valve: Valve::new(rules)?,
        silence: (receipts.is_some() && config.receipts.silence_s > 0)
            .then(|| config.receipts.silence_s.saturating_mul(1_000_000)),
        receipts,
        heard: micros(),
        tick,
        due: (micros() / tick + 1) * tick,
        told: false,
        host: Host::default(),
        reported: Reported::default(),
        word: Vec::with_capacity(64),
    };
    note(format_args!("ready: {inside} -> {outside}, tick {tick} us"));

    let mut events = Events::with_capacity(16);
    let mut buffer = vec![0; LARGEST];
    let mut more = true;
    loop {
        timer.arm(gate.wake_at())?;
        let wait = more.then_some(std::time::Duration::ZERO);
        match poll.poll(&mut events, wait) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(error).context("poll");
            }
            _ => {}
        }
        if signals.pending().next().is_some() {
            note("shutting down");
            note(gate.status().replace('\n', ", "));
            let closed = gate.governor.close(micros());
            return closed.context("the ledger was not closed; what it had reserved counts as spent");
        }
        more |= !events.is_empty();
        gate.beat()?;
        if more {
            more = gate.take(&mut buffer)?;
        }
        if events.iter().any(|event| event.token() == CONTROL) {
            control.serve(&registry, CONTROL, |order| gate.obey(order));
        }
        gate.report();
    }
}

impl Gate {
    /// When something has to be done, if nothing comes.
    fn wake_at(&self) -> u64 {
        if self.told {
            self.due - self.guard()
        } else {
            self.due - self.tick / LEAD
        }
    }

    /// Time before a tick in which nothing is read. What comes then is of the next tick, and cannot move this one.
    fn guard(&self) -> u64 {
        GUARD.min(self.tick / 8)
    }

    /// Does what is due: tells inner of the tick that comes, or begins it.
    fn beat(&mut self) -> anyhow::Result<()> {
        let now = micros();
        if !self.told && now + self.tick / LEAD >= self.due {
            self.told = true;
            self.word.clear();
            let body = Body::Tick(self.valve.counters().ticks);
            let format = self.valve.rules().parameters.format;
            let word = Inward {
                format,
                session: 0,
                body,
            };
            word.emit(&mut self.word);
            // Lost like any datagram: inner goes on by its own clock.
            let _ = self.inside.send(&self.word)?;
        }
        if now + self.guard() < self.due {
            return Ok(());
        }
        // Awake and warm, whatever came before, so that the tick begins when it begins.
        let due = self.due * 1_000;
        let mut began = nanos();
        while began < due {
            core::hint::spin_loop();
            began = nanos();
        }
        let (outside, host, cost) = (&mut self.outside, &mut self.host, self.governor.cost());
        let mut failed = None;
        let result = self
            .valve
            .tick(began / 1_000, &mut self.governor, |permit, frame| {
                host.datagrams += 1;
                host.line_bytes += cost.bits(frame.len()).unwrap_or(0) / 8;
                match outside.send(permit, frame) {
                    Ok(Sent::Whole) => {}
                    Ok(Sent::Lost | Sent::TooLong | Sent::Refused(_)) => host.lost += 1,
                    Err(error) => failed = Some(error),
                }
            });
        if let Some(error) = failed {
            return Err(error).context("outside");
        }
        let _ = result; // `report` looks at the valve.
        // The disk has until the next tick.
        self.governor.prepare(micros());
        let late = began - due;
        host.latest = host.latest.max(late);
        host.late += u64::from(late > LATE);
        let next = (began / 1_000 / self.tick + 1) * self.tick;
        host.missed += (next - self.due) / self.tick - 1;
        self.due = next;
        self.told = false;
        Ok(())
    }

    /// Takes what has come from both sides, but not so much that a tick is missed; tells whether there may be more.
    fn take(&mut self, buffer: &mut [u8]) -> anyhow::Result<bool> {
        let mut more = false;
        for _ in 0..AT_ONCE {
            if micros() >= self.wake_at() {
                return Ok(true);
            }
            more = false;
            if let Some(len) = self.inside.recv(buffer)? {
                more = true;
                let _ = self.valve.offer(&buffer[..len]); // counted
            }
            if let Some(len) = self.outside.recv(buffer)? {
                more = true;
                self.pass_inward(&buffer[..len])?;
            }
            if !more {
                break;
            }
        }
        Ok(more)
    }

    /// What outer says goes in as it is, except what only a gate may say.
    fn pass_inward(&mut self, datagram: &[u8]) -> anyhow::Result<()> {
        self.host.inward += 1;
        self.host.inward_bytes += datagram.len() as u64;
        self.governor.received(micros(), datagram.len());
        match Kind::of(datagram) {
            Some(Kind::Hello | Kind::Data | Kind::Ping) => {
                let _ = self.inside.send(datagram)?;
            }
            Some(Kind::Receipt) => self.compare(datagram),
            Some(Kind::Tick) | None => self.host.inward_dropped += 1,
        }
        Ok(())
    }

    /// Holds what outer says it has received against what has left.
    fn compare(&mut self, datagram: &[u8]) {
        let (Some(receipts), Ok(inward)) = (&mut self.receipts, Inward::parse(datagram)) else {
            self.host.inward_dropped += 1;
            return;
        };
        let Body::Receipt(receipt) = inward.body else {
            return;
        };
        let ours = Count {
            datagrams: self.host.datagrams,
            bits: self.host.line_bytes * 8,
        };
        let [before, _] = receipts.counters();
        if let Err(why) = receipts.take(receipt, ours) {
            alarm(why);
            self.valve.cut(Cut::Counters);
        }
        if receipts.counters()[0] > before {
            self.heard = micros();
        }
    }

    fn obey(&mut self, order: Order) -> String {
        match order {
            Order::Status => return self.status(),
            Order::Cut => self.valve.cut(Cut::Operator),
            Order::Disagree => self.valve.cut(Cut::Counters),
            Order::Resume => {
                note("an operator resumes");
                self.heard = micros();
                self.valve.resume();
            }
        }
        "done\n".to_owned()
    }

    fn status(&self) -> String {
        let counters = self.valve.counters();
        let spent = self.governor.counters();
        let (spent_bits, total_bits) = self.governor.spent();
        let [receipts, receipts_refused] = self.receipts.as_ref().map_or([0, 0], Receipts::counters);
        let host = &self.host;
        let state = self
            .valve
            .is_cut()
            .map_or_else(|| "open".to_owned(), |cut| format!("cut: {cut}"));
        let mut out = format!("state {state}\n");
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
    fn report(&mut self) {
        if self
            .silence
            .is_some_and(|silence| micros() > self.heard + silence)
            && self.valve.is_cut().is_none()
        {
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
        let news = [
            (
                "datagrams from inside broke the rules",
                counters.violations() - seen.counters.violations(),
            ),
            ("frames did not fit the queue", counters.full - seen.counters.full),
            ("frames were over the rate", counters.rate - seen.counters.rate),
            (
                "frames were over the budget",
                counters.refused - seen.counters.refused,
            ),
            ("pieces were absent", counters.absent - seen.counters.absent),
            ("ticks were late", host.late - seen.host.late),
            ("ticks were missed", host.missed - seen.host.missed),
            ("frames were not taken by the link", host.lost - seen.host.lost),
        ];
        for (what, count) in news.into_iter().filter(|&(_, count)| count > 0) {
            alarm(format_args!("{count} {what}"));
        }
        (seen.counters, seen.host, seen.at) = (counters, host, now);
    }
}

const INSIDE: Token = Token(0);
const OUTSIDE: Token = Token(1);
const TIMER: Token = Token(2);
const CONTROL: Token = Token(3);
const SIGNALS: Token = Token(4);

/// Longest guard before a tick, in microseconds; an eighth of a short tick.
const GUARD: u64 = 200;
/// Inner is told of a tick this part of one before, so that what it then sends is here in time.
const LEAD: u64 = 4;
/// Nanoseconds after which a tick is late.
const LATE: u64 = 1_000_000;
/// Datagrams of each side that are taken in one go.
const AT_ONCE: usize = 64;
/// Room for the longest UDP datagram.
const LARGEST: usize = 65_536;
/// Microseconds.
const REPORT_EVERY: u64 = 1_000_000;
