//! What a ledger needs of a disk. SPEC 7.5.
//!
//! The order of writes, syncs and renames, on which surviving a power loss depends, is the ledger's and is written here
//! in `no_std`; a program brings a [`Store`] over its file system (`weir_ledger::FileStore`), a test one that loses power.

use alloc::vec::Vec;
use core::fmt;
use thiserror::Error;

/// A folder with a file in it, its successor while that is being made, and its predecessors.
pub trait Store {
    /// All bytes of the file; `None` if it is not there.
    fn read(&mut self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Puts `bytes` at `at`. Until [`Store::sync`] returns, any part of them may be lost or torn in a power loss.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Returns when all that was written to the file survives a power loss.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Makes a successor with these bytes, in place of any that is there, and returns when they survive a power loss.
    fn stage(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Puts the successor in the file's place, in one step that happens or not, and returns when that survives a power
    /// loss. What was the file is kept under `number`, if one is given and it is not there yet.
    fn promote(&mut self, keep: Option<u64>) -> Result<(), StoreError>;
}

/// The disk did not do what it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("cannot {what}{}", Why(*code))]
pub struct StoreError {
    /// What it was told: "read", "write", …
    pub what: &'static str,
    /// The system's number of the error; 0 if it has none.
    pub code: i32,
}

/// In words, and with what to do, what a disk says in the life of a ledger; any other by its number.
struct Why(i32);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            5 => f.write_str(": the disk failed to read or write; replace it"),
            13 => f.write_str(": permission denied; see to the owner and mode of the file and its folder"),
            28 => f.write_str(": no space left on device; make room on it, and start again"),
            30 => f.write_str(": the file system is read-only; see why, and mount it anew"),
            122 => f.write_str(": the disk quota is used up; raise it or make room, and start again"),
            code => write!(f, " (error {code} of the system)"),
        }
    }
}
