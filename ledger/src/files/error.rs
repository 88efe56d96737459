//! Why a ledger's files cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::error::LedgerError;
use crate::exit::Exit;

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

    /// What the system says of a file.
    pub(super) fn file(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::File {
            path: path.to_owned(),
            error,
        }
    }

    /// A file with these permissions.
    pub(super) fn mode(path: &Path, mode: u32) -> Self {
        Self::Mode {
            path: path.to_owned(),
            mode: mode & 0o777,
        }
    }
}
