//! Making a segment: the first, or one that carries on. SPEC 7.4.

use alloc::vec::Vec;

use crate::moment::Moment;
use crate::record::{Cap, Entry, Hash, NO_ORDER, RECORD_LEN, Record, State};
use crate::replay::{Chain, Corrupt, replay};

/// What a new ledger begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Genesis {
    /// Drawn at random.
    pub id: Hash,
    /// BLAKE3 of the weights.
    pub weights: Hash,
    /// The operators' ed25519 public keys; none means that nothing can ever be raised.
    pub operators: Vec<[u8; 32]>,
    /// How many of them must sign.
    pub threshold: u16,
    /// The limits; a total among them, and the size of the weights, if it is to be known.
    pub caps: Vec<Cap>,
    /// Bits that had left before, by another ledger or by guess.
    pub spent: u64,
}

/// The first segment, and what it says.
pub(crate) fn first(
    key: Option<&[u8; 32]>,
    moment: Moment,
    genesis: &Genesis,
    witnesses: u16,
) -> Result<(Vec<u8>, Chain), Corrupt> {
    let state = State {
        boot_micros: moment.since_boot.micros(),
        wall: moment.wall,
        boot: moment.boot,
        spent: genesis.spent,
        reserved: genesis.spent,
        ..State::default()
    };
    let mut caps = genesis.caps.clone();
    caps.sort_by_key(|cap| cap.limit);
    let mut segment = Segment::new(key, 0, [0; 32]);
    let id = genesis.id;
    segment.push(Entry::Id { id, witnesses }, state);
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
    let (id, witnesses) = (chain.id, chain.witnesses);
    segment.push(Entry::Id { id, witnesses }, state);
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

/// States of the past, oldest first: the last one of each stretch of 2^k µs that begins at a multiple of its length, 2^k being at
/// most a 32nd of the state's age. What was charged between two of them is taken for charged at the later: windows may
/// count it for too long, never too short. Stretches nest, so that carrying again and again loses no more than carrying once. All of the
/// past is carried, as a window may be as long as it likes, and be set later: that is some 32 states for each time that the age doubles.
fn carried(past: &[State], now: u64) -> Vec<State> {
    let mut kept: Vec<State> = Vec::new();
    for state in past.iter().rev() {
        let age = now.saturating_sub(state.time);
        let k = (age / 32).max(1).ilog2();
        if kept.last().is_none_or(|last| last.time >> k != state.time >> k) {
            kept.push(*state);
        }
    }
    // The oldest is what all the others are counted from.
    if let Some(oldest) = past.first()
        && kept.last() != Some(oldest)
    {
        kept.push(*oldest);
    }
    kept.reverse();
    kept
}

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
