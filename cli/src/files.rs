//! Files that are there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Writes `bytes` beside `path` and moves them there once they are on disk. A link is followed; what is no file (a pipe, a
/// terminal) is written to as it is.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let target = match fs::metadata(path) {
        Ok(there) if !there.is_file() && !there.is_dir() => {
            let written = File::options().write(true).open(path);
            let written = written.and_then(|mut file| file.write_all(bytes));
            return written.with_context(|| format!("cannot write {}", path.display()));
        }
        Ok(_) => fs::canonicalize(path).with_context(|| format!("cannot write {}", path.display()))?,
        Err(_) => path.to_owned(),
    };
    let path = target.as_path();
    let mut name = path.file_name().map_or_else(OsString::new, ToOwned::to_owned);
    name.push(format!(".part.{}", std::process::id()));
    let part = path.with_file_name(name);
    let written = fill(&part, bytes).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        // Nothing to add to the error that is about to be told.
        let _ = fs::remove_file(&part);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn fill(part: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(part)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_links_and_devices_devices() {
        let folder = tempfile::TempDir::new().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        write(Path::new("/dev/null"), b"new").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(write(folder.path(), b"new").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
