//! Those who hold the ledger's head besides the ledger. SPEC 7.5.

use alloc::boxed::Box;
use thiserror::Error;

use crate::record::{Hash, array};
use crate::store::{Store, StoreError};

/// Where a ledger ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The ledger's name.
    pub id: Hash,
    /// Number of the last record.
    pub seq: u64,
    /// Bits that may have been charged by then: reserved ones included.
    pub count: u64,
    /// Hash of the last record.
    pub hash: Hash,
}

/// What a witness holds of a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    /// Nothing: there is no file, or no head of this ledger.
    Absent,
    /// Something without a head that is whole: damaged, under another key, or never a witness of a ledger.
    Unreadable,
    /// This head, and half of a write of another one: sound only if the ledger holds a later record.
    Torn(Head),
    /// This head.
    Whole(Head),
}

/// Why a witness did not take a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum WitnessError {
    /// Its disk failed, or it does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It holds another head than the one that it was told last: someone else writes this ledger, or a copy of it.
    #[error("it holds another head")]
    Moved(Held),
}

/// Holds the last synced head of a ledger, somewhere else than the ledger. A head goes only forward, from the one that the
/// writer told last: a writer that was set back, or is one of two, is found out before it gets another block.
pub trait Witness {
    /// What it holds of the ledger of this name, or of whatever ledger it knows.
    fn held(&mut self, ledger: &Hash) -> Result<Held, StoreError>;

    /// Goes from one head to the next; returns when it holds that, whatever happens to the machine.
    ///
    /// # Errors
    /// [`WitnessError::Moved`] if it holds anything but `from`, and it stays as it is.
    fn advance(&mut self, from: &Head, to: &Head) -> Result<(), WitnessError>;

    /// Begins with this head. Whatever it holds besides is put aside, never lost; one that cannot do so refuses.
    fn begin(&mut self, head: &Head) -> Result<(), WitnessError>;
}

impl Held {
    /// The head.
    pub const fn head(self) -> Option<Head> {
        match self {
            Self::Absent | Self::Unreadable => None,
            Self::Torn(head) | Self::Whole(head) => Some(head),
        }
    }
}

/// A witness on a store, which should be another device: two places, written in turn, so that one is always whole. It guards
/// against crashes and mistakes: what it reads and what it then writes are two steps, and whoever copies the ledger's disk may
/// copy the witness's as well.
pub struct SlotWitness {
    store: Box<dyn Store + Send>,
    key: Option<[u8; 32]>,
}

impl SlotWitness {
    /// A witness; with the ledger's key, if it has one.
    pub const fn new(store: Box<dyn Store + Send>, key: Option<[u8; 32]>) -> Self {
        Self { store, key }
    }

    fn slots(&mut self) -> Result<Option<[Option<Head>; 2]>, StoreError> {
        let bytes = self.store.read()?;
        Ok(bytes.map(|bytes| slots(&bytes, self.key.as_ref())))
    }
}

/// What the bytes of a witness's file say.
pub fn held(bytes: &[u8], key: Option<&[u8; 32]>) -> Held {
    judge(slots(bytes, key))
}

fn judge(slots: [Option<Head>; 2]) -> Held {
    match slots {
        [None, None] => Held::Unreadable,
        [Some(head), None] | [None, Some(head)] => Held::Torn(head),
        [Some(one), Some(other)] => Held::Whole(if one.seq > other.seq { one } else { other }),
    }
}

fn slots(bytes: &[u8], key: Option<&[u8; 32]>) -> [Option<Head>; 2] {
    [0, 1].map(|place| {
        let bytes = bytes.get(usize::from(place) * SLOT_LEN..)?;
        Head::open(bytes.first_chunk::<SLOT_LEN>()?, key, place)
    })
}

impl Witness for SlotWitness {
    fn held(&mut self, _: &Hash) -> Result<Held, StoreError> {
        Ok(self.slots()?.map_or(Held::Absent, judge))
    }

    fn advance(&mut self, from: &Head, to: &Head) -> Result<(), WitnessError> {
        let Some(slots) = self.slots()? else {
            return Err(WitnessError::Moved(Held::Absent));
        };
        let held = judge(slots);
        if held.head() != Some(*from) {
            return Err(WitnessError::Moved(held));
        }
        // Never over the later one.
        let seq = |place: usize| slots[place].map(|head| head.seq);
        let place = u8::from(seq(0) > seq(1));
        let bytes = to.seal(self.key.as_ref(), place);
        self.store.write(u64::from(place) * SLOT_LEN as u64, &bytes)?;
        Ok(self.store.sync()?)
    }

    fn begin(&mut self, head: &Head) -> Result<(), WitnessError> {
        // Both places: a file with one whole place has lost a later head.
        let bytes = [0, 1].map(|place| head.seal(self.key.as_ref(), place)).concat();
        self.store.stage(&bytes)?;
        // Whatever was there before is evidence, or by mistake somebody else's: it is kept under the record's number.
        let was = self.store.read()?;
        Ok(self.store.promote(was.map(|_| head.seq))?)
    }
}

impl Head {
    /// The head and a hash of it and of its place, so that the older one cannot be put in the place of the later one.
    fn seal(&self, key: Option<&[u8; 32]>, place: u8) -> [u8; SLOT_LEN] {
        let mut bytes = [0; SLOT_LEN];
        bytes[..32].copy_from_slice(&self.id);
        bytes[32..80].copy_from_slice(&self.emit());
        let mut hasher = key.map_or_else(blake3::Hasher::new, blake3::Hasher::new_keyed);
        hasher.update(b"weir witness");
        hasher.update(&[place]);
        hasher.update(&bytes[..80]);
        bytes[80..].copy_from_slice(hasher.finalize().as_bytes());
        bytes
    }

    fn open(bytes: &[u8; SLOT_LEN], key: Option<&[u8; 32]>, place: u8) -> Option<Self> {
        let head = Self::parse(array(bytes, 0..32).ok()?, &array(bytes, 32..80).ok()?);
        (head.seal(key, place) == *bytes).then_some(head)
    }

    /// All but the ledger's name: record (8), count (8), hash (32).
    pub(crate) fn emit(&self) -> [u8; HEAD_LEN] {
        let mut bytes = [0; HEAD_LEN];
        bytes[..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.count.to_be_bytes());
        bytes[16..].copy_from_slice(&self.hash);
        bytes
    }

    pub(crate) fn parse(id: Hash, bytes: &[u8; HEAD_LEN]) -> Self {
        let number = |at: usize| u64::from_be_bytes(core::array::from_fn(|byte| bytes[at + byte]));
        Self {
            id,
            seq: number(0),
            count: number(8),
            hash: core::array::from_fn(|byte| bytes[16 + byte]),
        }
    }
}

/// Bytes of a head in a witness's file, with its check.
pub const SLOT_LEN: usize = 112;
/// Bytes of a head without the ledger's name.
pub(crate) const HEAD_LEN: usize = 48;
