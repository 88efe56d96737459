//! Reading a ledger: from bytes to the state that they end in, or to what is wrong with them. SPEC 7.4.

use alloc::vec::Vec;
use thiserror::Error;

use crate::record::{
    CONTENT_LEN, Cap, Entry, Hash, Limit, NO_ORDER, OrderId, RECORD_LEN, Record, State, array, chain,
};
use crate::witness::Head;

/// What a segment says, record by record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// The ledger's random name.
    pub id: Hash,
    /// BLAKE3 of the weights.
    pub weights: Hash,
    /// The operators' keys.
    pub keys: Vec<[u8; 32]>,
    /// How many of them must sign an order.
    pub threshold: u16,
    /// The limits in force, by limit.
    pub caps: Vec<Cap>,
    /// How many witnesses the ledger has; 0 while no record says so.
    pub witnesses: u16,
    /// Hash of the last record.
    pub head: Hash,
    /// Number of the last record.
    pub seq: u64,
    /// What it says.
    pub state: State,
    /// Whether a program was running.
    pub open: bool,
    /// States of the past, oldest first, this segment's and those carried into it; the last is `state`.
    pub past: Vec<State>,
    /// Hash and entry of each record of the segment. The first may follow another segment.
    pub records: Vec<(Hash, Entry)>,
    /// Head of the segment before; zeros if this is the first.
    pub older: Hash,
    /// Bytes after the last record that are not one: a write that power loss has torn, or damage.
    pub torn: usize,
    /// Whether all records so far only say what the ledger is, and what went before.
    preamble: bool,
}

/// What is wrong with a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("record {record} of the segment: {flaw}")]
pub struct Corrupt {
    /// Where, from 0.
    pub record: u64,
    /// What.
    pub flaw: Flaw,
}

/// What is wrong with a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Flaw {
    /// Its hash is not that of the records up to it: damaged, out of order, or written with another key.
    #[error("its hash does not fit what stands before it: damaged, out of order, or the wrong key")]
    Hash,
    /// Its hash is right, but it is no record of this version.
    #[error("its form is unknown")]
    Form,
    /// It does not stand where it may.
    #[error("it does not belong there")]
    Place,
    /// Its counts or times contradict the record before, or a limit.
    #[error("its counts contradict those before it")]
    Counts,
    /// The segment ends before it has said what it guards and what the total is.
    #[error("the segment ends too early")]
    Short,
}

/// Reads a whole segment.
///
/// # Errors
/// See [`Corrupt`]. Bytes at the end that are no record, but could be a torn one, are not an error: see
/// [`Chain::torn`]; whether they are one is for the witnesses to say.
pub fn replay(bytes: &[u8], key: Option<&[u8; 32]>) -> Result<Chain, Corrupt> {
    let mut segment = Chain {
        id: [0; 32],
        weights: [0; 32],
        keys: Vec::new(),
        threshold: 0,
        caps: Vec::new(),
        witnesses: 0,
        head: [0; 32],
        seq: 0,
        state: State::default(),
        open: false,
        past: Vec::new(),
        records: Vec::new(),
        older: [0; 32],
        torn: 0,
        preamble: true,
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let record = segment.records.len() as u64;
        let at = |flaw| Corrupt { record, flaw };
        let sound = rest
            .split_first_chunk::<RECORD_LEN>()
            .and_then(|(bytes, _)| segment.check_hash(bytes, key));
        let Some((content, before, hash)) = sound else {
            if rest.len() > RECORD_LEN || record == 0 {
                return Err(at(Flaw::Hash));
            }
            segment.torn = rest.len();
            break;
        };
        let record = Record::parse(&content).map_err(|_| at(Flaw::Form))?;
        segment.take(&record, before, hash).map_err(at)?;
        rest = &rest[RECORD_LEN..];
    }
    if segment.stage() != Stage::Running {
        return Err(Corrupt {
            record: segment.records.len() as u64,
            flaw: Flaw::Short,
        });
    }
    Ok(segment)
}

/// How far a segment has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    Empty,
    Checkpoint,
    Id,
    Weights,
    Running,
}

impl Chain {
    /// Its end.
    pub const fn at(&self) -> Head {
        Head {
            id: self.id,
            seq: self.seq,
            count: self.state.reserved,
            hash: self.head,
        }
    }

    /// The value of a limit, if there is one.
    pub fn cap(&self, limit: Limit) -> Option<u64> {
        self.caps
            .iter()
            .find(|cap| cap.limit == limit)
            .map(|cap| cap.bits)
    }

    /// Bits charged within so many seconds of its last record: never too little.
    pub fn charged_within(&self, seconds: u32) -> u64 {
        let before = self.before(self.state.time, u64::from(seconds) * 1_000_000);
        before.map_or(0, |before| self.state.spent - before.spent)
    }

    /// The last state that is older than `micros` at `time`; the first one that is known, if none is.
    pub(crate) fn before(&self, time: u64, micros: u64) -> Option<&State> {
        let since = time.checked_sub(micros);
        let mut past = self.past.iter().rev();
        let before = since.and_then(|since| past.find(|state| state.time <= since));
        before.or_else(|| self.past.first())
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// It cannot follow what is there.
    pub(crate) fn take(&mut self, record: &Record, before: Hash, hash: Hash) -> Result<(), Flaw> {
        let stage = self.stage();
        let first = self.records.is_empty();
        if !first && Some(record.seq) != self.seq.checked_add(1) {
            return Err(Flaw::Place);
        }
        let is_past = record.entry == Entry::Past;
        match record.entry {
            Entry::Checkpoint { open, .. } if stage == Stage::Empty && record.seq > 0 => self.open = open,
            Entry::Id { id, witnesses }
                if stage == Stage::Checkpoint || (stage == Stage::Empty && record.seq == 0) =>
            {
                (self.id, self.witnesses) = (id, witnesses);
            }
            Entry::Weights { hash } if stage == Stage::Id => self.weights = hash,
            // Keys come before the first limit, and never again.
            Entry::Key { threshold, key }
                if stage == Stage::Weights
                    && self.caps.is_empty()
                    && threshold > 0
                    && self.keys.len() < KEYS_MAX
                    && (self.keys.is_empty() || threshold == self.threshold)
                    && !self.keys.contains(&key) =>
            {
                self.threshold = threshold;
                self.keys.push(key);
            }
            Entry::Cap { cap, order } if stage >= Stage::Weights => self.set(cap, order, &record.state)?,
            Entry::Witness { index, .. }
                if stage == Stage::Running
                    && record.state.order > self.state.order
                    && self.may_have(index) =>
            {
                // The place behind the last one: one more. Their number never falls.
                if index == self.witnesses && index > 0 {
                    self.witnesses = index.checked_add(1).ok_or(Flaw::Place)?;
                }
            }
            // In a ledger of before, the first start that counts them says how many they are.
            Entry::Open { witnesses }
                if stage == Stage::Running && (self.witnesses == 0 || witnesses == self.witnesses) =>
            {
                (self.open, self.witnesses) = (true, witnesses);
            }
            Entry::Reserve if stage == Stage::Running && self.open => {}
            Entry::Close if stage == Stage::Running && self.open => self.open = false,
            // Right after the limits of a segment that is not the first, in the order in which they were.
            Entry::Past if stage == Stage::Running && self.preamble && self.older != [0; 32] => {}
            _ => return Err(Flaw::Place),
        }
        if is_past {
            let last = self.past.last();
            if !last.is_none_or(|last| record.state.follows(last)) || !self.state.follows(&record.state) {
                return Err(Flaw::Counts);
            }
        } else {
            if !first && !record.state.follows(&self.state) || record.state.spent > record.state.reserved {
                return Err(Flaw::Counts);
            }
            // Another order than the one before needs a record that names it, and the other way round.
            let is_ordered = record.entry.order().is_some();
            if !first && (record.state.order > self.state.order) != is_ordered {
                return Err(Flaw::Counts);
            }
            let starts = self
                .state
                .starts
                .checked_add(u32::from(matches!(record.entry, Entry::Open { .. })));
            if !first && starts != Some(record.state.starts) {
                return Err(Flaw::Counts);
            }
            self.state = record.state;
        }
        if first {
            self.older = before;
        }
        self.preamble &= record.entry.is_carried();
        if is_past || !self.preamble || record.seq == 0 {
            self.past.push(record.state);
        }
        self.records.push((hash, record.entry));
        self.seq = record.seq;
        self.head = hash;
        Ok(())
    }

    /// Whether a witness may be begun anew at this place: one that is, or the one behind the last.
    const fn may_have(&self, place: u16) -> bool {
        self.witnesses == 0 || place <= self.witnesses
    }

    /// Content, hash before and hash of a record whose hash is right.
    fn check_hash(
        &self,
        bytes: &[u8; RECORD_LEN],
        key: Option<&[u8; 32]>,
    ) -> Option<([u8; CONTENT_LEN], Hash, Hash)> {
        let content: [u8; CONTENT_LEN] = array(bytes, 0..CONTENT_LEN).ok()?;
        let hash: Hash = array(bytes, CONTENT_LEN..RECORD_LEN).ok()?;
        let before = match Record::parse(&content).map(|record| record.entry) {
            Ok(Entry::Checkpoint { head, .. }) if self.records.is_empty() => head,
            _ => self.head,
        };
        (chain(key, &before, &content) == hash).then_some((content, before, hash))
    }

    fn stage(&self) -> Stage {
        if self.cap(Limit::Total).is_some() {
            return Stage::Running;
        }
        match self.records.last() {
            None => Stage::Empty,
            Some((_, Entry::Checkpoint { .. })) => Stage::Checkpoint,
            Some((_, Entry::Id { .. })) => Stage::Id,
            Some(_) => Stage::Weights,
        }
    }

    /// Sets a limit. Without an order only lower than it is, or anew.
    fn set(&mut self, cap: Cap, order: OrderId, state: &State) -> Result<(), Flaw> {
        let windows = self.caps.len();
        let Some(known) = self.caps.iter_mut().find(|known| known.limit == cap.limit) else {
            // The size of the weights comes before the total, or never.
            if windows >= CAPS_MAX || (cap.limit == Limit::Weights && windows > 0) {
                return Err(Flaw::Place);
            }
            self.caps.push(cap);
            self.caps.sort_by_key(|cap| cap.limit);
            return Ok(());
        };
        if cap.limit == Limit::Weights {
            return Err(Flaw::Place);
        }
        if cap.bits > known.bits && (order == NO_ORDER || state.order <= self.state.order) {
            return Err(Flaw::Counts);
        }
        known.bits = cap.bits;
        Ok(())
    }
}

impl State {
    /// Whether this state can come after `before`: nothing is ever taken back.
    pub(crate) fn follows(&self, before: &Self) -> bool {
        let pairs = [
            (before.starts.into(), self.starts.into()),
            (before.time, self.time),
            (before.spent, self.spent),
            (before.repeats, self.repeats),
            (before.handshakes, self.handshakes),
            (before.datagrams, self.datagrams),
            (before.order, self.order),
        ];
        pairs.iter().all(|(before, now): &(u64, u64)| before <= now)
    }
}

/// Most operators.
pub const KEYS_MAX: usize = 32;
/// Most limits of a ledger, the size of the weights included.
pub const CAPS_MAX: usize = 16;
