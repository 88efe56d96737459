//! Why a ledger lets nothing out.

use thiserror::Error;

use crate::exit::Exit;
use crate::order::OrderError;
use crate::replay::Corrupt;
use crate::store::StoreError;
use crate::witness::WitnessError;

/// Why a ledger lets nothing out. Each has an exit code of its own: see [`LedgerError::exit`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum LedgerError {
    /// There is none.
    #[error(
        "no ledger is there: a wrong path, or a disk that is not mounted. Weights that had a ledger never get another one by `weir ledger init`"
    )]
    Missing,
    /// There is one already, or a file where one of its witnesses is to be.
    #[error("there is a ledger, a witness of one, or another file here already; it is never overwritten")]
    Exists,
    /// The disk failed. The ledger is not used any more, since nobody knows what is on the disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot have been written like this.
    #[error("the ledger is damaged: {0}")]
    Corrupt(Corrupt),
    /// No witness is named.
    #[error("a ledger without a witness can be put back unseen; name one")]
    NoWitness,
    /// Not all witnesses are named, or others.
    #[error(
        "the ledger has {number} witnesses, and {named} are named: name all of them, in their order; another one in a place takes a signed order"
    )]
    Witnesses {
        /// How many are.
        named: u16,
        /// How many the ledger has.
        number: u16,
    },
    /// A witness holds nothing.
    #[error("witness {index} is missing or damaged; a signed order can begin it anew")]
    WitnessMissing {
        /// Its place.
        index: u16,
    },
    /// A witness belongs to another ledger.
    #[error("witness {index} belongs to another ledger")]
    WitnessForeign {
        /// Its place.
        index: u16,
    },
    /// A witness has seen more than the ledger holds.
    #[error(
        "the ledger ends at record {seq}, but witness {index} has seen record {held}: it was cut off or is an older copy"
    )]
    Behind {
        /// The witness's place.
        index: u16,
        /// The last record it saw.
        held: u64,
        /// The ledger's last.
        seq: u64,
    },
    /// A witness has seen another record of that number.
    #[error(
        "witness {index} has seen another record {held}: two programs have written, or one of them is a copy"
    )]
    Forked {
        /// The witness's place.
        index: u16,
        /// The record's number.
        held: u64,
    },
    /// A witness has missed more than the last write.
    #[error("witness {index} ends at record {held}, the ledger at {seq}: the witness is an older copy")]
    WitnessBehind {
        /// Its place.
        index: u16,
        /// The last record it saw.
        held: u64,
        /// The ledger's last.
        seq: u64,
    },
    /// A witness does not hold what it was told last.
    #[error(
        "witness {index} was not told what it holds: another program, or this machine as it was before, has used the ledger meanwhile"
    )]
    WitnessMoved {
        /// Its place.
        index: u16,
    },
    /// A witness's disk failed, or a witness does not answer.
    #[error("witness {index}: {error}")]
    WitnessFailed {
        /// Its place.
        index: u16,
        /// How.
        error: StoreError,
    },
    /// The boot's clock shows less than it did.
    #[error("the clock since boot went back: {now} us, after {last} us")]
    ClockWentBack {
        /// What it shows.
        now: u64,
        /// What it showed.
        last: u64,
    },
    /// Too many starts within an hour of the ledger's time.
    #[error("{starts} starts within an hour; wait, and find out why")]
    Restarts {
        /// How many.
        starts: u32,
    },
    /// The total would be passed.
    #[error("the ledger's total is spent")]
    TotalSpent,
    /// One datagram is charged more than a block, so a crash could count more than a block too much.
    #[error("a charge of {bits} bits is above the ledger's block of {block}")]
    AboveBlock {
        /// The charge.
        bits: u64,
        /// The block.
        block: u64,
    },
    /// A limit cannot be set like this.
    #[error("this limit cannot be set so: raising one takes a signed order")]
    Cap,
    /// An order is not to be obeyed.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// Its words have the flaw's in them: it is not the cause besides, or a program that says all causes would say it twice.
impl From<Corrupt> for LedgerError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

impl LedgerError {
    /// What a program that ends for this reason should exit with.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Missing => Exit::NoLedger,
            Self::Exists => Exit::LedgerExists,
            Self::Store(_) => Exit::Disk,
            Self::Corrupt(_) => Exit::Damaged,
            Self::NoWitness | Self::Witnesses { .. } => Exit::NoWitness,
            Self::WitnessMissing { .. } => Exit::WitnessMissing,
            Self::WitnessForeign { .. } => Exit::WitnessForeign,
            Self::Behind { .. } => Exit::Behind,
            Self::Forked { .. } => Exit::Forked,
            Self::WitnessBehind { .. } => Exit::WitnessBehind,
            Self::WitnessMoved { .. } => Exit::WitnessMoved,
            Self::WitnessFailed { .. } => Exit::WitnessFailed,
            Self::ClockWentBack { .. } => Exit::ClockWentBack,
            Self::Restarts { .. } => Exit::Restarts,
            Self::TotalSpent => Exit::TotalSpent,
            Self::AboveBlock { .. } => Exit::AboveBlock,
            Self::Cap => Exit::Raise,
            Self::Order(_) => Exit::Order,
        }
    }

    /// Turns what went wrong with the witness at `index` into the ledger's error.
    pub(crate) fn witness<E: Into<WitnessError>>(index: u16) -> impl Fn(E) -> Self {
        move |error| match error.into() {
            WitnessError::Store(error) => Self::WitnessFailed { index, error },
            WitnessError::Moved(_) => Self::WitnessMoved { index },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::Flaw;
    use core::error::Error as _;
    use std::string::ToString as _;

    /// What the disk says is said in words, with the mend, and once: an error that has another one's words does not name it as its cause.
    #[test]
    fn what_the_disk_says_is_said_once() {
        let full = StoreError {
            what: "write",
            code: 28,
        };
        let corrupt = Corrupt {
            record: 3,
            flaw: Flaw::Hash,
        };
        let index = 1;
        for (error, words) in [
            (LedgerError::from(full), "no space left on device; make room"),
            (
                LedgerError::witness(index)(full),
                "no space left on device; make room",
            ),
            (corrupt.into(), "record 3"),
            (OrderError::Expired.into(), "expired"),
        ] {
            let said = error.to_string();
            assert_eq!(said.matches(words).count(), 1, "{said}");
            assert!(error.source().is_none(), "{said}: its cause is said again");
        }
        let whole = WitnessError::from(full);
        assert!(whole.source().is_none() && whole.to_string().contains("make room"));
        // Not a system's number where there is none.
        let (what, code) = ("hear the witness", 0);
        assert_eq!(StoreError { what, code }.to_string(), "cannot hear the witness");
    }
}
