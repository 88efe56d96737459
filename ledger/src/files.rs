//! A store of files. SPEC 7.5.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use weir_meter::{Store, StoreError};

/// A file, `FILE.next` while its successor is being made, `FILE.NUMBER` for its predecessors, and `FILE.lock`, which
/// whoever writes holds locked as long as the process lives.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    file: Option<File>,
    _lock: File,
}

impl FileStore {
    /// Takes the lock. `Ok(None)` if another process has it.
    ///
    /// # Errors
    /// The system's.
    pub fn lock(path: &Path) -> io::Result<Option<Self>> {
        // By one name only: through a link the lock would be another, and a new segment would take the link's place.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(beside(path, ".lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self {
                path: path.to_owned(),
                file: None,
                _lock: lock,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn file(&mut self) -> io::Result<&File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }

    /// Names survive a power loss when their folder is synced.
    fn sync_names(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }

    fn replace(&mut self, keep: Option<u64>) -> io::Result<()> {
        if let Some(number) = keep {
            match fs::hard_link(&self.path, archive(&self.path, number)) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => self.sync_names()?,
            }
        }
        fs::rename(beside(&self.path, ".next"), &self.path)?;
        self.file = None;
        self.sync_names()
    }
}

impl Store for FileStore {
    fn read(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &error)),
        }
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
        let stage = File::create(beside(&self.path, ".next")).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        stage.map_err(|error| failed("make a new segment", &error))
    }

    fn promote(&mut self, keep: Option<u64>) -> Result<(), StoreError> {
        self.replace(keep)
            .map_err(|error| failed("replace the segment", &error))
    }
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
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_ledger_is_the_same_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("ledger"), folder.path().join("link"));
        fs::write(&path, b"old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let mut store = FileStore::lock(&link).unwrap().unwrap();
        assert!(
            FileStore::lock(&path).unwrap().is_none(),
            "locked through the link"
        );
        store.stage(b"new").unwrap();
        store.promote(None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
