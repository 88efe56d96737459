//! Ledgers by path.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use weir_meter::Store;
use weir_meter::ledger::{
    Chain, Genesis, Head, Ledger, LedgerError, Moment, Settings, SlotWitness, Witness, replay,
};
use weir_meter::order::SignedOrder;

use crate::files::FileStore;

/// Where a ledger is, and its witnesses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paths {
    /// The ledger.
    pub ledger: PathBuf,
    /// Its witnesses, in the order in which orders number them. They should be on other devices.
    pub witnesses: Vec<PathBuf>,
}

/// Why a ledger cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// Another process writes.
    #[error("{}: another process has it open", .0.display())]
    Locked(PathBuf),
    /// A file cannot be used.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Not a key.
    #[error("{}: not a key: 32 bytes as 64 hexadecimal digits", .0.display())]
    Key(PathBuf),
    /// A witness that is another machine has not been heard.
    #[error(
        "no receipt of outer's for this ledger within {seconds} s: start outer first, and see to receipts.key and receipts.ledger there"
    )]
    Silent {
        /// How long it was waited for.
        seconds: u64,
    },
    /// A witness that is another machine has counted more than there is.
    #[error(
        "outer says that {bits} bits have come, of {total} in all: its receipts.file, or its key, is not what it was"
    )]
    Beyond {
        /// What it says.
        bits: u64,
        /// The ledger's total.
        total: u64,
    },
    /// The ledger's own word.
    #[error("{}: {error}", path.display())]
    Ledger {
        /// Which ledger.
        path: PathBuf,
        /// What it says.
        error: LedgerError,
    },
}

impl Error {
    /// What a program that ends for this reason should exit with.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Locked(_) => 30,
            Self::File { .. } => 31,
            Self::Key(_) => 32,
            Self::Silent { .. } => 33,
            Self::Beyond { .. } => 34,
            Self::Ledger { error, .. } => error.exit_code(),
        }
    }
}

impl Paths {
    fn stores(&self, key: Option<[u8; 32]>) -> Result<Opened, Error> {
        let store = locked(&self.ledger)?;
        let witness = |path: &PathBuf| {
            let witness = SlotWitness::new(locked(path)?, key);
            Ok(Box::new(witness) as Box<dyn Witness + Send>)
        };
        let witnesses = self.witnesses.iter().map(witness).collect::<Result<_, _>>()?;
        Ok((store, witnesses))
    }

    fn says(&self, error: LedgerError) -> Error {
        Error::Ledger {
            path: self.ledger.clone(),
            error,
        }
    }
}

/// Begins a ledger: see [`Ledger::init`].
///
/// # Errors
/// As there; or a file is in use or cannot be used.
pub fn init(paths: &Paths, moment: Moment, key: Option<[u8; 32]>, genesis: &Genesis) -> Result<Head, Error> {
    let (store, witnesses) = paths.stores(key)?;
    Ledger::init(store, witnesses, moment, key.as_ref(), genesis).map_err(|error| paths.says(error))
}

/// Opens a ledger to write: see [`Ledger::open`].
///
/// # Errors
/// As there; or a file is in use or cannot be used.
pub fn open(
    paths: &Paths,
    moment: Moment,
    settings: Settings,
    counts: &[u64],
    order: Option<&SignedOrder>,
) -> Result<Ledger, Error> {
    let (store, witnesses) = paths.stores(settings.key)?;
    Ledger::open(store, witnesses, moment, settings, counts, order).map_err(|error| paths.says(error))
}

/// Reads a ledger that may be in use, without a lock and without its witnesses.
///
/// # Errors
/// It is not there, or damaged.
pub fn read(path: &Path, key: Option<&[u8; 32]>) -> Result<Chain, Error> {
    let bytes = std::fs::read(path).map_err(|error| Error::File {
        path: path.to_owned(),
        error,
    })?;
    replay(&bytes, key).map_err(|corrupt| Error::Ledger {
        path: path.to_owned(),
        error: corrupt.into(),
    })
}

/// A key from a file: 64 hexadecimal digits.
///
/// # Errors
/// [`Error::File`], [`Error::Key`].
pub fn read_key(path: &Path) -> Result<[u8; 32], Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::File {
        path: path.to_owned(),
        error,
    })?;
    parse_key(&text).ok_or_else(|| Error::Key(path.to_owned()))
}

fn parse_key(text: &str) -> Option<[u8; 32]> {
    let digits = text.trim();
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 32];
    for (byte, place) in key.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[place..place + 2], 16).ok()?;
    }
    Some(key)
}

type Opened = (Box<dyn Store + Send>, Vec<Box<dyn Witness + Send>>);

/// A store of files that nobody else writes.
///
/// # Errors
/// [`Error::Locked`], [`Error::File`].
pub fn locked(path: &Path) -> Result<Box<dyn Store + Send>, Error> {
    match FileStore::lock(path) {
        Ok(Some(store)) => Ok(Box::new(store)),
        Ok(None) => Err(Error::Locked(path.to_owned())),
        Err(error) => Err(Error::File {
            path: path.to_owned(),
            error,
        }),
    }
}
