//! What can inner say to outer by flooding the gate's machine, in the constant shape? On each tick, by lot, it floods the gate or, as much, a machine
//! that is none; the moments at which frames come out are two samples. Linux, as root: it makes network namespaces of its own.
//!
//!     cargo bench -p weir-gate --bench flood --no-run
//!     cargo build --release -p weir-cli
//!     chrt -f 20 cargo bench -p weir-gate --bench flood -- --weir target/release/weir --runs 10 --ticks 3000 --json flood.json
//!
//! `--tick-ms N` (100), `--kind any|closed|icmp|short|good` (any: by lot), `--idle` (rest in place of flooding elsewhere), `--core N` of the gate (1; all else is
//! on core 0), `--weir BINARY` for the documented set-up, with the rules of `weir gate nft`: without it the gate is unprotected.
//! The gate has no limit of violations, or it would have cut at once.
//!
//! Each run ends with a permutation test, and with the smallest shift that this test would have seen in nine of ten trials: it is added to the recorded moments
//! under new lots. What such a shift tells is the information between the lot and a moment, in bits a tick.

use std::fs;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use moments::{
    Lot, MILLISECOND, ahead, critical, micros, now, pin, sleep_until, stamp, statistic, two_samples,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

mod moments;

fn main() -> ExitCode {
    let args = Args::read();
    let lab = Lab::start(&args);
    let mut lot = Lot(0x9e37_79b9_7f4a_7c15 ^ now());
    let (mut all, mut rows, mut good) = (vec![], vec![], true);
    for number in 1..=args.runs {
        let seen = lab.run(&args, &mut lot);
        let row = Row::of(&seen, args.tick, &mut lot);
        println!("run {number}: {}", row.say());
        good &= row.p > 0.001;
        rows.push(row);
        all.extend(seen);
    }
    let pooled = Row::of(&all, args.tick, &mut lot);
    println!("all:   {}", pooled.say());
    if let Some(path) = &args.json {
        let runs: Vec<String> = rows.iter().map(Row::json).collect();
        let (tick, text) = (args.tick / MILLISECOND, runs.join(",\n    "));
        let kind = if args.is_idle { "idle" } else { "elsewhere" };
        let json = format!(
            "{{\n  \"tick_ms\": {tick}, \"kind\": \"{}\", \"quiet\": \"{kind}\",\n  \"runs\": [\n    {text}\n  ],\n  \"all\": {}\n}}\n",
            args.kind,
            pooled.json()
        );
        fs::write(path, json).expect("the result is written");
    }
    println!("{} p above 0.001 in each run", if good { "ok  " } else { "FAIL" });
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Args {
    runs: u64,
    ticks: u64,
    /// In nanoseconds.
    tick: u64,
    kind: String,
    is_idle: bool,
    core: usize,
    weir: Option<PathBuf>,
    json: Option<PathBuf>,
}

impl Args {
    fn read() -> Self {
        let mut args = Self {
            runs: 1,
            ticks: 3_000,
            tick: 100 * MILLISECOND,
            kind: "any".to_owned(),
            is_idle: false,
            core: 1,
            weir: None,
            json: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .unwrap_or_else(|| panic!("{word}: a value is missing"))
            };
            let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{text}: not a number"));
            match word.as_str() {
                "--runs" => args.runs = number(value()),
                "--ticks" => args.ticks = number(value()),
                "--tick-ms" => args.tick = number(value()) * MILLISECOND,
                "--kind" => args.kind = value(),
                "--idle" => args.is_idle = true,
                "--core" => args.core = number(value()) as usize,
                "--weir" => args.weir = Some(value().into()),
                "--json" => args.json = Some(value().into()),
                // Cargo's own.
                "--bench" => {}
                _ => panic!("{word}: no such word; see the head of this file"),
            }
        }
        assert!(
            KINDS.contains(&args.kind.as_str()) || args.kind == "any",
            "{}: no such kind",
            args.kind
        );
        args
    }
}

/// Inner, gate, outer and a machine like the gate's without one, in a namespace each.
struct Lab {
    gate: Option<Child>,
    /// One honest piece a tick goes here.
    piece: UdpSocket,
    /// What floods, by kind: the gate, and the other.
    floods: [Vec<UdpSocket>; 2],
    outer: UdpSocket,
    folder: PathBuf,
}

impl Lab {
    fn start(args: &Args) -> Self {
        let folder = std::env::temp_dir().join(format!("weir-gate-flood-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        pin(0);
        shell(&namespaces());
        let within = |name: &str, of: &dyn Fn() -> UdpSocket| in_namespace(name, of);
        let piece = within("inner", &|| bound("10.99.9.1:7001", "10.99.9.2:7003"));
        let floods = ["10.99.9.2", "10.99.9.10"].map(|to| {
            let from = if to.ends_with(".2") {
                "10.99.9.1"
            } else {
                "10.99.9.9"
            };
            vec![
                within("inner", &|| bound(&format!("{from}:0"), &format!("{to}:9"))),
                within("inner", &|| raw(to)),
                // From inner's own port: the link's.
                match from {
                    "10.99.9.1" => piece.try_clone().expect("a socket"),
                    _ => within("inner", &|| bound("10.99.9.9:7001", "10.99.9.10:7003")),
                },
            ]
        });
        let outer = within("outer", &|| bound("10.99.9.6:7002", "10.99.9.5:7004"));
        outer.set_nonblocking(true).expect("a socket");
        for socket in floods.iter().flatten() {
            socket.set_nonblocking(true).expect("a socket");
        }
        // From now on there are stamps.
        stamp(&outer);
        let mut lab = Self {
            gate: None,
            piece,
            floods,
            outer,
            folder,
        };
        let config = lab.folder.join("gate.toml");
        let text = format!(
            "control = \"{}/gate.sock\"\n[inside]\nlocal = \"udp://10.99.9.2:7003\"\npeer = \"udp://10.99.9.1:7001\"\ndevice = \"in\"\n\
             [outside]\nlocal = \"udp://10.99.9.5:7004\"\npeer = \"udp://10.99.9.6:7002\"\ndevice = \"out\"\n\
             [session]\nshape = \"constant\"\nmtu = {MTU}\ntick_ms = {}\n[rules]\nstrikes = 4294967295\nabsent = 4294967295\n\
             [meter]\nrate = 1000000000\nburst = 1000000000\ntotal = 1000000000000000\n",
            lab.folder.display(),
            args.tick / MILLISECOND
        );
        fs::write(&config, text).expect("a configuration");
        if let Some(weir) = &args.weir {
            // Cargo runs this in the crate's folder.
            let weir = Path::new("..").join(weir);
            let weir = weir.canonicalize().expect("--weir: a program");
            let (within, config) = (format!("ip netns exec {}", name("gate")), config.display());
            let weir = weir.display();
            shell(&format!(
                "{within} {weir} gate nft --config {config} --cap-bytes 1000000000000 | {within} nft -f -"
            ));
        }
        pin(args.core);
        let mut gate = Command::new("ip");
        gate.args([
            "netns",
            "exec",
            &name("gate"),
            env!("CARGO_BIN_EXE_weir-gate"),
            "run",
        ]);
        gate.args([Path::new("--config"), &config]);
        if args.weir.is_none() {
            gate.arg("--unprotected");
        }
        lab.gate = Some(gate.spawn().expect("the gate starts"));
        pin(0);
        while !lab.folder.join("gate.sock").exists() {
            let ended = lab.gate.as_mut().and_then(|gate| gate.try_wait().ok()?);
            assert!(ended.is_none(), "the gate has ended");
            sleep_until(now() + MILLISECOND);
        }
        lab
    }

    /// For each tick, how long after it its frame came out (a tick, if none did), and whether inner flooded the gate before.
    fn run(&self, args: &Args, lot: &mut Lot) -> Vec<(u64, bool)> {
        let tick = args.tick;
        let first = now() / tick + 5;
        let mut seen: Vec<(u64, bool)> = vec![];
        let took = |at: u64, delay: u64, seen: &mut Vec<(u64, bool)>| {
            let place = at.checked_sub(first).and_then(|at| seen.get_mut(at as usize));
            if let Some(place) = place {
                place.0 = place.0.min(delay);
            }
        };
        for number in 0..args.ticks {
            // The tick at which it will be seen.
            let due = (first + number) * tick;
            let is_flood = lot.draw() >> 63 == 1;
            let kind = match args.kind.as_str() {
                "any" => (lot.draw() >> 32) as usize % KINDS.len(),
                wanted => KINDS.iter().position(|kind| *kind == wanted).unwrap_or(0),
            };
            seen.push((tick, is_flood));
            sleep_until(due - tick * 6 / 10);
            self.listen(tick, |at, delay| took(at, delay, &mut seen));
            let _ = self.piece.send(&[number as u8 & 1; MTU]);
            sleep_until(due - tick * 4 / 10);
            if is_flood || !args.is_idle {
                self.flood(usize::from(!is_flood), kind, due + MILLISECOND * 7 / 10);
            }
            if number % (args.ticks / 4).max(1) == 0 {
                eprintln!("  tick {number} of {}", args.ticks);
            }
        }
        sleep_until((first + args.ticks) * tick);
        self.listen(tick, |at, delay| took(at, delay, &mut seen));
        seen
    }

    /// As much as one core sends until then, over the moment at which the frame leaves.
    fn flood(&self, whom: usize, kind: usize, until: u64) {
        let good = [0; MTU];
        let echo: [u8; 16] = [8, 0, 0xf7, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let (socket, bytes): (usize, &[u8]) = match KINDS[kind] {
            "closed" => (0, &good),
            "icmp" => (1, &echo),
            "short" => (2, &[0]),
            _ => (2, &good),
        };
        while now() < until {
            // "Port unreachable" comes back, and is not told apart.
            let _ = self.floods[whom][socket].send(bytes);
        }
    }

    fn listen(&self, tick: u64, mut took: impl FnMut(u64, u64)) {
        let (ahead, mut buffer) = (ahead(), [0; MTU]);
        while self.outer.recv(&mut buffer).is_ok() {
            let at = stamp(&self.outer) - ahead;
            took(at / tick, at % tick);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(gate) = &mut self.gate {
            let _ = gate.kill();
            let _ = gate.wait();
        }
        for end in ENDS {
            let _ = Command::new("ip").args(["netns", "delete", &name(end)]).status();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a run has shown.
struct Row {
    ticks: usize,
    floods: usize,
    missing: usize,
    medians: [f64; 2],
    d: f64,
    p: f64,
    /// The smallest shift that would have been seen, in nanoseconds; its D, its bits a tick, and bits a second.
    shift: u64,
    shift_d: f64,
    bits: f64,
    rate: f64,
}

impl Row {
    fn of(seen: &[(u64, bool)], tick: u64, lot: &mut Lot) -> Self {
        let mut seen = seen.to_vec();
        seen.sort_unstable();
        let medians = [false, true].map(|kind| {
            let of_kind: Vec<u64> = seen.iter().filter(|one| one.1 == kind).map(|one| one.0).collect();
            of_kind.get(of_kind.len() / 2).map_or(f64::NAN, |&at| micros(at))
        });
        let (d, p) = two_samples(&seen, SHUFFLES, lot);
        let came: Vec<u64> = seen.iter().map(|one| one.0).filter(|&at| at < tick).collect();
        let shift = smallest(&came, critical(&seen, SHUFFLES, 0.001, lot), lot);
        let bits = information(&came, shift);
        Self {
            ticks: seen.len(),
            floods: seen.iter().filter(|one| one.1).count(),
            missing: seen.len() - came.len(),
            medians,
            d,
            p,
            shift,
            shift_d: overlap(&came, shift),
            bits,
            rate: bits * 1e9 / tick as f64,
        }
    }

    fn say(&self) -> String {
        format!(
            "{} ticks, {} flooded, {} without a frame; medians {:.2} and {:.2} us, D = {:.4}, p = {:.4}; would have seen {:.2} us: {:.4} bits a tick, \
             {:.3} bit/s (D = {:.3})",
            self.ticks,
            self.floods,
            self.missing,
            self.medians[0],
            self.medians[1],
            self.d,
            self.p,
            micros(self.shift),
            self.bits,
            self.rate,
            self.shift_d
        )
    }

    fn json(&self) -> String {
        format!(
            "{{\"ticks\": {}, \"flooded\": {}, \"missing\": {}, \"median_us\": [{:.3}, {:.3}], \"d\": {:.5}, \"p\": {:.5}, \"seen_shift_us\": {:.3}, \
             \"seen_d\": {:.5}, \"seen_bits_per_tick\": {:.6}, \"seen_bits_per_s\": {:.5}}}",
            self.ticks,
            self.floods,
            self.missing,
            self.medians[0],
            self.medians[1],
            self.d,
            self.p,
            micros(self.shift),
            self.shift_d,
            self.bits,
            self.rate
        )
    }
}

/// The smallest shift of all flooded ticks, in nanoseconds, for which the statistic is above `critical` in nine of ten trials.
fn smallest(came: &[u64], critical: f64, lot: &mut Lot) -> u64 {
    let is_seen = |shift: u64, lot: &mut Lot| {
        let trials = (0..TRIALS).filter(|_| {
            let lots = came.iter().map(|&at| (at, lot.draw() >> 63 == 1));
            let mut shifted: Vec<_> = lots.map(|(at, is)| (at + shift * u64::from(is), is)).collect();
            shifted.sort_unstable();
            statistic(&shifted) > critical
        });
        trials.count() * 10 >= TRIALS * 9
    };
    let (mut below, mut above) = (0, 64);
    while !is_seen(above, lot) && above < 100 * MILLISECOND {
        (below, above) = (above, above * 2);
    }
    while above - below > above / 32 + 1 {
        let middle = below.midpoint(above);
        if is_seen(middle, lot) {
            above = middle;
        } else {
            below = middle;
        }
    }
    above
}

/// The statistic of these moments against the same ones shifted: the most that lies within one shift. `came` is sorted.
fn overlap(came: &[u64], shift: u64) -> f64 {
    let within = |(at, &first): (usize, &u64)| came.partition_point(|&one| one < first + shift) - at;
    came.iter().enumerate().map(within).max().unwrap_or(0) as f64 / came.len().max(1) as f64
}

/// Bits that a moment says of a fair lot that shifts it: the Jensen-Shannon divergence of both densities, each moment being
/// spread over a cell of a 64th of the middle 98 %.
fn information(came: &[u64], shift: u64) -> f64 {
    let Some((low, high)) = came.get(came.len() / 100).zip(came.get(came.len() * 99 / 100)) else {
        return f64::NAN;
    };
    let cell = ((high - low) as f64 / 64.0).max(1.0);
    let cells = ((came[came.len() - 1] + shift) as f64 / cell) as usize + 2;
    let density = |shift: u64| {
        let mut mass = vec![0.0; cells];
        for &at in came {
            let place = (at + shift) as f64 / cell;
            mass[place as usize] += (1.0 - place.fract()) / came.len() as f64;
            mass[place as usize + 1] += place.fract() / came.len() as f64;
        }
        mass
    };
    let part = |p: f64, q: f64| {
        if p > 0.0 {
            p * (2.0 * p / (p + q)).log2()
        } else {
            0.0
        }
    };
    let both = density(0).into_iter().zip(density(shift));
    both.map(|(p, q): (f64, f64)| f64::midpoint(part(p, q), part(q, p)))
        .sum()
}

/// One of our namespaces.
fn name(end: &str) -> String {
    format!("weir-flood-{end}-{}", std::process::id())
}

/// Four of them and three cables. Neighbours are fixed and IPv6 is off, so that no kernel speaks by itself.
fn namespaces() -> String {
    let mut text = String::from("set -e\n");
    for end in ENDS {
        let name = name(end);
        text += &format!(
            "ip netns add {name}\nip netns exec {name} sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 "
        );
        text += "net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1 net.ipv4.conf.all.forwarding=0 net.ipv4.conf.default.forwarding=0 net.ipv4.icmp_ratelimit=0 || true\nip -n ";
        text += &format!("{name} link set lo up\n");
    }
    for (number, (device, [one, two], net)) in CABLES.into_iter().enumerate() {
        let (from, to) = (name(one), name(two));
        text += &format!("ip link add {device} netns {from} type veth peer name {device} netns {to}\n");
        for (own, peer, end) in [(1, 2, &from), (2, 1, &to)] {
            let (mac, address) = (
                |end| format!("02:00:00:09:0{number}:0{end}"),
                |end| format!("10.99.9.{}", net + end),
            );
            text += &format!("ip -n {end} link set {device} address {} arp off\n", mac(own));
            text += &format!(
                "ip -n {end} address add {}/30 dev {device}\nip -n {end} link set {device} up\n",
                address(own)
            );
            text += &format!(
                "ip -n {end} neighbour replace {} lladdr {} dev {device} nud permanent\n",
                address(peer),
                mac(peer)
            );
        }
    }
    text
}

fn shell(script: &str) {
    let done = Command::new("sh").args(["-c", script]).status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "needs root, ip and sysctl:\n{script}"
    );
}

/// A socket of that namespace.
fn in_namespace(end: &str, make: &dyn Fn() -> UdpSocket) -> UdpSocket {
    let file = fs::File::open(Path::new("/run/netns").join(name(end))).expect("a namespace");
    let back = fs::File::open("/proc/thread-self/ns/net").expect("a namespace");
    let enter = |file: &fs::File| {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
    };
    enter(&file);
    let socket = make();
    enter(&back);
    socket
}

fn bound(local: &str, peer: &str) -> UdpSocket {
    let socket = UdpSocket::bind(local).expect("an address");
    socket.connect(peer).expect("a route");
    socket
}

/// A socket for ICMP, with which only what it shares with UDP is done.
fn raw(peer: &str) -> UdpSocket {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::RAW,
        SocketFlags::empty(),
        Some(ipproto::ICMP),
    );
    let socket = UdpSocket::from(socket.expect("root may"));
    socket.connect((peer, 0)).expect("a route");
    socket
}

const ENDS: [&str; 4] = ["inner", "gate", "outer", "other"];
/// Device, both ends, and the last byte of the network's address.
const CABLES: [(&str, [&str; 2], u8); 3] = [
    ("in", ["inner", "gate"], 0),
    ("out", ["gate", "outer"], 4),
    ("other", ["inner", "other"], 8),
];
/// To a closed port; echo requests; to the link's port, of a wrong length and of the right one.
const KINDS: [&str; 4] = ["closed", "icmp", "short", "good"];
const MTU: usize = 200;
const SHUFFLES: usize = 10_000;
const TRIALS: usize = 100;
