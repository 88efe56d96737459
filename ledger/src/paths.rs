//! Ledgers by path.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;
use weir_meter::ledger::{
    Chain, Genesis, Head, Held, Ledger, LedgerError, Moment, Settings, Witness, held, replay,
};
use weir_meter::order::SignedOrder;
use weir_meter::{Exit, Store};

use crate::files::{Busy, FileStore, is_private};
use crate::remote::WitnessAt;

/// Where a ledger is, and its witnesses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paths {
    /// The ledger.
    pub ledger: PathBuf,
    /// Its witnesses, in the order in which orders number them. They should be on other devices.
    pub witnesses: Vec<WitnessAt>,
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
    /// Others can read, change or lock a file that is its owner's alone.
    #[error("{}: mode {mode:03o}, so others could read, change or lock it; take that away: chmod o=,g-w", path.display())]
    Mode {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
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
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Locked(_) => Exit::Locked,
            Self::File { .. } => Exit::File,
            Self::Mode { .. } => Exit::Mode,
            Self::Key(_) => Exit::Key,
            Self::Silent { .. } => Exit::Silent,
            Self::Beyond { .. } => Exit::Beyond,
            Self::Ledger { error, .. } => error.exit(),
        }
    }
}

impl Paths {
    fn stores(&self, key: Option<[u8; 32]>) -> Result<Opened, Error> {
        let store = locked(&self.ledger)?;
        let witnesses = self.witnesses.iter().map(|witness| witness.open(key));
        let witnesses = witnesses.collect::<Result<_, _>>()?;
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
    let bytes = std::fs::read(path).map_err(file(path))?;
    replay(&bytes, key).map_err(|corrupt| Error::Ledger {
        path: path.to_owned(),
        error: corrupt.into(),
    })
}

/// What a witness holds of a ledger, which may be in use: without the lock of its file.
///
/// # Errors
/// It cannot be read, or does not answer.
pub fn look(witness: &WitnessAt, ledger: &Chain, index: u16, key: Option<&[u8; 32]>) -> Result<Held, Error> {
    let WitnessAt::File(path) = witness else {
        let held = witness.open(key.copied())?.held(&ledger.id);
        return held.map_err(|error| Error::Ledger {
            path: witness.to_string().into(),
            error: LedgerError::WitnessFailed { index, error },
        });
    };
    let bytes = std::fs::read(path).map_err(file(path))?;
    Ok(held(&bytes, key))
}

/// A secret key from a file: 64 hexadecimal digits, for its owner's eyes alone.
///
/// # Errors
/// [`Error::File`], [`Error::Mode`], [`Error::Key`].
pub fn read_key(path: &Path) -> Result<[u8; 32], Error> {
    let mut key = File::open(path).map_err(file(path))?;
    let metadata = key.metadata().map_err(file(path))?;
    if metadata.is_file() && !is_private(&metadata) {
        return Err(mode(path, metadata.mode()));
    }
    let mut text = String::new();
    key.read_to_string(&mut text).map_err(file(path))?;
    parse_key(&text).ok_or_else(|| Error::Key(path.to_owned()))
}

/// 32 bytes that are no secret, in the form of a key: a public one, or a ledger's id.
///
/// # Errors
/// [`Error::File`], [`Error::Key`].
pub fn read_public(path: &Path) -> Result<[u8; 32], Error> {
    let text = std::fs::read_to_string(path).map_err(file(path))?;
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
/// [`Error::Locked`], [`Error::Mode`], [`Error::File`].
pub fn locked(path: &Path) -> Result<Box<dyn Store + Send>, Error> {
    match FileStore::lock(path) {
        Ok(store) => Ok(Box::new(store)),
        Err(Busy::Locked) => Err(Error::Locked(path.to_owned())),
        Err(Busy::Mode(shown)) => Err(mode(path, shown)),
        Err(Busy::System(error)) => Err(file(path)(error)),
    }
}

fn file(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::File {
        path: path.to_owned(),
        error,
    }
}

fn mode(path: &Path, mode: u32) -> Error {
    Error::Mode {
        path: path.to_owned(),
        mode: mode & 0o777,
    }
}
