//! Two ends of a faulty link in memory, with a virtual clock (feature `testing`).

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::{Registry, Token};
use weir_meter::LinkCost;
use weir_wire::Instant;
use weir_wire::sim::Pipe;

use crate::{Error, Link, Sent};

/// One end. What it sends arrives at the other when the [`Clock`] has gone far enough, with the pipe's faults.
#[derive(Clone, Debug)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
    /// Index of the pipe this end sends into; it receives from the other.
    end: usize,
}

/// The clock of a pair of ends.
#[derive(Clone, Debug)]
pub struct Clock {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    now: Instant,
    pipes: [Pipe; 2],
}

impl Memory {
    /// Two ends and their clock; the pipes lead from the first to the second and back.
    pub fn pair(there: Pipe, back: Pipe) -> (Self, Self, Clock) {
        let shared = Arc::new(Mutex::new(Shared {
            now: Instant::ZERO,
            pipes: [there, back],
        }));
        let end = |end| Self {
            shared: Arc::clone(&shared),
            end,
        };
        (
            end(0),
            end(1),
            Clock {
                shared: Arc::clone(&shared),
            },
        )
    }
}

impl Clock {
    /// Sets the time; it does not go back.
    pub fn set(&self, now: Instant) {
        let mut shared = lock(&self.shared);
        shared.now = shared.now.max(now);
    }

    /// When the next datagram arrives at either end.
    pub fn next_at(&self) -> Option<Instant> {
        lock(&self.shared).pipes.iter().filter_map(Pipe::next_at).min()
    }
}

impl Link for Memory {
    fn send(&mut self, datagram: &[u8]) -> Result<Sent, Error> {
        let (len, mtu) = (datagram.len(), self.mtu());
        if len > mtu {
            return Err(Error::TooLong { len, mtu });
        }
        let mut shared = lock(&self.shared);
        let now = shared.now;
        shared.pipes[self.end].push(now, datagram);
        Ok(Sent::Whole)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        let mut shared = lock(&self.shared);
        let now = shared.now;
        let datagram = shared.pipes[1 - self.end].pop(now);
        Ok(datagram.map(|datagram| {
            let len = datagram.len().min(buffer.len());
            buffer[..len].copy_from_slice(&datagram[..len]);
            len
        }))
    }

    fn mtu(&self) -> usize {
        self.cost().mtu()
    }

    fn cost(&self) -> LinkCost {
        LinkCost::UdpIpv4
    }

    /// Nothing to register: there is no descriptor, and the clock says when something arrives.
    fn register(&mut self, _: &Registry, _: Token) -> io::Result<()> {
        Ok(())
    }
}

/// A test that panicked elsewhere leaves the pipes as they are.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
