//! The file: one record for each head that was taken, in a chain of hashes, never changed again. SPEC 7.8.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use weir_ledger::{Corrupt, Error, Flaw, Head, LedgerError, StoreError, owned};

use crate::Heads;

/// The open file, locked for this process.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
    key: [u8; 32],
    /// Hash of the last record; zeros before the first.
    last: [u8; 32],
    /// Bytes of whole records.
    len: u64,
}

impl Log {
    /// Makes an empty file where there is none.
    ///
    /// # Errors
    /// There is one, or the system's.
    pub fn create(path: &Path) -> Result<()> {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let file = made.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => says(path, LedgerError::Exists),
            _ => file_error(path, error),
        })?;
        file.sync_all()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Ok(File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()?)
    }

    /// Opens the file, and fills `heads` with what it holds. Half a record at the end is a write that a power loss tore: it was never
    /// answered. The number of its bytes is told.
    ///
    /// # Errors
    /// It is not there, in use, open to others, or damaged.
    pub fn open(path: &Path, key: [u8; 32], heads: &mut Heads) -> Result<(Self, u64)> {
        let mut file = owned(path)?;
        let mut log = Self {
            file: file.try_clone()?,
            path: path.to_owned(),
            key,
            last: [0; 32],
            len: 0,
        };
        let size = file.metadata()?.len();
        let mut record = [0; RECORD_LEN];
        while size - log.len >= RECORD_LEN as u64 {
            file.read_exact(&mut record)
                .map_err(|error| file_error(path, error))?;
            let Some((head, taken)) = log.take(&record) else {
                if size - log.len > RECORD_LEN as u64 {
                    let record = log.len / RECORD_LEN as u64;
                    return Err(says(
                        path,
                        Corrupt {
                            record,
                            flaw: Flaw::Hash,
                        }
                        .into(),
                    )
                    .into());
                }
                break;
            };
            heads.restore(head, taken);
        }
        let torn = size - log.len;
        Ok((log, torn))
    }

    /// Appends a head; returns when it survives a power loss.
    ///
    /// # Errors
    /// The disk's: then nothing may be answered any more.
    pub fn keep(&mut self, head: &Head, taken: u64) -> Result<()> {
        let (record, hash) = self.seal(head, taken);
        let mut write = || {
            self.file.seek(SeekFrom::Start(self.len))?;
            self.file.write_all(&record)?;
            self.file.sync_data()
        };
        write().map_err(|error: std::io::Error| {
            let (what, code) = ("write and sync", error.raw_os_error().unwrap_or(0));
            says(&self.path, StoreError { what, code }.into())
        })?;
        (self.last, self.len) = (hash, self.len + RECORD_LEN as u64);
        Ok(())
    }

    fn take(&mut self, record: &[u8; RECORD_LEN]) -> Option<(Head, u64)> {
        let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| record[at + byte]));
        let bytes = |at: usize| std::array::from_fn(|byte| record[at + byte]);
        let head = Head {
            id: bytes(8),
            seq: number(40),
            count: number(48),
            hash: bytes(56),
        };
        let (sealed, hash) = self.seal(&head, number(0));
        (sealed == *record).then(|| {
            (self.last, self.len) = (hash, self.len + RECORD_LEN as u64);
            (head, number(0))
        })
    }

    /// Turn (8), ledger (32), record (8), count (8), hash (32), and the hash of the record before and these, under the key.
    fn seal(&self, head: &Head, taken: u64) -> ([u8; RECORD_LEN], [u8; 32]) {
        let mut record = [0; RECORD_LEN];
        record[..8].copy_from_slice(&taken.to_be_bytes());
        record[8..40].copy_from_slice(&head.id);
        record[40..48].copy_from_slice(&head.seq.to_be_bytes());
        record[48..56].copy_from_slice(&head.count.to_be_bytes());
        record[56..CONTENT_LEN].copy_from_slice(&head.hash);
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(b"weir witness log");
        hasher.update(&self.last);
        hasher.update(&record[..CONTENT_LEN]);
        let hash = *hasher.finalize().as_bytes();
        record[CONTENT_LEN..].copy_from_slice(&hash);
        (record, hash)
    }
}

/// In the words and with the exit code of a ledger's.
fn says(path: &Path, error: LedgerError) -> Error {
    let path = path.to_owned();
    Error::Ledger { path, error }
}

fn file_error(path: &Path, error: std::io::Error) -> Error {
    let path = path.to_owned();
    Error::File { path, error }
}

/// Bytes of a record before its hash.
const CONTENT_LEN: usize = 88;
const RECORD_LEN: usize = CONTENT_LEN + 32;
