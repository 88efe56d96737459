//! Making a segment: the first, or one that carries on. SPEC 7.4.

use alloc::vec::Vec;

use super::record::{Entry, Hash, RECORD_LEN, Record, State};
use super::replay::{Chain, Corrupt, NO_ORDER, replay};
use super::{Genesis, Moment};

/// The first segment, and what it says.
pub(super) fn first(
    key: Option<&[u8; 32]>,
    moment: Moment,
    genesis: &Genesis,
) -> Result<(Vec<u8>, Chain), Corrupt> {
    let state = State {
        boot_micros: moment.micros,
        wall: moment.wall,
        boot: moment.boot,
        spent: genesis.spent,
        reserved: genesis.spent,
        ..State::default()
    };
    let mut caps = genesis.caps.clone();
    caps.sort_by_key(|cap| cap.limit);
    let mut segment = Segment::new(key, 0, [0; 32]);
    segment.push(Entry::Id { id: genesis.id }, state);
    segment.push(
        Entry::Weights {
            hash: genesis.weights,
        },
        state,
    );
    for &key in &genesis.operators {
        let threshold = genesis.threshold;
        segment.push(Entry::Key { threshold, key }, state);
    }
    for cap in caps {
        segment.push(Entry::Cap { cap, order: NO_ORDER }, state);
    }
    let chain = replay(&segment.bytes, key)?;
    Ok((segment.bytes, chain))
}

/// The segment after `chain`, whose state is now `state`.
pub(crate) fn next(key: Option<&[u8; 32]>, chain: &Chain, state: State) -> Result<(Vec<u8>, Chain), Corrupt> {
    let mut segment = Segment::new(key, chain.seq + 1, chain.head);
    let (head, open) = (chain.head, chain.open);
    segment.push(Entry::Checkpoint { head, open }, state);
    segment.push(Entry::Id { id: chain.id }, state);
    segment.push(Entry::Weights { hash: chain.weights }, state);
    for &key in &chain.keys {
        let threshold = chain.threshold;
        segment.push(Entry::Key { threshold, key }, state);
    }
    for &cap in &chain.caps {
        segment.push(Entry::Cap { cap, order: NO_ORDER }, state);
    }
    for past in carried(&chain.past, state.time) {
        segment.push(Entry::Past, past);
    }
    let chain = replay(&segment.bytes, key)?;
    Ok((segment.bytes, chain))
}

/// Whether such a record only says again what others have said.
pub(super) fn is_carried(entry: &Entry) -> bool {
    match entry {
        Entry::Id { .. }
        | Entry::Weights { .. }
        | Entry::Key { .. }
        | Entry::Checkpoint { .. }
        | Entry::Past => true,
        Entry::Cap { order, .. } => *order == NO_ORDER,
        Entry::Witness { .. } | Entry::Open | Entry::Reserve | Entry::Close => false,
    }
}

/// States of the past, oldest first: the last one of each stretch of 2^k µs that begins at a multiple of its length, 2^k being at
/// most a 32nd of the state's age. What was charged between two of them is taken for charged at the later: windows may
/// count it for too long, never too short. Stretches nest, so that carrying again and again loses no more than carrying once.
fn carried(past: &[State], now: u64) -> Vec<State> {
    let mut kept: Vec<State> = Vec::new();
    for state in past.iter().rev() {
        let age = now.saturating_sub(state.time);
        let k = (age / 32).max(1).ilog2();
        if kept.last().is_none_or(|last| last.time >> k != state.time >> k) {
            kept.push(*state);
        }
        if age > HORIZON {
            break;
        }
    }
    // The oldest is what all the others are counted from.
    if let Some(oldest) = past.first()
        && kept
            .last()
            .is_some_and(|last| now.saturating_sub(last.time) <= HORIZON && last != oldest)
    {
        kept.push(*oldest);
    }
    kept.reverse();
    kept
}

/// Windows look back no further, in microseconds: 400 days.
pub(super) const HORIZON: u64 = 400 * 86_400_000_000;

struct Segment<'a> {
    key: Option<&'a [u8; 32]>,
    seq: u64,
    head: Hash,
    bytes: Vec<u8>,
}

impl<'a> Segment<'a> {
    const fn new(key: Option<&'a [u8; 32]>, seq: u64, head: Hash) -> Self {
        Self {
            key,
            seq,
            head,
            bytes: Vec::new(),
        }
    }

    fn push(&mut self, entry: Entry, state: State) {
        let seq = self.seq + (self.bytes.len() / RECORD_LEN) as u64;
        let (bytes, head) = Record { entry, seq, state }.seal(self.key, &self.head);
        self.bytes.extend_from_slice(&bytes);
        self.head = head;
    }
}
