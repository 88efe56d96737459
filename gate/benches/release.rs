//! The gate as a process on loopback: do its release instants keep to the tick, do they depend on when inner sent, how many
//! frames pass, how much memory does it take?
//!
//!     cargo bench -p weir-gate --bench release --no-run
//!     chrt -f 20 cargo bench -p weir-gate --bench release [-- TICKS]
//!
//! `chrt` gives gate and bench the priority that the gate's unit gives it; without it, what else the machine does is measured too.
//!
//! One thread is inner and outer at once. When a frame came is the kernel's word, which stamps it as it reaches the other end, so it
//! matters little what this thread does meanwhile. It sleeps, as the kernel takes the core for 50 ms of each second from a real-time
//! thread that never does.

use std::collections::BTreeSet;
use std::fs;
use std::io::{IoSlice, Write as _};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use moments::{Lot, MILLISECOND, ahead, micros, now, pin, sleep_until, stamp, two_samples};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

mod moments;

fn main() -> ExitCode {
    let ticks = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let mut good = independence(ticks.unwrap_or(100_000));
    floor();
    good &= throughput(ticks.unwrap_or(10_000).min(10_000));
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A frame on every tick, sent early or late in the one before, by lot. The instants at which they come out are two samples.
///
/// At the other moment something like it goes to a socket of our own, so that this thread, its core and loopback have done the
/// same before every tick, and only the gate can make a difference.
///
/// A frame that this thread sends only once the gate does no longer read is not the gate's to answer for, nor is the next, in whose way it is.
fn independence(ticks: u64) -> bool {
    const TICK: u64 = 4 * MILLISECOND;
    let lab = Lab::start("tick_ms = 4", "");
    let sink = Sink::new();
    let mut seen = Vec::with_capacity(ticks as usize);
    let mut lot = Lot(0x1234_5678_9abc_def1);
    let mut overslept = Overslept::new(TICK);
    let first = now() / TICK + 50;
    for tick in first..first + ticks {
        let is_late = lot.draw() >> 63 == 1;
        let due = (tick + 1) * TICK;
        // Frames of both kinds are alike but for a byte that the gate does not look at.
        let frame = frame(0, is_late, due);
        for (at, is_now) in [(TICK / 10, !is_late), (TICK * 7 / 10, is_late)] {
            sleep_until(tick * TICK + at);
            let way = if is_now { &lab.inner } else { &sink.way };
            way.send(&frame).expect("loopback takes it");
            sink.drain();
        }
        // Whichever of the two it was: what is left out must not depend on the lot.
        overslept.look(due);
        lab.listen(due + TICK / 10, |due, delay, is_late| {
            if !overslept.has(due) {
                seen.push((delay, is_late));
            }
        });
    }
    let uncounted = overslept.until((first + ticks) * TICK);
    let ticks = ticks - uncounted as u64;
    seen.sort_unstable();
    let count = seen.len();
    let on_tick = seen.partition_point(|&(delay, _)| delay < TICK) as u64;
    let late = seen.iter().filter(|&&(_, is_late)| is_late).count();
    println!(
        "release instants after the tick, {count} frames ({late} sent late) on {ticks} ticks of {} us, {on_tick} on their own; \
         {uncounted} more not counted, as the bench itself overslept",
        TICK / 1000
    );
    let at = |part: f64| seen[((count - 1) as f64 * part) as usize].0;
    let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(at);
    println!(
        "  p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, most {:.1} us",
        micros(p50),
        micros(p99),
        micros(p999),
        micros(most)
    );
    let medians = [false, true].map(|kind| {
        let of_kind: Vec<u64> = seen.iter().filter(|one| one.1 == kind).map(|one| one.0).collect();
        micros(of_kind[of_kind.len() / 2])
    });
    let (d, p) = two_samples(&seen, SHUFFLES, &mut lot);
    println!(
        "  sent early against sent late: medians {:.3} and {:.3} us, Kolmogorov-Smirnov D = {d:.5}, p = {p:.3} of {SHUFFLES} shuffles",
        medians[0], medians[1]
    );
    println!("  memory at most {} kB", lab.memory());
    verdict("p99.9 within 1 ms", p999 < 1_000_000)
        & verdict("p above 0.01: no dependence seen", p > 0.01)
        & verdict("99.9 % came on their own tick", on_tick * 1000 >= ticks * 999)
}

/// What a program takes that does nothing but send a hundred frames at once, by one call of the kernel, at the gate's priority and on its
/// core: the moment at which the last of them is there is the least delay that a gate can have for its last frame.
fn floor() {
    let sink = Sink::new();
    let frame = frame(0, false, 0);
    pin(1);
    let mut taken: Vec<u64> = (0..1_000)
        .map(|_| {
            sleep_until((now() / MILLISECOND + 1) * MILLISECOND);
            let parts = [IoSlice::new(&frame)];
            let mut controls: [_; 100] = std::array::from_fn(|_| SendAncillaryBuffer::default());
            let mut headers: Vec<_> = controls
                .iter_mut()
                .map(|control| MMsgHdr::new(&parts, control))
                .collect();
            let before = now();
            let sent = sendmmsg(&sink.way, &mut headers, SendFlags::empty());
            let taken = now() - before;
            assert_eq!(sent.ok(), Some(headers.len()), "loopback takes them");
            sink.drain();
            taken
        })
        .collect();
    pin(0);
    taken.sort_unstable();
    println!(
        "floor: one call that sends the same 100 frames takes p50 {} us, p99 {} us",
        taken[taken.len() / 2] / 1000,
        taken[taken.len() * 99 / 100] / 1000
    );
}

/// A hundred frames on every tick of a millisecond.
fn throughput(ticks: u64) -> bool {
    const TICK: u64 = MILLISECOND;
    let lab = Lab::start("tick_ms = 1\nbatches = 100\nmtu = 64", "queue_bytes = 65536");
    let first = now() / TICK + 100;
    let (cpu, mut before) = (lab.cpu(), 0);
    let mut overslept = Overslept::new(TICK);
    let mut delays = Vec::with_capacity(ticks as usize * 100);
    for tick in first..=first + ticks {
        if tick == first + ticks / 10 {
            before = lab.memory();
        }
        // What comes out takes the first part of a tick, what goes in the next.
        lab.listen(tick * TICK + TICK * 3 / 10, |due, delay, _| {
            if !overslept.has(due) {
                delays.push(delay);
            }
        });
        if tick == first + ticks {
            break;
        }
        for id in 0..100 {
            let frame = frame(id, false, (tick + 1) * TICK);
            lab.inner.send(&frame).expect("loopback takes it");
        }
        let due = (tick + 1) * TICK;
        overslept.look(due);
    }
    let uncounted = overslept.until((first + ticks) * TICK);
    let cpu = lab.cpu() - cpu;
    let memory = lab.memory();
    delays.sort_unstable();
    let (count, offered) = (delays.len() as u64, (ticks - uncounted as u64) * 100);
    let p99 = delays[delays.len() * 99 / 100];
    let seconds = ticks as f64 * TICK as f64 / 1e9;
    println!(
        "throughput: {count} of {offered} frames, {:.0} a second; {uncounted} of {ticks} ticks not counted, as the bench itself overslept",
        count as f64 / offered as f64 * 100.0 * 1e9 / TICK as f64
    );
    println!(
        "  delay after the tick: p50 {} us, p99 {} us, most {} us; {:.0} % of one core; memory at most {memory} kB (after a tenth of the time {before} kB)",
        delays[delays.len() / 2] / 1000,
        p99 / 1000,
        delays[delays.len() - 1] / 1000,
        cpu * 100.0 / seconds
    );
    verdict("99 % of 100,000 frames a second", count * 100 >= offered * 99)
        & verdict("p99 below 200 us", p99 < 200_000)
        & verdict("memory below 16 MB", memory < 16_000)
        & verdict("memory constant", memory == before)
}

fn verdict(what: &str, good: bool) -> bool {
    println!("  {} {what}", if good { "ok  " } else { "FAIL" });
    good
}

/// Ticks for which this thread sent when the gate no longer read, and those after them, in whose way these frames are.
struct Overslept {
    tick: u64,
    dues: BTreeSet<u64>,
}

impl Overslept {
    const fn new(tick: u64) -> Self {
        let dues = BTreeSet::new();
        Self { tick, dues }
    }

    /// To be called when all is sent for the tick that is due then.
    fn look(&mut self, due: u64) {
        if now() > due - last_reading(self.tick) {
            self.dues.extend([due, due + self.tick]);
        }
    }

    fn has(&self, due: u64) -> bool {
        self.dues.contains(&due)
    }

    /// How many there are, up to the one that is due then.
    fn until(&self, due: u64) -> usize {
        self.dues.range(..=due).count()
    }
}

/// A gate, and a socket on each side of it.
struct Lab {
    gate: Child,
    inner: UdpSocket,
    outer: UdpSocket,
    folder: PathBuf,
}

impl Lab {
    fn start(session: &str, rules: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("weir-gate-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        let socket = || UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let (inner, outer) = (socket(), socket());
        let port = |socket: &UdpSocket| socket.local_addr().expect("bound").port();
        // Free a moment ago.
        let (inside, outside) = (port(&socket()), port(&socket()));
        let config = folder.join("gate.toml");
        let text = format!(
            "control = \"{}/gate.sock\"\n[inside]\nlocal = \"udp://127.0.0.1:{inside}\"\npeer = \"udp://127.0.0.1:{}\"\n\
             [outside]\nlocal = \"udp://127.0.0.1:{outside}\"\npeer = \"udp://127.0.0.1:{}\"\n[session]\n{session}\n\
             [rules]\nstrikes = 4294967295\n{rules}\n[meter]\nrate = 1000000000000\nburst = 1000000000000\ntotal = 1000000000000000\n",
            folder.display(),
            port(&inner),
            port(&outer)
        );
        fs::File::create(&config)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("a configuration");
        // The gate inherits its core.
        pin(1);
        let gate = Command::new(env!("CARGO_BIN_EXE_weir-gate"))
            .args([
                Path::new("run"),
                "--unprotected".as_ref(),
                "--config".as_ref(),
                &config,
            ])
            .spawn()
            .expect("the gate starts");
        pin(0);
        inner.connect(("127.0.0.1", inside)).expect("loopback");
        outer.set_nonblocking(true).expect("a socket");
        // Nothing has come; but from now on there are stamps.
        stamp(&outer);
        while !folder.join("gate.sock").exists() {
            std::thread::yield_now();
        }
        Self {
            gate,
            inner,
            outer,
            folder,
        }
    }

    /// Takes what has come out until `at`: the tick of each, how long after it that was, and the kind.
    fn listen(&self, at: u64, mut took: impl FnMut(u64, u64, bool)) {
        sleep_until(at);
        let (ahead, mut buffer) = (ahead(), [0; 64]);
        while self.outer.recv(&mut buffer).is_ok() {
            let (is_late, due) = kind(&buffer);
            took(due, (stamp(&self.outer) - ahead).saturating_sub(due), is_late);
        }
    }

    /// Most memory that was ever resident, in kB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gate.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .expect("Linux says so")
    }

    /// Seconds of processor time so far.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.gate.id())).unwrap_or_default();
        let after = stat.rsplit(") ").next().unwrap_or_default();
        let fields: Vec<f64> = after
            .split(' ')
            .map(|field| field.parse().unwrap_or(0.0))
            .collect();
        (fields[11] + fields[12]) / 100.0
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.gate.kill();
        let _ = self.gate.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A frame with its kind and the tick on which it should come out, where a gate does not look.
fn frame(id: u8, is_late: bool, due: u64) -> [u8; 15] {
    let mut frame = [1; 15];
    frame[0] = id;
    frame[5] = u8::from(is_late);
    frame[6..14].copy_from_slice(&due.to_be_bytes());
    frame
}

fn kind(frame: &[u8; 64]) -> (bool, u64) {
    let due = frame[6..14].try_into().expect("eight bytes");
    (frame[5] == 1, u64::from_be_bytes(due))
}

/// A socket to send to when the gate is not to have anything.
struct Sink {
    way: UdpSocket,
    end: UdpSocket,
}

impl Sink {
    fn new() -> Self {
        let socket = || UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let (way, end) = (socket(), socket());
        way.connect(end.local_addr().expect("bound")).expect("loopback");
        end.set_nonblocking(true).expect("a socket");
        Self { way, end }
    }

    fn drain(&self) {
        while self.end.recv(&mut [0; 64]).is_ok() {}
    }
}

/// So long before a tick a gate begins to read for the last time: two guards (SPEC 9.2).
fn last_reading(tick: u64) -> u64 {
    2 * 200_000.min(tick / 8)
}

const SHUFFLES: usize = 1_000;
