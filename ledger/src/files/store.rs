//! A store of files. SPEC 7.5.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::error::Error;
use crate::store::{Store, StoreError};

/// A file, `FILE.next` while its successor is being made, and `FILE.NUMBER` for its predecessors. Whoever writes holds the
/// file itself locked as long as the process lives: by whatever name another process comes to it, it meets the lock.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    /// The file that is at `path`, locked; none where there is none.
    file: Option<File>,
    /// Its successor, locked, while that is being made.
    next: Option<File>,
}

/// Why a file cannot be had for writing.
#[derive(Debug)]
pub enum Busy {
    /// Another process has it.
    Locked,
    /// Others could read, change or lock it: its permissions.
    Mode(u32),
    /// The system's error.
    System(io::Error),
}

impl From<io::Error> for Busy {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl FileStore {
    /// Takes the file and its lock; where there is no file yet, the one that is promoted first.
    ///
    /// # Errors
    /// See [`Busy`].
    pub fn lock(path: &Path) -> Result<Self, Busy> {
        // A new segment must not take the place of a link to the old one.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let (file, next) = (None, None);
                return Ok(Self { path, file, next });
            }
            Err(error) => return Err(error.into()),
        };
        take(&file, &path)?;
        Ok(Self {
            path,
            file: Some(file),
            next: None,
        })
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Names survive a power loss when their folder is synced.
    fn sync_names(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }

    fn make(&mut self, bytes: &[u8]) -> io::Result<()> {
        let path = beside(&self.path, ".next");
        self.clear(&path)?;
        let mut next = OpenOptions::new()
            .create_new(true)
            .write(true)
            .read(true)
            .mode(0o600)
            .open(&path)?;
        next.try_lock()?;
        // Another process may have cleared it away before it was locked, and nobody clears away what is.
        if !is_same(&next.metadata()?, &fs::symlink_metadata(&path)?) {
            return Err(ErrorKind::WouldBlock.into());
        }
        next.write_all(bytes)?;
        next.sync_all()?;
        self.next = Some(next);
        Ok(())
    }

    /// Takes away the name of the successor's: whatever has it, by a crash or by anybody, is not written to, nor read, nor its mode
    /// inherited. Only what another process is making just now stays.
    fn clear(&self, path: &Path) -> io::Result<()> {
        let there = match fs::symlink_metadata(path) {
            Ok(there) => there,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let file = self.file.as_ref().map(File::metadata).transpose()?;
        // A crash between linking the first file to its name and unlinking this one leaves a name of the file itself.
        let is_own = file.is_some_and(|file| is_same(&file, &there));
        let _lock = match there.is_file() && !is_own {
            true => {
                let found = File::open(path)?;
                found.try_lock()?;
                Some(found)
            }
            false => None,
        };
        fs::remove_file(path)
    }

    fn replace(&mut self, keep: Option<u64>) -> io::Result<()> {
        let (staged, next) = (beside(&self.path, ".next"), self.next.take());
        let next = next.ok_or(ErrorKind::NotFound)?;
        if let (Some(number), Some(file)) = (keep, &self.file) {
            let kept = archive(&self.path, number);
            match fs::hard_link(&self.path, &kept) {
                // By a crash between this step and the next; any other file of that name stays, and the segment too.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if !is_same(&file.metadata()?, &fs::metadata(&kept)?) {
                        return Err(error);
                    }
                }
                linked => linked?,
            }
            self.sync_names()?;
        }
        match &self.file {
            Some(_) => fs::rename(staged, &self.path)?,
            // Where nothing was, something may be by now: that is never replaced.
            None => {
                fs::hard_link(&staged, &self.path)?;
                fs::remove_file(staged)?;
            }
        }
        self.file = Some(next);
        self.sync_names()
    }
}

impl Store for FileStore {
    fn read(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = file
            .seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_end(&mut bytes));
        read.map_err(|error| failed("read", &error))?;
        Ok(Some(bytes))
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let write = self.file().and_then(|file| file.write_all_at(bytes, at));
        write.map_err(|error| failed("write", &error))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        // The length is part of it: without, the data could not be found.
        let sync = self.file().and_then(File::sync_data);
        sync.map_err(|error| failed("sync", &error))
    }

    fn stage(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.make(bytes).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => failed("make a new segment: another process has FILE.next open", &error),
            _ => failed("make a new segment", &error),
        })
    }

    fn promote(&mut self, keep: Option<u64>) -> Result<(), StoreError> {
        self.replace(keep)
            .map_err(|error| failed("put the new segment in its place, and keep the old one", &error))
    }
}

/// A store of files that nobody else writes.
///
/// # Errors
/// [`Error::Locked`], [`Error::Mode`], [`Error::File`].
pub fn locked(path: &Path) -> Result<Box<dyn Store + Send>, Error> {
    match FileStore::lock(path) {
        Ok(store) => Ok(Box::new(store)),
        Err(busy) => Err(said(path, busy)),
    }
}

/// A file that is there, for writing, locked: what [`FileStore::lock`] asks of a ledger's file, for a program with a file of another form.
///
/// # Errors
/// [`Error::Locked`], [`Error::Mode`], [`Error::File`].
pub fn owned(path: &Path) -> Result<File, Error> {
    let open = || {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        take(&file, path)?;
        Ok(file)
    };
    open().map_err(|busy| said(path, busy))
}

/// Locks the file that was opened by this name, and sees to it that it still has it and is its owner's alone.
fn take(file: &File, path: &Path) -> Result<(), Busy> {
    lock(file)?;
    let metadata = file.metadata()?;
    // A new segment may have taken its place before the lock was had.
    if !is_same(&metadata, &fs::metadata(path)?) {
        return Err(Busy::Locked);
    }
    if !is_private(&metadata) {
        return Err(Busy::Mode(metadata.mode() & 0o777));
    }
    Ok(())
}

fn said(path: &Path, busy: Busy) -> Error {
    match busy {
        Busy::Locked => Error::Locked(path.to_owned()),
        Busy::Mode(shown) => Error::mode(path, shown),
        Busy::System(error) => Error::file(path)(error),
    }
}

/// Locks the file for this process, if no other has it.
pub(super) fn lock(file: &File) -> Result<(), Busy> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Busy::Locked,
        TryLockError::Error(error) => Busy::System(error),
    })
}

/// Whether only the owner can change it, and no stranger can open it: who can open a file can lock it.
pub(super) fn is_private(metadata: &Metadata) -> bool {
    metadata.mode() & 0o027 == 0
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Where an old segment is kept: `number` is that of its last record.
pub fn archive(path: &Path, number: u64) -> PathBuf {
    beside(path, &format!(".{number:012}"))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn failed(what: &'static str, error: &io::Error) -> StoreError {
    StoreError {
        what,
        code: error.raw_os_error().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
