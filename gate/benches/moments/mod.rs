//! What the gate's benches share: cores and clocks, the kernel's stamps, lots, and the test of two samples.

use std::net::UdpSocket;

use rustix::ioctl::{Getter, ioctl};
use rustix::thread::{CpuSet, clock_nanosleep_absolute, sched_setaffinity};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The two-sample statistic of what is sorted, and the share of shuffles with as much or more. As a lot has decided for each tick
/// alone, shuffled labels are as likely as these if it makes no difference, whatever else the machine did meanwhile.
pub(crate) fn two_samples(seen: &[(u64, bool)], shuffles: usize, lot: &mut Lot) -> (f64, f64) {
    let found = statistic(seen);
    let as_much = shuffled(seen, shuffles - 1, lot).filter(|&d| d >= found - 1e-12);
    (found, (1 + as_much.count()) as f64 / shuffles as f64)
}

/// What the statistic is above in that share of shuffles.
#[allow(dead_code)]
pub(crate) fn critical(seen: &[(u64, bool)], shuffles: usize, share: f64, lot: &mut Lot) -> f64 {
    let mut found: Vec<f64> = shuffled(seen, shuffles, lot).collect();
    found.sort_by(f64::total_cmp);
    found[shuffles - 1 - (shuffles as f64 * share) as usize]
}

/// The greatest difference (Kolmogorov-Smirnov) between the two kinds; `seen` is sorted.
pub(crate) fn statistic(seen: &[(u64, bool)]) -> f64 {
    let late = seen.iter().filter(|one| one.1).count();
    let steps = [-1.0 / (seen.len() - late).max(1) as f64, 1.0 / late.max(1) as f64];
    let (mut sum, mut d) = (0.0_f64, 0.0_f64);
    for (i, &(at, is_late)) in seen.iter().enumerate() {
        sum += steps[usize::from(is_late)];
        // Equal instants are one step.
        if seen.get(i + 1).is_none_or(|next| next.0 != at) {
            d = d.max(sum.abs());
        }
    }
    d
}

fn shuffled(seen: &[(u64, bool)], shuffles: usize, lot: &mut Lot) -> impl Iterator<Item = f64> {
    let mut seen = seen.to_vec();
    (0..shuffles).map(move |_| {
        for i in (1..seen.len()).rev() {
            let other = (lot.draw() % (i as u64 + 1)) as usize;
            (seen[i].1, seen[other].1) = (seen[other].1, seen[i].1);
        }
        statistic(&seen)
    })
}

/// Keeps this thread, and what it starts, on one core. A machine without that core has to do with what it has.
pub(crate) fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    let _ = sched_setaffinity(None, &cores);
}

pub(crate) fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

/// When the last datagram that was received had come, in nanoseconds since 1970; 0 if none has come.
pub(crate) fn stamp(socket: &UdpSocket) -> u64 {
    // SAFETY: SIOCGSTAMPNS of a 64-bit Linux writes a timespec, two numbers of 64 bits, and nothing else.
    let stamp = unsafe { ioctl(socket, Getter::<SIOCGSTAMPNS, [i64; 2]>::new()) };
    stamp.map_or(0, |[seconds, nanos]| {
        seconds as u64 * 1_000_000_000 + nanos as u64
    })
}

/// Nanoseconds that the clock of stamps is ahead of the gate's, best of a few tries.
pub(crate) fn ahead() -> u64 {
    let tries = (0..4).map(|_| {
        let before = now();
        let wall = nanos(clock_gettime(ClockId::Realtime));
        let after = now();
        (after - before, wall - before.midpoint(after))
    });
    tries.min().map_or(0, |(_, ahead)| ahead)
}

pub(crate) fn sleep_until(at: u64) {
    let when = Timespec {
        tv_sec: (at / 1_000_000_000) as i64,
        tv_nsec: (at % 1_000_000_000) as _,
    };
    let _ = clock_nanosleep_absolute(ClockId::Boottime, &when);
}

/// Nanoseconds since boot, on the gate's clock.
pub(crate) fn now() -> u64 {
    nanos(clock_gettime(ClockId::Boottime))
}

pub(crate) fn nanos(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A fair lot (xorshift).
pub(crate) struct Lot(pub(crate) u64);

impl Lot {
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// In nanoseconds.
pub(crate) const MILLISECOND: u64 = 1_000_000;
const SIOCGSTAMPNS: rustix::ioctl::Opcode = 0x8907;
