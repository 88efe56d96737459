//! The gate as a process on loopback: do its release instants keep to the tick, do they depend on when inner sent, how many
//! frames pass, how much memory does it take? `cargo bench -p weir-gate --bench release [-- TICKS]`; two idle cores.
//!
//! One thread is inner and outer at once: inside a tick it sends when the plan says so, else it listens without sleeping.

use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use rustix::time::{ClockId, clock_gettime};

fn main() -> ExitCode {
    let ticks = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let mut good = independence(ticks.unwrap_or(100_000));
    good &= throughput(ticks.unwrap_or(10_000).min(10_000));
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A frame on every tick, sent early or late in the one before, by lot. The instants at which they come out are two samples.
fn independence(ticks: u64) -> bool {
    let lab = Lab::start("batches = 1", "");
    let mut samples = [Vec::new(), Vec::new()];
    let mut lot = Lot(0x1234_5678_9abc_def1);
    let mut last = lab.next_tick() + 200;
    let end = last + ticks;
    while last < end {
        let late = usize::from(lot.draw() >> 63 == 1);
        // Frames of both kinds are alike but for a byte that the gate does not look at.
        let frame = [0, 1, 2, 3, 4, late as u8];
        let at = last * TICK + if late == 1 { TICK * 7 / 10 } else { TICK * 3 / 20 };
        lab.listen_until(at, |came, frame| note(&mut samples, came, frame));
        lab.inner.send(&frame).expect("loopback takes it");
        last += 1;
        lab.listen_until(last * TICK + TICK / 10, |came, frame| {
            note(&mut samples, came, frame)
        });
    }
    let count = samples[0].len() + samples[1].len();
    let mut all: Vec<u64> = samples.concat();
    all.sort_unstable();
    let (d, p) = kolmogorov_smirnov(&mut samples);
    let p999 = all[all.len() * 999 / 1000];
    println!(
        "release instants after the tick, {count} frames on {ticks} ticks of {} us",
        TICK / 1000
    );
    println!(
        "  p50 {} us, p99 {} us, p99.9 {} us, most {} us",
        all[all.len() / 2] / 1000,
        all[all.len() * 99 / 100] / 1000,
        p999 / 1000,
        all[all.len() - 1] / 1000
    );
    println!("  sent early against sent late: Kolmogorov-Smirnov D = {d:.5}, p = {p:.3}");
    let memory = lab.memory();
    println!("  memory at most {} kB", memory);
    verdict("p99.9 within 1 ms", p999 < 1_000_000)
        & verdict("p above 0.01: no dependence seen", p > 0.01)
        & verdict("all frames came", count as u64 * 1000 >= ticks * 999)
}

fn note(samples: &mut [Vec<u64>; 2], came: u64, frame: &[u8]) {
    if let [0, _, _, _, _, late @ 0..2] = *frame {
        samples[usize::from(late)].push(came % TICK);
    }
}

/// A hundred frames on every tick of a millisecond.
fn throughput(ticks: u64) -> bool {
    let lab = Lab::start("batches = 100\nmtu = 64", "queue_bytes = 65536");
    let first = lab.next_tick() + 100;
    let (cpu, mut before) = (lab.cpu(), 0);
    let mut delays = Vec::with_capacity(ticks as usize * 100);
    for tick in first..first + ticks {
        if tick == first + ticks / 10 {
            before = lab.memory();
        }
        // What comes out takes the first part of a tick, what goes in the rest.
        lab.listen_until(tick * TICK + TICK * 35 / 100, |came, _| delays.push(came % TICK));
        for id in 0..100 {
            lab.inner
                .send(&[id, 1, 2, 3, 4, 5, 6, 7, 8, 9])
                .expect("loopback takes it");
        }
    }
    let end = first + ticks;
    lab.listen_until((end + 2) * TICK, |came, _| delays.push(came % TICK));
    let cpu = lab.cpu() - cpu;
    let memory = lab.memory();
    delays.sort_unstable();
    let (count, offered) = (delays.len() as u64, ticks * 100);
    let p99 = delays[delays.len() * 99 / 100];
    let seconds = ticks as f64 * TICK as f64 / 1e9;
    println!(
        "throughput: {count} of {offered} frames in {seconds:.1} s, {:.0} a second",
        count as f64 / seconds
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
             [outside]\nlocal = \"udp://127.0.0.1:{outside}\"\npeer = \"udp://127.0.0.1:{}\"\n[session]\ntick_ms = 1\n{session}\n\
             [rules]\nstrikes = 4294967295\n{rules}\n[meter]\nrate = 1000000000000\nburst = 1000000000000\ntotal = 1000000000000000\n",
            folder.display(),
            port(&inner),
            port(&outer)
        );
        fs::File::create(&config)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("a configuration");
        let gate = Command::new(env!("CARGO_BIN_EXE_weir-gate"))
            .args([Path::new("run"), "--config".as_ref(), &config])
            .spawn()
            .expect("the gate starts");
        inner.connect(("127.0.0.1", inside)).expect("loopback");
        outer.set_nonblocking(true).expect("a socket");
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

    fn next_tick(&self) -> u64 {
        now() / TICK + 1
    }

    /// Listens without sleeping; what comes is handed on with its instant.
    fn listen_until(&self, end: u64, mut took: impl FnMut(u64, &[u8])) {
        let mut buffer = [0; 2048];
        loop {
            let received = self.outer.recv(&mut buffer);
            let time = now();
            if let Ok(len) = received {
                took(time, &buffer[..len]);
            } else if time >= end {
                return;
            }
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

/// The two-sample statistic and the chance of as much or more if both are of one distribution (asymptotic).
fn kolmogorov_smirnov(samples: &mut [Vec<u64>; 2]) -> (f64, f64) {
    let [a, b] = samples;
    a.sort_unstable();
    b.sort_unstable();
    let (n, m) = (a.len() as f64, b.len() as f64);
    let (mut i, mut j, mut d) = (0, 0, 0.0_f64);
    while i < a.len() && j < b.len() {
        let value = a[i].min(b[j]);
        while i < a.len() && a[i] == value {
            i += 1;
        }
        while j < b.len() && b[j] == value {
            j += 1;
        }
        d = d.max((i as f64 / n - j as f64 / m).abs());
    }
    let root = (n * m / (n + m)).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * d;
    let term = |k: i32| {
        f64::from(if k % 2 == 1 { 2 } else { -2 }) * (-2.0 * f64::from(k * k) * lambda * lambda).exp()
    };
    let p: f64 = (1..=100).map(term).sum();
    (d, if lambda < 0.2 { 1.0 } else { p.clamp(0.0, 1.0) })
}

/// Nanoseconds since boot, on the gate's clock.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A fair lot (xorshift).
struct Lot(u64);

impl Lot {
    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Nanoseconds.
const TICK: u64 = 1_000_000;
