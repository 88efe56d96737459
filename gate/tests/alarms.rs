//! The gate as a process: every cut and every alarm that an operator may read fires.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::Lab;
use told::{change, configure, log, receipt, refusal};
use weir_ledger::Echo;

mod lab;
mod told;

/// A gate that runs, and what it says.
struct Running {
    lab: Lab,
    gate: Child,
}

impl Running {
    /// `more` is what the configuration says after `[meter]`.
    fn new(session: &str, meter: &str, more: &str) -> Self {
        let lab = Lab::new(1 << 40, session, meter);
        configure(&lab, more);
        let gate = lab.start();
        Self { lab, gate }
    }

    /// Waits until the gate has said these words.
    fn says(&self, words: &str) {
        self.says_after(words, || ());
    }

    /// The same, with something done again and again.
    fn says_after(&self, words: &str, mut act: impl FnMut()) {
        self.until(words, || {
            act();
            log(&self.lab).contains(words)
        });
    }

    /// A frame from inside.
    fn frame(&self) {
        self.lab.inner.send(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
    }

    fn is_cut(&self, why: &str) {
        self.says(&format!("alarm: cut, nothing leaves any more: {why}"));
        let state = format!("state cut: {why}\n");
        assert!(self.lab.ask("status").unwrap().starts_with(&state));
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        for _ in 0..2_000 {
            if is_so() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("not {what}:\n{}", log(&self.lab));
    }

    fn signal(&self, name: &str) {
        let id = self.gate.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

/// The link to outer leads from `near` to `far` in the lab's folder.
fn outside_is_a_file(lab: &Lab) {
    change(lab, |text| {
        let (before, rest) = text.split_once("[outside]").unwrap();
        let (_, after) = rest.split_once("[session]").unwrap();
        let at = |name| format!("unix://{}", lab.path(name).display());
        let (local, peer) = (at("near"), at("far"));
        format!("{before}[outside]\nlocal = {local:?}\npeer = {peer:?}\n[session]{after}")
    });
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.gate.kill();
        let _ = self.gate.wait();
    }
}

#[test]
fn counters_that_disagree_cut() {
    let receipts = "[receipts]\nkey = KEY\n";
    let running = Running::new("tick_ms = 5", "", receipts);
    // `weir reconcile` says this.
    assert_eq!(running.lab.ask("disagree").unwrap(), "done\n");
    running.is_cut("counters disagree");
    // What a stranger sends to inner's side does not count as inner's.
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger
        .send_to(&[9; 9], ("127.0.0.1", running.lab.inside))
        .unwrap();
    running.frame();
    running.until("read", || running.lab.status("offered ") > 0);
    assert_eq!(
        (running.lab.status("offered "), running.lab.status("dropped_cut ")),
        (1, 1)
    );
    assert_eq!(running.lab.ask("resume").unwrap(), "done\n");
    assert!(running.lab.ask("status").unwrap().starts_with("state open"));
    // Outer has had what never left. What it has had before its first word, nobody here knows.
    for number in 1..=30 {
        let echo = Echo {
            ledger: [7; 32],
            number,
            datagrams: number,
            bits: number * 672,
        };
        let gate = ("127.0.0.1", running.lab.outside);
        running.lab.outer.send_to(&receipt(&echo), gate).unwrap();
    }
    running.says("alarm: outer has received more than the gate let out\n");
    running.until("read", || running.lab.status("receipts ") == 30);
    // The last that differs is in the answer, and one line in the log: it is cut by then.
    let said = "receipts_differ outer has received 29 datagrams and 19488 bits, the gate let out 0 and 0\n";
    assert!(running.lab.ask("status").unwrap().contains(said));
    running.is_cut("counters disagree");
    assert_eq!(log(&running.lab).matches("outer has received more").count(), 1);
}

#[test]
fn outers_silence_cuts() {
    let running = Running::new("tick_ms = 5", "", "[receipts]\nkey = KEY\nsilence_s = 1\n");
    running.says("alarm: no receipt of outer's for too long");
    running.is_cut("counters disagree");
}

#[test]
fn a_disk_that_fails_cuts() {
    let lab = Lab::new(1 << 40, "tick_ms = 5", "");
    // No file of its own may grow beyond the ledger and two blocks of 1,024 bytes.
    let most = fs::metadata(lab.path("ledger")).unwrap().len() / 1024 + 2;
    let script = format!("trap '' XFSZ; ulimit -f {most}; exec \"$@\"");
    let log = fs::File::create(lab.path("log")).unwrap();
    let gate = Command::new("bash")
        .args([
            "-c",
            &script,
            "gate",
            env!("CARGO_BIN_EXE_weir-gate"),
            "run",
            "--unprotected",
            "--config",
        ])
        .arg(lab.path("gate.toml"))
        .stderr(Stdio::from(log))
        .process_group(0)
        .spawn()
        .unwrap();
    let gate = lab.ready(gate);
    let running = Running { lab, gate };
    running.says_after("alarm: cut", || running.frame());
    running.is_cut("the ledger cannot be written");
}

#[test]
fn what_is_dropped_is_said() {
    // Room for one long frame a tick.
    let running = Running::new("tick_ms = 300\nbatches = 3", "", "[rules]\nqueue_bytes = 1472\n");
    running.says_after("frames did not fit the queue", || {
        for id in 0..3 {
            let mut frame = [1; 900];
            frame[0] = id;
            running.lab.inner.send(&frame).unwrap();
        }
    });
    // A rate of next to nothing.
    let running = Running::new("tick_ms = 5", "rate = 1\nburst = 20000", "");
    running.says_after("frames were over the rate", || running.frame());
}

#[test]
fn absent_pieces_and_a_gate_that_was_stopped_are_said() {
    let session = "tick_ms = 20\nshape = \"constant\"\nmtu = 100";
    let running = Running::new(
        session,
        "rate = 10000000\nburst = 10000000",
        "[rules]\nabsent = 4294967295\n",
    );
    running.says("pieces were absent");
    running.signal("-STOP");
    std::thread::sleep(Duration::from_millis(200));
    running.signal("-CONT");
    running.says("ticks were missed");
    running.says("ticks were late");
    assert!(running.lab.status("ticks_missed ") > 0 && running.lab.status("released_absent ") > 0);
    assert!(running.lab.ask("status").unwrap().starts_with("state open"));
}

#[test]
fn a_link_that_takes_nothing_is_said() {
    let lab = Lab::new(1 << 40, "tick_ms = 5", "");
    // Nobody is at the other end.
    outside_is_a_file(&lab);
    let gate = lab.start();
    let running = Running { lab, gate };
    running.says_after("frames were not taken by the link", || running.frame());
}

#[test]
fn what_inside_does_not_take_is_dropped_and_the_gate_goes_on() {
    let lab = Lab::new(1 << 40, "tick_ms = 5", "");
    let outer = UnixDatagram::bind(lab.path("far")).unwrap();
    outside_is_a_file(&lab);
    let gate = lab.start();
    let running = Running { lab, gate };
    // A ping; the first is as long as one that inside takes, the others longer, one of them than any buffer.
    for len in [1_472, 1_473, 65_507, 100_000] {
        let mut ping = vec![0; len];
        ping[0] = 0x12;
        outer.send_to(&ping, running.lab.path("near")).unwrap();
    }
    running.until("all read", || running.lab.status("inward ") == 4);
    assert_eq!(running.lab.status("inward_dropped "), 3);
    assert!(running.lab.ask("status").unwrap().starts_with("state open"));
}

#[test]
fn a_gate_without_a_ledger_says_so() {
    let lab = Lab::new(1 << 40, "tick_ms = 5", "");
    change(&lab, |text| {
        let lines = text.lines().filter(|line| {
            !["ledger", "witnesses", "block"]
                .iter()
                .any(|key| line.starts_with(key))
        });
        lines.collect::<Vec<_>>().join("\n")
    });
    let gate = lab.start();
    Running { lab, gate }.says("alarm: NO LEDGER");
}

#[test]
fn a_start_that_is_refused_says_why() {
    let refused = |lab: &Lab, code, words: &str| {
        let (found, said) = refusal(lab, "gate.toml");
        assert!(found == Some(code) && said.contains(words), "{code}: {said}");
    };
    let lab = Lab::new(1 << 40, "tick_ms = 5", "");
    fs::write(lab.path("gate.sock"), "somebody's").unwrap();
    refused(&lab, 1, "gate.sock: there is a file");
    assert_eq!(fs::read_to_string(lab.path("gate.sock")).unwrap(), "somebody's");

    let lab = Lab::new(1 << 40, "tick_ms = 5", "burst = 100");
    refused(&lab, 1, "meter.burst");

    let lab = Lab::new(1 << 40, "tick_ms = 5", "");
    let key = lab.path("key");
    change(&lab, |text| format!("{text}[receipts]\nkey = {key:?}\n"));
    refused(&lab, 31, "key");
    fs::write(&key, "no key").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o666)).unwrap();
    refused(&lab, 35, "mode 666");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    refused(&lab, 32, "not a key");
}
