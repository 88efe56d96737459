//! Real SIGKILLs of the real gate under load. `WEIR_KILLS` sets how many (20 without it).
//!
//! Frames go in all the time, and what comes out is counted. After each kill the ledger must hold at least what came out, and at
//! most a block more than was charged.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lab::{BLOCK, Lab, paths};
use weir_gate::Rules;
use weir_ledger::{Settings, archive, moment, open, read};
use weir_meter::LinkCost;
use weir_wire::Parameters;

#[allow(dead_code)] // the other test of a lab asks it more
mod lab;

#[test]
fn a_killed_gate_has_counted_all_that_came_out_and_a_block_more_at_most() {
    let kills = std::env::var("WEIR_KILLS").map_or(20, |kills| kills.parse().expect("a number"));
    let session = format!("tick_ms = 1\nbatches = {BATCHES}\nmtu = {MTU}\n[rules]\nstrikes = 4294967295");
    let meter = "rate = 1000000000\nburst = 1000000000\ntotal = 1000000000000\nstarts_per_hour = 4294967295";
    let lab = Lab::new(u64::MAX, &session, meter);
    let (stop, came) = (AtomicBool::new(false), Came::default());
    std::thread::scope(|scope| {
        scope.spawn(|| load(&lab.inner, &stop));
        scope.spawn(|| came.count(&lab.outer, &stop));
        let rounds = || all_rounds(&lab, &came, kills);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(rounds));
        stop.store(true, Ordering::Relaxed);
        if let Err(why) = result {
            std::panic::resume_unwind(why);
        }
    });
}

fn all_rounds(lab: &Lab, came: &Came, kills: u64) {
    let settings = Settings {
        block: BLOCK,
        starts_per_hour: u32::MAX,
        ..Settings::default()
    };
    let (mut surplus, mut most) = (0, 0);
    for kill in 0..kills {
        let frames = came.frames.load(Ordering::Relaxed);
        let mut gate = lab.spawn();
        // Some while it opens its ledger, most while frames pass.
        std::thread::sleep(Duration::from_micros(kill * 7_919 % 120_000));
        gate.kill().unwrap();
        let status = gate.wait().unwrap();
        assert!(status.code().is_none(), "the gate ended by itself: {status}");
        let bits = came.settled();
        let ledger = open(&paths(lab.folder.path()), moment().unwrap(), settings, &[], None).unwrap();
        let count = ledger.state().spent;
        ledger.close(moment().unwrap().since_boot).unwrap();
        assert!(count >= bits, "kill {kill}: {count} counted, {bits} came out");
        // Of the moments only the least that is charged is known here; and what this machine has dropped has left the gate.
        let frames = came.frames.load(Ordering::Relaxed) - frames;
        let unknown = frames * MOMENT_MORE + drops(&lab.outer) * LinkCost::UdpIpv4.bits(MTU).unwrap() * 2;
        let more = (count - bits).saturating_sub(surplus);
        assert!(
            more <= BLOCK + unknown,
            "kill {kill}: {more} bits too many in this round"
        );
        (surplus, most) = (count - bits, most.max(more));
    }
    let (bits, frames) = (
        came.bits.load(Ordering::Relaxed),
        came.frames.load(Ordering::Relaxed),
    );
    let records = whole_chain(&lab.path("ledger"));
    println!(
        "{kills} kills: {frames} frames of {bits} bits came out, {surplus} bits counted too much in all, {most} at most after one, {records} records verified"
    );
    assert!(frames > 0);
}

/// Frames of all batches and many lengths, about once a tick.
fn load(inner: &UdpSocket, stop: &AtomicBool) {
    for number in 0_usize.. {
        for id in 0..BATCHES {
            let frame = [id; MTU];
            let len = 5 + (number * 31 + usize::from(id) * 7) % (MTU - 4);
            // Nobody hears while the gate is dead.
            let _ = inner.send(&frame[..len]);
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What has come out, at the least that it can have been charged.
#[derive(Default)]
struct Came {
    frames: AtomicU64,
    bits: AtomicU64,
}

impl Came {
    fn count(&self, outer: &UdpSocket, stop: &AtomicBool) {
        let rules = Rules::new(Parameters {
            batches: u16::from(BATCHES),
            mtu: MTU as u16,
            ..Parameters::default()
        });
        let mut buffer = [0; 2048];
        while !stop.load(Ordering::Relaxed) {
            if let Ok(len) = outer.recv(&mut buffer) {
                let cost = LinkCost::UdpIpv4.bits(len).unwrap();
                self.bits
                    .fetch_add(cost + rules.side_bits() + 1, Ordering::Relaxed);
                self.frames.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The sum, when nothing comes any more.
    fn settled(&self) -> u64 {
        let mut last = 0;
        loop {
            std::thread::sleep(Duration::from_millis(5));
            let now = self.bits.load(Ordering::Relaxed);
            if now == last {
                return now;
            }
            last = now;
        }
    }
}

/// Datagrams that this socket had no room for so far.
fn drops(socket: &UdpSocket) -> u64 {
    let port = format!(":{:04X} ", socket.local_addr().unwrap().port());
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    let line = table
        .lines()
        .find(|line| line[..line.len().min(24)].contains(&port))
        .unwrap();
    line.split_whitespace().last().unwrap().parse().unwrap()
}

/// Verifies all segments from the first one on; how many records they have.
fn whole_chain(path: &Path) -> u64 {
    let mut chain = read(path, None).unwrap();
    let records = chain.seq + 1;
    while chain.older != [0; 32] {
        let first = chain.seq + 1 - chain.records.len() as u64;
        let before = read(&archive(path, first - 1), None).unwrap();
        assert_eq!(before.head, chain.older);
        chain = before;
    }
    records
}

const BATCHES: u8 = 8;
const MTU: usize = 200;
/// Bits that a moment can be charged above the least: gaps of less than 4096 ticks.
const MOMENT_MORE: u64 = 24;
