//! Who gets a slot, and who waits: pure bookkeeping, no sockets and no clock.

use std::collections::VecDeque;

use weir_model::PAGE;
use weir_wire::Instant;

use crate::ask::Ask;

/// A place in the session: batch and slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) batch: u16,
    pub(crate) slot: u8,
}

/// The slots of all batches and the queue before them.
///
/// Both ends keep every live query in their weak model's pool, and a query that outgrew it would break its batch. So a
/// query is let in only when its prompt and its longest possible answer fit, and holds that room until it ends.
#[derive(Debug)]
pub(crate) struct Admission {
    batches: Vec<Batch>,
    queue: VecDeque<Waiting>,
    /// Most asks in the queue.
    capacity: usize,
}

#[derive(Debug)]
struct Batch {
    slots: Vec<Option<Holder>>,
    /// Pages of the pool that no slot holds.
    free: usize,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    /// Identifies the request.
    id: u64,
    pages: usize,
}

#[derive(Debug)]
struct Waiting {
    ask: Ask,
    since: Instant,
}

impl Admission {
    /// `pool`: positions of one batch's weak model.
    pub(crate) fn new(batches: u16, slots: u8, pool: usize, capacity: usize) -> Self {
        let batch = || Batch {
            slots: vec![None; usize::from(slots)],
            free: pool / PAGE,
        };
        Self {
            batches: (0..batches).map(|_| batch()).collect(),
            queue: VecDeque::new(),
            capacity,
        }
    }

    /// Puts an ask into the queue; gives it back with the queue's capacity if that is reached.
    #[expect(
        clippy::result_large_err,
        reason = "an ask that is not taken goes back whole, and seldom"
    )]
    pub(crate) fn enqueue(&mut self, ask: Ask, now: Instant) -> Result<(), (Ask, usize)> {
        // An empty queue takes one even at capacity 0: it may be let in at once.
        if self.queue.len() >= self.capacity.max(1) {
            return Err((ask, self.capacity));
        }
        self.queue.push_back(Waiting { ask, since: now });
        Ok(())
    }

    /// Lets the next ask in, if it fits. First come, first served: a short query does not overtake a long one, which
    /// would else wait for ever.
    ///
    /// `open` says of a batch whether it takes queries now.
    pub(crate) fn admit(&mut self, open: impl Fn(u16) -> bool) -> Option<(Place, Ask)> {
        let pages = pages(&self.queue.front()?.ask);
        // The first batch with room: a full frame shares its header, check and tail among more tokens.
        let (batch, slot, taken) = (0..).zip(&mut self.batches).find_map(|(number, batch)| {
            let (slot, _) = (0..).zip(&batch.slots).find(|(_, holder)| holder.is_none())?;
            (batch.free >= pages && open(number)).then_some((number, slot, batch))
        })?;
        let waiting = self.queue.pop_front()?;
        taken.free -= pages;
        taken.slots[usize::from(slot)] = Some(Holder {
            id: waiting.ask.id,
            pages,
        });
        Some((Place { batch, slot }, waiting.ask))
    }

    /// Frees a place, if the request still holds it: after a cancel it may be another's already.
    pub(crate) fn release(&mut self, place: Place, id: u64) {
        let Some(batch) = self.batches.get_mut(usize::from(place.batch)) else {
            return;
        };
        let Some(slot) = batch.slots.get_mut(usize::from(place.slot)) else {
            return;
        };
        if let Some(holder) = slot.take_if(|holder| holder.id == id) {
            batch.free += holder.pages;
        }
    }

    /// Frees every place and gives back the whole queue.
    pub(crate) fn clear(&mut self) -> Vec<Ask> {
        for batch in &mut self.batches {
            for holder in batch.slots.iter_mut().filter_map(Option::take) {
                batch.free += holder.pages;
            }
        }
        self.queue.drain(..).map(|waiting| waiting.ask).collect()
    }

    /// Takes an ask out of the queue, if it is there.
    pub(crate) fn withdraw(&mut self, id: u64) -> Option<Ask> {
        let index = self.queue.iter().position(|waiting| waiting.ask.id == id)?;
        self.queue.remove(index).map(|waiting| waiting.ask)
    }

    /// Takes the first in the queue out, if it is late by when it came.
    pub(crate) fn expire(&mut self, is_late: impl FnOnce(Instant) -> bool) -> Option<Ask> {
        self.queue
            .pop_front_if(|waiting| is_late(waiting.since))
            .map(|waiting| waiting.ask)
    }

    /// When the first in the queue came.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.queue.front().map(|waiting| waiting.since)
    }

    /// Where a request sits, if it has a slot.
    pub(crate) fn place_of(&self, id: u64) -> Option<Place> {
        self.places()
            .find(|(_, holder)| holder.id == id)
            .map(|(place, _)| place)
    }

    /// Every request that has a slot.
    pub(crate) fn holders(&self) -> Vec<u64> {
        self.places().map(|(_, holder)| holder.id).collect()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn live(&self) -> usize {
        self.places().count()
    }

    fn places(&self) -> impl Iterator<Item = (Place, Holder)> + '_ {
        self.batches.iter().zip(0..).flat_map(|(batch, number)| {
            let holders = batch.slots.iter().zip(0..);
            holders.filter_map(move |(holder, slot)| Some((Place { batch: number, slot }, (*holder)?)))
        })
    }
}

/// Pages that a query can come to hold.
fn pages(ask: &Ask) -> usize {
    (ask.query.prompt.len() + ask.query.max_tokens as usize).div_ceil(PAGE)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;
    use weir_codec::{Query, Sampling};

    use super::*;

    fn ask(id: u64, prompt: usize, max_tokens: u32) -> Ask {
        let query = Query {
            seed: [0; 16],
            sampling: Sampling::GREEDY,
            max_tokens,
            stop: Vec::new(),
            prompt: vec![1; prompt],
        };
        Ask {
            id,
            query,
            source: weir_wire::Source::Tokens,
            events: unbounded_channel().0,
            _seat: None,
        }
    }

    fn place(batch: u16, slot: u8) -> Place {
        Place { batch, slot }
    }

    #[test]
    fn batches_fill_one_after_the_other() {
        let mut admission = Admission::new(2, 2, 1024, 8);
        for id in 0..5 {
            admission.enqueue(ask(id, 10, 10), Instant::ZERO).unwrap();
        }
        let places: Vec<_> = std::iter::from_fn(|| admission.admit(|_| true))
            .map(|(place, ask)| (place, ask.id))
            .collect();
        assert_eq!(
            places,
            [
                (place(0, 0), 0),
                (place(0, 1), 1),
                (place(1, 0), 2),
                (place(1, 1), 3)
            ]
        );
        assert_eq!((admission.live(), admission.queued()), (4, 1));
        assert_eq!(admission.place_of(2), Some(place(1, 0)));
        admission.release(place(0, 1), 0);
        assert_eq!(admission.live(), 4, "not its place");
        admission.release(place(0, 1), 1);
        admission.release(place(0, 1), 1);
        assert_eq!(
            admission.admit(|_| true).map(|(place, ask)| (place, ask.id)),
            Some((place(0, 1), 4))
        );
        assert_eq!(admission.clear().len(), 0);
        assert_eq!(admission.live(), 0);
    }

    #[test]
    fn the_pool_holds_back_and_nobody_overtakes() {
        let mut admission = Admission::new(1, 8, 4 * PAGE, 8);
        admission
            .enqueue(ask(0, PAGE, PAGE as u32), Instant::ZERO)
            .unwrap();
        admission.enqueue(ask(1, 2 * PAGE, 1), Instant::ZERO).unwrap();
        admission.enqueue(ask(2, 1, 1), Instant::ZERO).unwrap();
        assert_eq!(admission.admit(|_| true).unwrap().1.id, 0);
        assert!(
            admission.admit(|_| true).is_none(),
            "two pages are free, three are needed"
        );
        admission.release(place(0, 0), 0);
        assert_eq!(admission.admit(|_| true).unwrap().1.id, 1);
        assert_eq!(admission.admit(|_| true).unwrap().1.id, 2);
        admission.clear();
        admission
            .enqueue(ask(3, 3 * PAGE, PAGE as u32), Instant::ZERO)
            .unwrap();
        assert!(admission.admit(|_| true).is_some(), "clear gave every page back");
    }

    #[test]
    fn the_queue_is_bounded_and_gives_up() {
        let mut admission = Admission::new(1, 1, 1024, 2);
        admission.enqueue(ask(0, 1, 1), Instant::from_micros(1)).unwrap();
        admission.enqueue(ask(1, 1, 1), Instant::from_micros(2)).unwrap();
        assert_eq!(
            admission
                .enqueue(ask(2, 1, 1), Instant::from_micros(3))
                .unwrap_err()
                .0
                .id,
            2
        );
        assert_eq!(admission.oldest(), Some(Instant::from_micros(1)));
        assert_eq!(
            admission
                .expire(|since| since < Instant::from_micros(2))
                .unwrap()
                .id,
            0
        );
        assert!(
            admission
                .expire(|since| since < Instant::from_micros(2))
                .is_none()
        );
        assert!(admission.withdraw(0).is_none());
        assert_eq!(admission.withdraw(1).unwrap().id, 1);
        assert_eq!(admission.queued(), 0);
    }
}
