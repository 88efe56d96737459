//! What the log says outside: fixed words, that say no more of what inner did than that it did. And it is charged.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::Lab;
use told::{configure, log};

#[allow(dead_code)]
mod lab;
#[allow(dead_code)]
mod told;

const CONSTANT: &str = "tick_ms = 10\nshape = \"constant\"\nmtu = 100";
const WIDE: &str = "rate = 10000000\nburst = 10000000";

/// A gate that does not outlive its test.
struct Running(Child);

impl Running {
    /// The code with which it ends on this signal.
    fn end(mut self, signal: &str) -> Option<i32> {
        let id = self.0.id().to_string();
        let kill = Command::new("kill").args([signal, &id]).status();
        assert!(kill.unwrap().success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not {what}");
}

/// The log of a gate to which inner has sent so much that breaks the rules, from the first line that inner can cause.
fn hostile(datagrams: usize) -> (String, u64) {
    let lab = Lab::new(1 << 40, CONSTANT, WIDE);
    configure(&lab, "[rules]\nabsent = 4294967295\nstrikes = 4294967295\n");
    let gate = Running(lab.start());
    let lengths = [0, 1, 2, 99];
    for number in 0..datagrams {
        lab.inner.send(&vec![7; lengths[number % 4]]).unwrap();
    }
    until("said", || {
        let log = log(&lab);
        log.contains("broke the rules") && log.contains("pieces were absent")
    });
    until("all read", || lab.status("dropped_length ") == datagrams as u64);
    let charged = lab.status("told_bits ");
    assert_eq!(gate.end("-TERM"), Some(0));
    let log = log(&lab);
    let (_, said) = log
        .split_once("weir-gate: ready")
        .and_then(|rest| rest.1.split_once('\n'))
        .unwrap();
    // Of ticks that were late this machine has its own.
    let lines = said.lines().filter(|line| !line.contains("alarm: ticks were"));
    (lines.collect::<Vec<_>>().join("\n"), charged)
}

#[test]
fn the_log_does_not_tell_how_much_inner_sent() {
    let few = std::thread::spawn(|| hostile(3));
    let (many, charged) = hostile(4_000);
    let (few, _) = few.join().unwrap();
    assert_eq!(few, many);
    assert!(!many.contains(|c: char| c.is_ascii_digit()), "{many}");
    assert_eq!(many.matches("broke the rules").count(), 1, "{many}");
    // Two lines: a bit and four for each, at least.
    assert!(charged >= 10, "{charged}");
}

#[test]
fn counters_are_told_once_a_second() {
    let lab = Lab::new(1 << 40, CONSTANT, WIDE);
    let gate = Running(lab.start());
    // Answers of one second say the same, however often somebody asks, and wherever.
    let ask = || lab.ask("status").unwrap();
    let ticks = |said: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix("ticks "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let answers: Vec<u64> = (0..3).map(|_| ticks(&ask())).collect();
    for pair in answers.windows(2) {
        assert!(pair[1] - pair[0] >= 90, "{answers:?}");
    }
    // Orders do not wait.
    assert_eq!(lab.ask("cut").unwrap(), "done\n");
    assert_eq!(lab.ask("resume").unwrap(), "done\n");
    assert_eq!(gate.end("-TERM"), Some(0));
}

#[test]
fn a_gate_lives_on_when_nobody_reads_what_it_says() {
    let lab = Lab::new(1 << 40, "tick_ms = 10", WIDE);
    configure(&lab, "[rules]\nstrikes = 0\n");
    let mut gate = Command::new(env!("CARGO_BIN_EXE_weir-gate"));
    gate.args(["run", "--unprotected", "--config"])
        .arg(lab.path("gate.toml"));
    let mut gate = gate.stderr(Stdio::piped()).spawn().unwrap();
    drop(gate.stderr.take());
    let gate = Running(lab.ready(gate));
    // The first bad datagram cuts, and a cut is said on the next tick.
    lab.inner.send(&[]).unwrap();
    let state = "state cut: inner broke the rules too often\n";
    until("cut", || lab.ask("status").unwrap().starts_with(state));
    // Here is one who did not die of saying so.
    let ticks = lab.status("ticks ");
    until("on", || lab.status("ticks ") > ticks);
    assert_eq!(gate.end("-TERM"), Some(0));
}

#[test]
fn a_terminal_that_is_closed_ends_it_like_any_other_end() {
    let lab = Lab::new(1 << 40, "tick_ms = 10", WIDE);
    for _ in 0..2 {
        let gate = Running(lab.start());
        assert_eq!(gate.end("-HUP"), Some(0));
    }
    assert_eq!(log(&lab).matches("shutting down").count(), 2);
    // What was reserved has been given back: all that is spent is what two silences say.
    let chain = weir_ledger::read(&lab.path("ledger"), None).unwrap();
    let state = chain.state;
    assert!(
        state.spent < 1_000,
        "{}: a block of {} is lost",
        state.spent,
        lab::BLOCK
    );
}

#[test]
fn a_cut_is_charged() {
    let lab = Lab::new(1 << 40, CONSTANT, WIDE);
    configure(&lab, "[rules]\nabsent = 4294967295\n");
    let gate = Running(lab.start());
    let before = lab.status("told_bits ");
    assert_eq!(lab.ask("cut").unwrap(), "done\n");
    until("said", || log(&lab).contains("alarm: cut"));
    // Which tick, and for which reason.
    let charged = lab.status("told_bits ") - before;
    assert!(charged >= 5, "{charged}");
    assert_eq!(gate.end("-TERM"), Some(0));
}
