//! Those who hold the ledger's head besides the ledger. SPEC 7.5.

use alloc::boxed::Box;

use super::record::{Hash, array};
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

/// Holds the last synced head of a ledger, somewhere else than the ledger.
pub trait Witness {
    /// The last head that it holds; `None` if it holds none that is whole.
    fn latest(&mut self) -> Result<Option<Head>, StoreError>;

    /// Returns when it holds this head, whatever happens to the machine.
    fn hold(&mut self, head: &Head) -> Result<(), StoreError>;

    /// The same, and forgets all else that it may hold.
    fn renew(&mut self, head: &Head) -> Result<(), StoreError>;
}

/// A witness on a store, which should be another device: two places, written in turn, so that one is always whole.
pub struct SlotWitness {
    store: Box<dyn Store + Send>,
    key: Option<[u8; 32]>,
}

impl SlotWitness {
    /// A witness; with the ledger's key, if it has one.
    pub const fn new(store: Box<dyn Store + Send>, key: Option<[u8; 32]>) -> Self {
        Self { store, key }
    }

    /// Whole heads by place; `None` if there is no file.
    fn slots(&mut self) -> Result<Option<[Option<Head>; 2]>, StoreError> {
        let bytes = self.store.read()?;
        Ok(bytes.map(|bytes| slots(&bytes, self.key.as_ref())))
    }
}

/// The latest whole head in the bytes of a witness's file.
pub fn held(bytes: &[u8], key: Option<&[u8; 32]>) -> Option<Head> {
    let slots = slots(bytes, key);
    slots.into_iter().flatten().max_by_key(|head| head.seq)
}

fn slots(bytes: &[u8], key: Option<&[u8; 32]>) -> [Option<Head>; 2] {
    [0, 1].map(|place| {
        let bytes = bytes.get(place * SLOT_LEN..)?.first_chunk::<SLOT_LEN>()?;
        Head::open(bytes, key)
    })
}

impl Witness for SlotWitness {
    fn latest(&mut self) -> Result<Option<Head>, StoreError> {
        let bytes = self.store.read()?;
        Ok(bytes.and_then(|bytes| held(&bytes, self.key.as_ref())))
    }

    fn hold(&mut self, head: &Head) -> Result<(), StoreError> {
        let Some(slots) = self.slots()? else {
            return self.renew(head);
        };
        // Never over the later one.
        let seq = |place: usize| slots[place].map(|head| head.seq);
        let place = usize::from(seq(0) > seq(1));
        let bytes = head.seal(self.key.as_ref());
        self.store.write((place * SLOT_LEN) as u64, &bytes)?;
        self.store.sync()
    }

    fn renew(&mut self, head: &Head) -> Result<(), StoreError> {
        self.store.stage(&head.seal(self.key.as_ref()))?;
        self.store.promote(None)
    }
}

impl Head {
    /// The head and a hash of it.
    fn seal(&self, key: Option<&[u8; 32]>) -> [u8; SLOT_LEN] {
        let mut bytes = [0; SLOT_LEN];
        bytes[..32].copy_from_slice(&self.id);
        bytes[32..40].copy_from_slice(&self.seq.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.count.to_be_bytes());
        bytes[48..80].copy_from_slice(&self.hash);
        let check = check(key, &bytes[..80]);
        bytes[80..].copy_from_slice(&check);
        bytes
    }

    fn open(bytes: &[u8; SLOT_LEN], key: Option<&[u8; 32]>) -> Option<Self> {
        let head = Self {
            id: array(bytes, 0..32).ok()?,
            seq: u64::from_be_bytes(array(bytes, 32..40).ok()?),
            count: u64::from_be_bytes(array(bytes, 40..48).ok()?),
            hash: array(bytes, 48..80).ok()?,
        };
        (head.seal(key) == *bytes).then_some(head)
    }
}

fn check(key: Option<&[u8; 32]>, bytes: &[u8]) -> Hash {
    let mut hasher = key.map_or_else(blake3::Hasher::new, blake3::Hasher::new_keyed);
    hasher.update(b"weir witness");
    hasher.update(bytes);
    *hasher.finalize().as_bytes()
}

/// Bytes of a head with its check.
pub const SLOT_LEN: usize = 112;
