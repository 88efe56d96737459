//! The loop: at moments that no datagram can move, it wakes, reads both sides, tells inner of the tick that comes, and begins it.
//! SPEC 9.2.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rustix::mm::{MlockAllFlags, mlockall};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use weir_ledger::{Disagreement, Receipts, read_key};
use weir_link::{Link as _, Metered, Sent, Socket};
use weir_meter::Instant;
use weir_wire::inward::{Body, Inward, Kind};

use super::alarm::{Log, alarm, note};
use super::clock::{micros, now, sleep_until, spin_until};
use super::config::Config;
use super::control::{Control, STATUS};
use super::protect::Machine;
use super::state::{Gate, Host, Reported};
use super::traffic::Traffic;
use crate::{Cut, Valve};

/// Runs until a signal comes.
pub(super) fn run(config: &Config, is_guarded: bool) -> anyhow::Result<()> {
    let mut control = Control::open(&config.control)?;
    // First of all: what a socket is for, the machine must be fit for.
    let machine = Machine::examine(config, is_guarded)?;
    let words = &config.receipts;
    let mut outer =
        Socket::open_on(&config.addresses()?.1, config.outside.device.as_deref()).context("outside")?;
    let key = words.key.as_deref().map(read_key).transpose()?;
    // Before signals are heard and anything of inner's: one ends it, and what inner says meanwhile is of no tick.
    let heard = config.meter.hear(key, words.at_start_s, |buffer| {
        let len = outer.recv(buffer).ok().flatten()?;
        match Inward::parse(&buffer[..len]).map(|inward| inward.body) {
            Ok(Body::Receipt(receipt)) => Some(receipt.to_vec()),
            _ => Some(vec![]),
        }
    })?;
    if heard.is_some_and(|(theirs, ours)| theirs > ours) {
        alarm("outer has had more than the ledger reserved: it is an older copy");
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals")?;
    }
    let mut gate = Gate::open(config, machine, outer, key, heard.map(|heard| heard.0))?;
    let mut buffer = vec![0; LARGEST];
    // A page that had to be fetched would make a tick late. All that is ever needed is there by now.
    if let Err(error) = mlockall(MlockAllFlags::CURRENT) {
        note(format_args!("memory is not locked: {error}"));
    }
    while !stop.load(Ordering::Relaxed) {
        sleep_until(gate.wake_at());
        let has_begun = gate.beat(&mut buffer);
        control.serve(now(), |order| gate.obey(order));
        if has_begun {
            // What a moment without its protection has let pass nobody knows: the cut stays.
            if gate.machine.watch() {
                gate.valve.cut(Cut::Machine);
            }
            gate.report();
        }
    }
    note("shutting down");
    let closed = gate.governor.close(now());
    closed.context("the ledger was not closed; what it had reserved counts as spent")
}

impl Gate {
    fn open(
        config: &Config,
        machine: Machine,
        outer: Socket,
        key: Option<[u8; 32]>,
        had: Option<u64>,
    ) -> anyhow::Result<Self> {
        let rules = config.rules()?;
        let tick = u64::from(rules.parameters.tick);
        let (from, to) = config.addresses()?;
        // Counting begins first: what comes in between is a stray too many, and hides none.
        let traffic = config.inside.device.as_deref().map(Traffic::open).transpose()?;
        let inside = Socket::open_on(&from, config.inside.device.as_deref()).context("inside")?;
        let (limits, longest) = (config.limits(outer.cost())?, rules.parameters.mtu.into());
        let governor = config.meter.governor(outer.cost(), limits, longest, had)?;
        match governor.ledger() {
            Some(_) => note("ledger open"),
            None => alarm("NO LEDGER: every start begins the budget anew; set meter.ledger to guard weights"),
        }
        let id = governor.ledger().map_or([0; 32], |ledger| ledger.chain().id);
        let words = &config.receipts;
        let receipts = key.map(|key| Receipts::new(key, id, words.tolerance));
        note(format_args!("ready: {from} -> {to}, tick {tick} us"));
        Ok(Self {
            inside,
            traffic,
            is_empty: false,
            outside: Metered::new(outer, &governor),
            governor,
            valve: Valve::new(rules)?,
            silence: (receipts.is_some() && words.silence_s > 0)
                .then(|| Duration::from_secs(words.silence_s)),
            receipts,
            differs: None,
            heard: now(),
            tick,
            due: (micros() / tick + 1) * tick,
            told: false,
            machine,
            late: 0,
            host: Host::default(),
            reported: Reported {
                log: Log::new(now()),
                ..Reported::default()
            },
            word: Vec::with_capacity(64),
            lot: RandomState::new(),
        })
    }

    /// The next moment at which something is done. The last reading before a tick is two guards before it, the others lie whole
    /// `READ_EVERY` before that one. So nothing that comes in wakes the gate: what it is doing when a tick begins, and what is in
    /// its caches then, does not depend on when inner sent.
    fn wake_at(&self) -> u64 {
        let last = self.due - 2 * self.guard();
        let between = last.saturating_sub(micros() + 1) / READ_EVERY;
        let reading = last - between * READ_EVERY;
        reading.min(if self.told {
            u64::MAX
        } else {
            self.due - self.lead()
        })
    }

    /// Time before a tick in which nothing is read. What comes then is of the next tick, and cannot move this one.
    fn guard(&self) -> u64 {
        GUARD.min(self.tick / 8)
    }

    /// Inner is told of a tick so long before it begins, that what it then sends is here in time.
    fn lead(&self) -> u64 {
        (self.tick / 4).max(LEAD_LEAST).min(self.tick / 2)
    }

    /// Does what is due now: the word to inner or a reading, and after the last one the tick. Returns whether that has begun.
    fn beat(&mut self, buffer: &mut [u8]) -> bool {
        let (now, last) = (micros(), self.due - 2 * self.guard());
        // Of a tick that has begun, inner need not hear any more: it has gone by its own count.
        if !self.told && (self.due - self.lead()..self.due).contains(&now) {
            self.tell();
            // Unless the tick is near, what has come waits for a moment that is meant for reading, whenever it came.
            if now < last {
                return false;
            }
        }
        // Who wakes late reads all the same, or these frames would meet the next tick's, which come half a tick before it at most.
        let until = match now + self.guard() < self.due + self.tick / 2 {
            true => (self.due - self.guard()).max(now + self.guard()),
            false => now,
        };
        self.take(buffer, until);
        if now >= last {
            self.begin(until);
        }
        now >= last
    }

    /// Tells inner of the tick that comes.
    fn tell(&mut self) {
        self.told = true;
        self.word.clear();
        let word = Inward {
            format: self.valve.rules().parameters.format,
            session: 0,
            body: Body::Tick(self.valve.counters().ticks),
        };
        word.emit(&mut self.word);
        // Lost like any datagram: inner goes on by its own clock.
        let _ = self.inside.send(&self.word);
    }

    /// Begins the tick: all is decided and awake before it, so that nothing but sending is left when it begins. It begins a little late,
    /// by lot, so that what caches remember of a frame's coming is far below what nobody can foretell; and not before `until`, however
    /// soon there was nothing more to read.
    fn begin(&mut self, until: u64) {
        let due = self.due * 1_000;
        let leaves = due + self.lot.hash_one(due) % (self.tick * 1_000 / DITHER).min(DITHER_MOST);
        let begins = Instant::from_micros(micros().max(self.due));
        let (outside, host, cost) = (&mut self.outside, &mut self.host, self.governor.cost());
        let mut began = 0;
        // What comes of it, `report` sees at the valve.
        let _ = self.valve.tick(begins, &mut self.governor, |leaving| {
            began = spin_until(leaves.max(until * 1_000));
            outside.send_all(leaving, |frame, sent| {
                host.left.datagrams += 1;
                host.left.bits += cost.bits(frame.len()).unwrap_or(0);
                // Whatever became of it: nothing that a side sends may end the loop.
                host.lost += u64::from(!matches!(sent, Ok(Sent::Whole)));
            });
        });
        // The disk has until the next tick.
        self.governor.prepare(now());
        let (late, ticks) = (began.saturating_sub(leaves), self.valve.counters().ticks);
        host.latest = host.latest.max(late);
        host.late += u64::from(late > LATE);
        let next = (began / 1_000 / self.tick + 1) * self.tick;
        let missed = (next - self.due) / self.tick - 1;
        host.missed += missed;
        if late > LATE || missed > 0 {
            // Outer sees which tick that was, and how late.
            self.governor
                .tell(now(), &[ticks - self.late, late / DITHER_MOST], 0);
            self.late = ticks;
        }
        self.due = next;
        self.told = false;
        self.count_strays();
    }

    /// Looks for what has come in beside the link; at the same place of every tick.
    fn count_strays(&mut self) {
        let (Some(traffic), taken) = (&mut self.traffic, self.valve.counters().offered) else {
            return;
        };
        match traffic.look(taken, std::mem::take(&mut self.is_empty)) {
            Ok(strays) => self.valve.stray(strays),
            Err(_) if self.valve.is_cut().is_none() => {
                alarm("the counters of inside's interface cannot be read");
                self.valve.cut(Cut::Machine);
            }
            Err(_) => {}
        }
    }

    /// Takes what has come from both sides, in turn, so that neither keeps the other waiting, and until a moment, so that neither
    /// keeps the tick waiting.
    fn take(&mut self, buffer: &mut [u8], until: u64) {
        let (mut inside, mut outside) = (true, INWARD_AT_ONCE);
        while (inside || outside > 0) && micros() < until {
            if inside {
                let len = self.inside.recv(buffer).ok().flatten();
                inside = len.is_some();
                self.is_empty |= !inside;
                let _ = len.map(|len| self.valve.offer(&buffer[..len])); // counted
            }
            if outside > 0 {
                let len = self.outside.recv(buffer).ok().flatten();
                outside = if len.is_some() { outside - 1 } else { 0 };
                let _ = len.map(|len| self.pass_inward(&buffer[..len]));
            }
        }
    }

    /// What outer says goes in as it is, except what only a gate may say, and what inside's link does not take.
    fn pass_inward(&mut self, datagram: &[u8]) {
        self.host.inward += 1;
        self.host.inward_bytes += datagram.len() as u64;
        self.governor.received(now(), datagram.len());
        match Kind::of(datagram) {
            Some(Kind::Hello | Kind::Data | Kind::Ping) if datagram.len() <= self.inside.mtu() => {
                let _ = self.inside.send(datagram);
            }
            Some(Kind::Receipt) => self.compare(datagram),
            _ => self.host.inward_dropped += 1,
        }
    }

    /// Holds what outer says it has received against what has left.
    fn compare(&mut self, datagram: &[u8]) {
        let body = Inward::parse(datagram).map(|inward| inward.body);
        let (Some(receipts), Ok(Body::Receipt(receipt))) = (&mut self.receipts, body) else {
            self.host.inward_dropped += 1;
            return;
        };
        let [before, _] = receipts.counters();
        if let Err(why) = receipts.take(receipt, self.host.left) {
            // How much it is, `status` says; and of a gate that is cut, that alone.
            if self.valve.is_cut().is_none() {
                alarm(match why {
                    Disagreement::More { .. } => "outer has received more than the gate let out",
                    Disagreement::Less { .. } => "outer has received less than the gate let out",
                });
            }
            self.differs = Some(why);
            self.valve.cut(Cut::Counters);
        }
        if receipts.counters()[0] > before {
            self.heard = now();
        }
    }

    fn obey(&mut self, order: &[u8]) -> String {
        match order {
            STATUS => return self.status(),
            b"cut" => self.valve.cut(Cut::Operator),
            // From a program that has compared counters.
            b"disagree" => self.valve.cut(Cut::Counters),
            b"resume" => {
                if let Some(lost) = &self.machine.lost {
                    return format!("not resumed: {lost}; see to the machine, and start the gate anew\n");
                }
                note("an operator resumes");
                self.heard = now();
                self.valve.resume();
                // The next cut is another one, whatever its reason.
                (self.reported.cut, self.reported.open) = (None, self.valve.counters().ticks);
            }
            _ => return "orders are: status, cut, disagree, resume\n".to_owned(),
        }
        "done\n".to_owned()
    }
}

/// Longest guard before a tick, in microseconds; an eighth of a short tick.
const GUARD: u64 = 200;
/// Least time between the word to inner and the tick, in microseconds; half of a short tick.
const LEAD_LEAST: u64 = 1_000;
/// Microseconds between two readings: so much is what comes in delayed on its way to inner, and what has to wait in the
/// socket's buffer.
const READ_EVERY: u64 = 1_000;
/// The part of a tick by which it begins late at most.
const DITHER: u64 = 32;
/// Nanoseconds that this part is at most, so that frames leave within a millisecond of the tick.
const DITHER_MOST: u64 = 500_000;
/// Nanoseconds after which a tick is late.
const LATE: u64 = 1_000_000;
/// Datagrams from outside that are taken at one reading: twice what outer sends in a millisecond (SPEC 6.6).
const INWARD_AT_ONCE: u32 = 64;
/// Room for the longest UDP datagram.
const LARGEST: usize = 65_536;
