//! Ledgers by path.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::address::WitnessAt;
use super::error::Error;
use super::store::locked;
use crate::error::LedgerError;
use crate::ledger::{Ledger, Settings};
use crate::moment::Moment;
use crate::order::SignedOrder;
use crate::replay::{Chain, replay};
use crate::segment::Genesis;
use crate::store::Store;
use crate::witness::{Head, Held, Witness, held};

/// Where a ledger is, and its witnesses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paths {
    /// The ledger.
    pub ledger: PathBuf,
    /// Its witnesses, in the order in which orders number them. They should be on other devices.
    pub witnesses: Vec<WitnessAt>,
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
/// [`LedgerError::Missing`], as for who opens it; it is damaged, or cannot be read.
pub fn read(path: &Path, key: Option<&[u8; 32]>) -> Result<Chain, Error> {
    let says = |error| Error::Ledger {
        path: path.to_owned(),
        error,
    };
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => says(LedgerError::Missing),
        _ => Error::file(path)(error),
    })?;
    replay(&bytes, key).map_err(|corrupt| says(corrupt.into()))
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
    match std::fs::read(path) {
        Ok(bytes) => Ok(held(&bytes, key)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Held::Absent),
        Err(error) => Err(Error::file(path)(error)),
    }
}

type Opened = (Box<dyn Store + Send>, Vec<Box<dyn Witness + Send>>);
