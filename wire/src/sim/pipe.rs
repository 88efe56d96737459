//! One direction of a link that loses, delays, doubles, swaps and damages datagrams.

use alloc::vec::Vec;
use core::time::Duration;

use crate::time::Instant;

/// What happens to one datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is lost.
    Drop,
    /// It comes this much later.
    Delay(Duration),
    /// It comes twice, the second time this much later.
    Double(Duration),
    /// It comes after the next one; or after 50 ms, if none is sent by then.
    Swap,
    /// This bit of it, modulo its length, is flipped.
    Corrupt(u32),
}

/// Chances in percent, for each datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// Chance of a loss.
    pub drop: u8,
    /// Chance of a delay of up to 400 ms.
    pub delay: u8,
    /// Chance of a double within 400 ms.
    pub double: u8,
    /// Chance of a swap with the next.
    pub swap: u8,
    /// Chance of one flipped bit.
    pub corrupt: u8,
    /// Longer datagrams are lost; 0 for no limit.
    pub max_size: usize,
}

/// Which datagrams of a pipe have a fault.
#[derive(Clone, Debug)]
pub enum Plan {
    /// None.
    Clean,
    /// The datagram of this index, from 0.
    One(u64, Fault),
    /// Any, by chance.
    Random(Faults, XorShift),
}

/// One direction of a link.
#[derive(Clone, Debug)]
pub struct Pipe {
    plan: Plan,
    latency: Duration,
    flights: Vec<Flight>,
    sent: u64,
    order: u64,
}

#[derive(Clone, Debug)]
struct Flight {
    at: Instant,
    order: u64,
    /// Waits for the next datagram, to come right after it.
    swaps: bool,
    bytes: Vec<u8>,
}

impl Pipe {
    /// A pipe with a plan.
    pub const fn new(latency: Duration, plan: Plan) -> Self {
        Self {
            plan,
            latency,
            flights: Vec::new(),
            sent: 0,
            order: 0,
        }
    }

    /// A pipe without faults.
    pub const fn clean(latency: Duration) -> Self {
        Self::new(latency, Plan::Clean)
    }

    /// A pipe with faults by chance, the same for the same seed.
    pub const fn random(latency: Duration, faults: Faults, seed: u64) -> Self {
        Self::new(latency, Plan::Random(faults, XorShift::new(seed)))
    }

    /// Changes the plan; what is in flight stays as it is.
    pub fn set_plan(&mut self, plan: Plan) {
        self.plan = plan;
    }

    /// Sends a datagram.
    pub fn push(&mut self, now: Instant, bytes: &[u8]) {
        let mut at = now + self.latency;
        let mut bytes = bytes.to_vec();
        let mut swaps = false;
        let mut second = None;
        for fault in self.faults(bytes.len()) {
            match fault {
                Fault::Drop => return,
                Fault::Delay(by) => at = at + by,
                Fault::Double(by) => second = Some(at + by),
                Fault::Swap => swaps = true,
                Fault::Corrupt(bit) if !bytes.is_empty() => {
                    let bit = bit as usize % (bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                Fault::Corrupt(_) => {}
            }
        }
        if let Some(at) = second {
            self.fly(at, false, bytes.clone());
        }
        if swaps {
            self.fly(at + SWAP_MAX, true, bytes);
            return;
        }
        self.fly(at, false, bytes);
        for flight in self.flights.iter_mut().filter(|flight| flight.swaps) {
            self.order += 1;
            (flight.at, flight.order, flight.swaps) = (at, self.order, false);
        }
    }

    /// Takes a datagram that has arrived by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        let arrived = self
            .flights
            .iter()
            .enumerate()
            .filter(|(_, flight)| flight.at <= now);
        let (first, _) = arrived.min_by_key(|(_, flight)| (flight.at, flight.order))?;
        Some(self.flights.swap_remove(first).bytes)
    }

    /// The datagram that was sent last, if it is still in flight.
    pub fn last_mut(&mut self) -> Option<&mut Vec<u8>> {
        self.flights
            .iter_mut()
            .max_by_key(|flight| flight.order)
            .map(|flight| &mut flight.bytes)
    }

    /// When the next datagram arrives.
    pub fn next_at(&self) -> Option<Instant> {
        self.flights.iter().map(|flight| flight.at).min()
    }

    /// Datagrams pushed so far.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    fn fly(&mut self, at: Instant, swaps: bool, bytes: Vec<u8>) {
        self.order += 1;
        self.flights.push(Flight {
            at,
            order: self.order,
            swaps,
            bytes,
        });
    }

    fn faults(&mut self, len: usize) -> Vec<Fault> {
        let index = self.sent;
        self.sent += 1;
        match &mut self.plan {
            Plan::Clean => Vec::new(),
            Plan::One(at, fault) => Vec::from_iter((*at == index).then_some(*fault)),
            Plan::Random(faults, rng) => {
                let wait = Duration::from_micros(rng.draw() % 400_000);
                let bit = rng.draw() as u32;
                let too_long = faults.max_size > 0 && len > faults.max_size;
                let chances = [
                    (if too_long { 100 } else { faults.drop }, Fault::Drop),
                    (faults.delay, Fault::Delay(wait)),
                    (faults.double, Fault::Double(wait)),
                    (faults.swap, Fault::Swap),
                    (faults.corrupt, Fault::Corrupt(bit)),
                ];
                chances
                    .into_iter()
                    .filter(|(percent, _)| rng.draw() % 100 < u64::from(*percent))
                    .map(|(_, fault)| fault)
                    .collect()
            }
        }
    }
}

/// A small generator for tests (xorshift64*, Vigna 2016); never for seeds or session ids in earnest.
#[derive(Clone, Debug)]
pub struct XorShift(u64);

impl XorShift {
    /// A generator; all seeds are good.
    pub const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

const SWAP_MAX: Duration = Duration::from_millis(50);
