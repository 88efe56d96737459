//! Who is in: *strangers*, connections that have shown no key yet, and *guests*, which have. Each have seats of their own, so
//! that no number of strangers keeps a guest out; and the stranger who comes takes the seat of the one who has sat longest, so
//! that silent ones do not keep out others.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use weir_wire::Instant;

use crate::metrics::Metrics;

/// The seats of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seats {
    /// Connections that have not shown a key.
    pub(crate) strangers: usize,
    /// Connections that have.
    pub(crate) guests: usize,
}

/// Keeps the seats of a listener.
pub(crate) struct Door {
    seats: Seats,
    state: Mutex<State>,
    metrics: Metrics,
}

#[derive(Default)]
struct State {
    /// Who has sat longest comes first, so numbers ascend.
    strangers: VecDeque<Stranger>,
    guests: BTreeSet<u64>,
    next: u64,
}

struct Stranger {
    number: u64,
    since: Instant,
    task: AbortHandle,
}

/// A connection's seat; free again when the last of its clones is dropped.
pub(crate) struct Ticket {
    number: u64,
    door: Arc<Door>,
}

impl Door {
    pub(crate) fn new(seats: Seats, metrics: Metrics) -> Self {
        Self {
            seats,
            state: Mutex::default(),
            metrics,
        }
    }

    /// Makes room for one stranger more, by dropping the one who has sat longest if none is left; or says how long that one may
    /// still sit.
    pub(crate) fn make_room(&self, now: Instant) -> Result<(), Duration> {
        let state = self.lock();
        match state.strangers.front() {
            Some(oldest) if state.strangers.len() >= self.seats.strangers.max(1) => {
                let sat = now.since(oldest.since);
                if sat < PATIENCE {
                    return Err(PATIENCE.saturating_sub(sat));
                }
            }
            _ => return Ok(()),
        }
        drop(state);
        self.drop_oldest();
        Ok(())
    }

    /// Drops the stranger who has sat longest: for want of seats, or of something else that connections take.
    pub(crate) fn drop_oldest(&self) {
        let oldest = self.change(|state| state.strangers.pop_front());
        if let Some(oldest) = oldest {
            oldest.task.abort();
            self.metrics.strangers_dropped.inc();
        }
    }

    /// Gives a new connection a seat; `begin` starts the task that serves it.
    pub(crate) fn enter(self: &Arc<Self>, now: Instant, begin: impl FnOnce(Arc<Ticket>) -> AbortHandle) {
        self.change(|state| {
            let number = state.next;
            state.next += 1;
            // The ticket may come back at once, but not before this lock is free.
            let ticket = Ticket {
                number,
                door: Arc::clone(self),
            };
            let task = begin(Arc::new(ticket));
            state.strangers.push_back(Stranger {
                number,
                since: now,
                task,
            });
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let changed = change(&mut state);
        self.metrics.strangers.set(state.strangers.len() as i64);
        self.metrics.guests.set(state.guests.len() as i64);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is a few calls that do not panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave(&mut self, number: u64) -> bool {
        let at = self
            .strangers
            .binary_search_by_key(&number, |stranger| stranger.number);
        at.is_ok_and(|at| self.strangers.remove(at).is_some())
    }
}

impl Ticket {
    /// The connection has shown a key: it gets a guest's seat, and keeps it.
    ///
    /// # Errors
    /// The number of guests' seats, if all are taken.
    pub(crate) fn admit(&self) -> Result<(), usize> {
        let most = self.door.seats.guests;
        self.door.change(|state| {
            if state.guests.contains(&self.number) {
                return Ok(());
            }
            if state.guests.len() >= most || !state.leave(self.number) {
                return Err(most);
            }
            state.guests.insert(self.number);
            Ok(())
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.door.change(|state| {
            if !state.leave(self.number) {
                state.guests.remove(&self.number);
            }
        });
    }
}

/// Every stranger may sit so long: a client's first request comes a round trip after its connection. Seats over this is the rate
/// at which silent connections are taken in; what comes faster waits in the kernel's backlog.
const PATIENCE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    /// A connection that does nothing; its ticket is in its task, and this is a second one.
    fn enter(door: &Arc<Door>, now: Instant) -> (Arc<Ticket>, tokio::task::JoinHandle<()>) {
        let mut both = None;
        door.enter(now, |ticket| {
            let held = Arc::clone(&ticket);
            let task = tokio::spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            });
            let handle = task.abort_handle();
            both = Some((ticket, task));
            handle
        });
        both.unwrap()
    }

    #[tokio::test]
    async fn the_oldest_stranger_makes_room_and_guests_do_not() {
        let metrics = Metrics::default();
        let seats = Seats {
            strangers: 2,
            guests: 1,
        };
        let door = Arc::new(Door::new(seats, metrics.clone()));
        let (guest, guests_task) = enter(&door, at(0));
        assert_eq!(guest.admit(), Ok(()));
        assert_eq!(guest.admit(), Ok(()), "a guest stays one");
        let (one, ones_task) = enter(&door, at(1));
        let (two, twos_task) = enter(&door, at(2));
        assert_eq!(two.admit(), Err(1), "guests' seats are counted");
        assert_eq!((metrics.strangers.get(), metrics.guests.get()), (2, 1));
        // Nobody is dropped before a request could have come.
        assert_eq!(door.make_room(at(41)), Err(Duration::from_millis(10)));
        assert_eq!(door.make_room(at(51)), Ok(()));
        assert!(ones_task.await.unwrap_err().is_cancelled());
        assert!(!twos_task.is_finished() && !guests_task.is_finished());
        assert_eq!(metrics.strangers_dropped.get(), 1);
        assert_eq!(door.make_room(at(51)), Ok(()), "there is room now");
        assert_eq!(metrics.strangers_dropped.get(), 1);
        // One who was dropped gets no seat by a key that came too late.
        guests_task.abort();
        assert!(guests_task.await.is_err());
        drop(guest);
        assert_eq!(one.admit(), Err(1));
        drop(one);
        assert_eq!((metrics.strangers.get(), metrics.guests.get()), (1, 0));
        assert_eq!(two.admit(), Ok(()));
        assert_eq!((metrics.strangers.get(), metrics.guests.get()), (0, 1));
        twos_task.abort();
        assert!(twos_task.await.is_err());
        drop(two);
        assert_eq!((metrics.strangers.get(), metrics.guests.get()), (0, 0));
    }
}
