//! Files that are there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::ends;

/// Writes `bytes` beside `path` and moves them there once they are on disk; a file that was there lends its permissions.
/// A link is followed; what is no file (a pipe, a terminal, a link to nothing) is written to as it is.
///
/// # Errors
/// What the system says, with the path.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let there = fs::metadata(path).ok();
    let is_other = match &there {
        Some(there) => !there.is_file() && !there.is_dir(),
        None => path.is_symlink(),
    };
    if is_other {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        return file
            .and_then(|mut file| file.write_all(bytes))
            .with_context(failed);
    }
    let target = match &there {
        Some(_) => fs::canonicalize(path).with_context(failed)?,
        None => path.to_owned(),
    };
    let path = target.as_path();
    let mut name = path.file_name().map_or_else(OsString::new, ToOwned::to_owned);
    name.push(format!(".part.{}", std::process::id()));
    let part = path.with_file_name(name);
    let permissions = there.map(|there| there.permissions());
    let written = ends::whole(|| {
        let written = fill(&part, bytes, permissions).and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            // Nothing to add to the error that is about to be told.
            let _ = fs::remove_file(&part);
        }
        written
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}

fn fill(part: &Path, bytes: &[u8], permissions: Option<Permissions>) -> std::io::Result<()> {
    let mut file = File::create(part)?;
    if let Some(permissions) = permissions {
        file.set_permissions(permissions)?;
    }
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
        let (absent, dangling) = (folder.path().join("absent"), folder.path().join("dangling"));
        std::os::unix::fs::symlink(&absent, &dangling).unwrap();
        write(&dangling, b"new").unwrap();
        assert!(fs::symlink_metadata(&dangling).unwrap().is_symlink());
        assert_eq!(fs::read(&absent).unwrap(), b"new");
        write(Path::new("/dev/null"), b"new").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(write(folder.path(), b"new").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn what_was_private_stays_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        write(&file, b"new").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
