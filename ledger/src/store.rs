//! What a ledger needs of a disk. SPEC 7.5.
//!
//! The order of writes, syncs and renames, on which surviving a power loss depends, is the ledger's and is written here
//! in `no_std`; a program brings a [`Store`] over its file system (`weir_ledger::FileStore`), a test one that loses power.

use alloc::vec::Vec;
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
#[error("cannot {what} (error {code} of the system{})", in_words(*code))]
pub struct StoreError {
    /// What it was told: "read", "write", …
    pub what: &'static str,
    /// The system's number of the error; 0 if it has none.
    pub code: i32,
}

/// What an operator can mend, with the mend; nothing for what only the system knows.
const fn in_words(code: i32) -> &'static str {
    match code {
        28 => ": the disk is full; make room on it, and start anew",
        122 => ": the user's share of the disk is full; make it larger, and start anew",
        30 => {
            ": the disk is mounted read-only; mount it to be written, or let the unit write there (ReadWritePaths=)"
        }
        13 => ": no right to; see whose file and folder it is",
        5 => ": the disk failed",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn a_full_disk_is_said_in_words_with_the_mend() {
        let said = |code| StoreError { what: "write", code }.to_string();
        assert_eq!(
            said(28),
            "cannot write (error 28 of the system: the disk is full; make room on it, and start anew)"
        );
        assert_eq!(said(71), "cannot write (error 71 of the system)");
    }
}
