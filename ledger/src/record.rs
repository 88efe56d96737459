//! One record of the ledger: 160 bytes, bound to the one before. SPEC 7.4.

use thiserror::Error;

/// Bytes of a record.
pub const RECORD_LEN: usize = field::HASH.end;

/// A BLAKE3 hash, keyed if the ledger has a key.
pub type Hash = [u8; 32];

/// The first bytes of an order's hash, by which a record names it; zeros for none.
pub type OrderId = [u8; 16];

/// A state of the ledger, and what led to it. Counts are sums since the ledger began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// What happened.
    pub entry: Entry,
    /// Number of the record; 0 for the first.
    pub seq: u64,
    /// When and how much.
    pub state: State,
}

/// What every record says: the time, and all counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// Starts of programs on this ledger.
    pub starts: u32,
    /// The ledger's own time, microseconds; it never goes back. SPEC 7.6.
    pub time: u64,
    /// Microseconds since boot.
    pub boot_micros: u64,
    /// Seconds since 1970 on the wall clock.
    pub wall: u64,
    /// The boot's number.
    pub boot: u64,
    /// Bits charged.
    pub spent: u64,
    /// Bits charged, of repeats.
    pub repeats: u64,
    /// Bits charged, of handshakes.
    pub handshakes: u64,
    /// Bits that may have been charged when nothing but this record is known: at least `spent`.
    pub reserved: u64,
    /// Datagrams permitted.
    pub datagrams: u64,
    /// Number of the last signed order that was applied.
    pub order: u64,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// The ledger begins, or a new segment of it.
    Id {
        /// Drawn at random for each ledger.
        id: Hash,
        /// How many witnesses the ledger has; 0 if it was begun when that was not written down.
        witnesses: u16,
    },
    /// What the ledger guards.
    Weights {
        /// BLAKE3 of the weights.
        hash: Hash,
    },
    /// An operator's key.
    Key {
        /// How many operators must sign an order.
        threshold: u16,
        /// The ed25519 public key.
        key: [u8; 32],
    },
    /// A limit is set.
    Cap {
        /// Which, and to what.
        cap: Cap,
        /// By which order.
        order: OrderId,
    },
    /// A witness was lost, and one was begun anew in its place.
    Witness {
        /// Its place among the witnesses.
        index: u16,
        /// By which order.
        order: OrderId,
    },
    /// A program starts.
    Open {
        /// How many witnesses the ledger has; 0 if it was written when that was not.
        witnesses: u16,
    },
    /// More bits are reserved.
    Reserve,
    /// The program ends: nothing is reserved that was not charged.
    Close,
    /// A new segment begins.
    Checkpoint {
        /// Head of the segment before.
        head: Hash,
        /// Whether a program is running.
        open: bool,
    },
    /// A state of the past, carried into a new segment because windows reach back to it.
    Past,
}

/// A limit and its value in bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cap {
    /// Which.
    pub limit: Limit,
    /// Bits.
    pub bits: u64,
}

/// What a cap limits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Limit {
    /// Nothing: the size of the weights, of which limits may be fractions. No order changes it.
    Weights,
    /// All that is ever charged.
    Total,
    /// What is charged in any stretch of so many seconds; at least 1.
    Window(u32),
}

/// Not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("not a record of this version")]
pub struct Malformed;

impl Record {
    /// Reads the first 128 bytes of a record.
    ///
    /// # Errors
    /// Anything that [`Record::emit`] does not write.
    pub fn parse(bytes: &[u8; CONTENT_LEN]) -> Result<Self, Malformed> {
        let [version, kind, ..] = *bytes;
        if version != VERSION {
            return Err(Malformed);
        }
        let body: [u8; 32] = array(bytes, field::BODY)?;
        let arg = u16::from_be_bytes(array(bytes, field::ARG)?);
        let entry = Entry::parse(kind, arg, &body)?;
        let number = |range| Ok(u64::from_be_bytes(array(bytes, range)?));
        let record = Self {
            entry,
            seq: number(field::SEQ)?,
            state: State {
                starts: u32::from_be_bytes(array(bytes, field::STARTS)?),
                time: number(field::TIME)?,
                boot_micros: number(field::BOOT_MICROS)?,
                wall: number(field::WALL)?,
                boot: number(field::BOOT)?,
                spent: number(field::SPENT)?,
                repeats: number(field::REPEATS)?,
                handshakes: number(field::HANDSHAKES)?,
                reserved: number(field::RESERVED)?,
                datagrams: number(field::DATAGRAMS)?,
                order: number(field::ORDER)?,
            },
        };
        // Canonical or refused: what is zero by the form must be zero.
        if record.emit() == *bytes {
            Ok(record)
        } else {
            Err(Malformed)
        }
    }

    /// The first 128 bytes.
    pub fn emit(&self) -> [u8; CONTENT_LEN] {
        let Self { entry, seq, state } = self;
        let (kind, arg, body) = entry.emit();
        let mut bytes = [0; CONTENT_LEN];
        bytes[0] = VERSION;
        bytes[1] = kind;
        bytes[field::ARG].copy_from_slice(&arg.to_be_bytes());
        bytes[field::STARTS].copy_from_slice(&state.starts.to_be_bytes());
        for (range, value) in [
            (field::SEQ, *seq),
            (field::TIME, state.time),
            (field::BOOT_MICROS, state.boot_micros),
            (field::WALL, state.wall),
            (field::BOOT, state.boot),
            (field::SPENT, state.spent),
            (field::REPEATS, state.repeats),
            (field::HANDSHAKES, state.handshakes),
            (field::RESERVED, state.reserved),
            (field::DATAGRAMS, state.datagrams),
            (field::ORDER, state.order),
        ] {
            bytes[range].copy_from_slice(&value.to_be_bytes());
        }
        bytes[field::BODY].copy_from_slice(&body);
        bytes
    }

    /// The record whole, and its hash: the head of a ledger that ends in it.
    pub fn seal(&self, key: Option<&[u8; 32]>, before: &Hash) -> ([u8; RECORD_LEN], Hash) {
        let content = self.emit();
        let hash = chain(key, before, &content);
        let mut bytes = [0; RECORD_LEN];
        bytes[..CONTENT_LEN].copy_from_slice(&content);
        bytes[field::HASH].copy_from_slice(&hash);
        (bytes, hash)
    }
}

/// BLAKE3 of the hash before and the content. SPEC 7.4.
pub(crate) fn chain(key: Option<&[u8; 32]>, before: &Hash, content: &[u8; CONTENT_LEN]) -> Hash {
    let mut hasher = key.map_or_else(blake3::Hasher::new, blake3::Hasher::new_keyed);
    hasher.update(before);
    hasher.update(content);
    *hasher.finalize().as_bytes()
}

impl Entry {
    /// The order that caused it.
    pub fn order(&self) -> Option<OrderId> {
        match self {
            Self::Cap { order, .. } | Self::Witness { order, .. } => {
                Some(*order).filter(|order| *order != NO_ORDER)
            }
            _ => None,
        }
    }

    /// Whether such a record only says again what others have said.
    pub(crate) fn is_carried(&self) -> bool {
        match self {
            Self::Id { .. }
            | Self::Weights { .. }
            | Self::Key { .. }
            | Self::Checkpoint { .. }
            | Self::Past => true,
            Self::Cap { order, .. } => *order == NO_ORDER,
            Self::Witness { .. } | Self::Open { .. } | Self::Reserve | Self::Close => false,
        }
    }

    fn parse(kind: u8, arg: u16, body: &[u8; 32]) -> Result<Self, Malformed> {
        Ok(match kind {
            1 => Self::Id {
                id: *body,
                witnesses: arg,
            },
            2 => Self::Weights { hash: *body },
            3 => Self::Key {
                threshold: arg,
                key: *body,
            },
            4 => Self::Cap {
                cap: Cap::parse(array(body, 0..16)?)?,
                order: array(body, 16..32)?,
            },
            5 => Self::Witness {
                index: arg,
                order: array(body, 16..32)?,
            },
            6 => Self::Open { witnesses: arg },
            7 => Self::Reserve,
            8 => Self::Close,
            9 if arg < 2 => Self::Checkpoint {
                head: *body,
                open: arg == 1,
            },
            10 => Self::Past,
            _ => return Err(Malformed),
        })
    }

    fn emit(&self) -> (u8, u16, [u8; 32]) {
        let mut body = [0; 32];
        let (kind, arg) = match self {
            Self::Id { id, witnesses } => {
                body = *id;
                (1, *witnesses)
            }
            Self::Weights { hash } => {
                body = *hash;
                (2, 0)
            }
            Self::Key { threshold, key } => {
                body = *key;
                (3, *threshold)
            }
            Self::Cap { cap, order } => {
                body[..16].copy_from_slice(&cap.emit());
                body[16..].copy_from_slice(order);
                (4, 0)
            }
            Self::Witness { index, order } => {
                body[16..].copy_from_slice(order);
                (5, *index)
            }
            Self::Open { witnesses } => (6, *witnesses),
            Self::Reserve => (7, 0),
            Self::Close => (8, 0),
            Self::Checkpoint { head, open } => {
                body = *head;
                (9, u16::from(*open))
            }
            Self::Past => (10, 0),
        };
        (kind, arg, body)
    }
}

impl Cap {
    /// Which limit (4 bytes), seconds of a window (4), bits (8).
    pub(crate) fn parse(bytes: [u8; 16]) -> Result<Self, Malformed> {
        let which = u32::from_be_bytes(array(&bytes, 0..4)?);
        let seconds = u32::from_be_bytes(array(&bytes, 4..8)?);
        let limit = match (which, seconds) {
            (0, 0) => Limit::Weights,
            (1, 0) => Limit::Total,
            (2, 1..) => Limit::Window(seconds),
            _ => return Err(Malformed),
        };
        let bits = u64::from_be_bytes(array(&bytes, 8..16)?);
        Ok(Self { limit, bits })
    }

    pub(crate) fn emit(&self) -> [u8; 16] {
        let (which, seconds) = match self.limit {
            Limit::Weights => (0_u32, 0),
            Limit::Total => (1, 0),
            Limit::Window(seconds) => (2, seconds),
        };
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&which.to_be_bytes());
        bytes[4..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&self.bits.to_be_bytes());
        bytes
    }
}

/// The bytes of a field.
pub(crate) fn array<const N: usize>(
    bytes: &[u8],
    range: core::ops::Range<usize>,
) -> Result<[u8; N], Malformed> {
    bytes
        .get(range)
        .and_then(|slice| slice.try_into().ok())
        .ok_or(Malformed)
}

/// Bytes of a record that its hash covers, besides the hash before.
pub const CONTENT_LEN: usize = field::BODY.end;
/// A record that no order caused.
pub(crate) const NO_ORDER: OrderId = [0; 16];
const VERSION: u8 = 1;

/// Where the fields are; version and kind come first.
mod field {
    use core::ops::Range;

    pub(super) const ARG: Range<usize> = 2..4;
    pub(super) const STARTS: Range<usize> = ARG.end..8;
    pub(super) const SEQ: Range<usize> = STARTS.end..16;
    pub(super) const TIME: Range<usize> = SEQ.end..24;
    pub(super) const BOOT_MICROS: Range<usize> = TIME.end..32;
    pub(super) const WALL: Range<usize> = BOOT_MICROS.end..40;
    pub(super) const BOOT: Range<usize> = WALL.end..48;
    pub(super) const SPENT: Range<usize> = BOOT.end..56;
    pub(super) const REPEATS: Range<usize> = SPENT.end..64;
    pub(super) const HANDSHAKES: Range<usize> = REPEATS.end..72;
    pub(super) const RESERVED: Range<usize> = HANDSHAKES.end..80;
    pub(super) const DATAGRAMS: Range<usize> = RESERVED.end..88;
    pub(super) const ORDER: Range<usize> = DATAGRAMS.end..96;
    pub(super) const BODY: Range<usize> = ORDER.end..128;
    pub(super) const HASH: Range<usize> = BODY.end..160;
}
