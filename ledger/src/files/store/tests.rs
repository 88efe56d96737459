use super::*;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use tempfile::TempDir;

/// A folder with a store of one file in it.
fn begun() -> (TempDir, PathBuf, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let mut store = FileStore::lock(&path).unwrap();
    store.stage(b"old").unwrap();
    store.promote(None).unwrap();
    (folder, path, store)
}

fn is_locked(path: &Path) -> bool {
    matches!(FileStore::lock(path), Err(Busy::Locked))
}

#[test]
fn by_any_name_it_is_the_same_file() {
    let (folder, path, mut store) = begun();
    let [hard, soft] = ["hard", "soft"].map(|name| folder.path().join(name));
    fs::hard_link(&path, &hard).unwrap();
    symlink(&path, &soft).unwrap();
    let names = [&path, &hard, &soft];
    assert!(names.into_iter().all(|name| is_locked(name)));
    // There is no file whose loss would lose the lock.
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
    // A new segment is locked from its first moment; the old one is still what the hard link names.
    store.stage(b"new").unwrap();
    assert!(is_locked(&beside(&path, ".next")));
    store.promote(None).unwrap();
    assert!(is_locked(&path) && is_locked(&soft));
    assert_eq!(
        (fs::read(&path).unwrap(), fs::read(&hard).unwrap()),
        (b"new".to_vec(), b"old".to_vec())
    );
    assert!(fs::symlink_metadata(&soft).unwrap().is_symlink());
    drop(store);
    FileStore::lock(&soft).unwrap();
}

#[test]
fn what_is_there_is_never_replaced_by_a_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let [mut one, mut other] = [0, 1].map(|_| FileStore::lock(&path).unwrap());
    one.stage(b"one").unwrap();
    assert!(other.stage(b"other").is_err(), "both make the same file");
    one.promote(None).unwrap();
    other.stage(b"other").unwrap();
    assert!(other.promote(None).is_err(), "the first beginning is lost");
    assert_eq!(fs::read(&path).unwrap(), b"one");
}

#[test]
fn a_segment_is_kept_whatever_has_its_name() {
    let (_folder, path, mut store) = begun();
    fs::write(archive(&path, 7), b"another").unwrap();
    store.stage(b"new").unwrap();
    assert!(store.promote(Some(7)).is_err(), "the old segment is lost");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    // What a crash left after its first step is the segment itself.
    fs::remove_file(archive(&path, 7)).unwrap();
    fs::hard_link(&path, archive(&path, 7)).unwrap();
    store.stage(b"new").unwrap();
    store.promote(Some(7)).unwrap();
    assert_eq!(
        (fs::read(&path).unwrap(), fs::read(archive(&path, 7)).unwrap()),
        (b"new".to_vec(), b"old".to_vec())
    );
}

/// What lies at the successor's name is taken away before it is made: nobody who has it open, or another name of it, has the new file.
#[test]
fn what_lies_where_the_successor_is_made_is_not_used() {
    let (folder, path, mut store) = begun();
    let (next, other) = (beside(&path, ".next"), folder.path().join("other"));
    fs::write(&other, b"another's").unwrap();
    let lay = |how: usize| match how {
        0 => {
            fs::write(&next, b"anything").unwrap();
            fs::set_permissions(&next, fs::Permissions::from_mode(0o666)).unwrap();
        }
        1 => fs::hard_link(&path, &next).unwrap(),
        2 => fs::hard_link(&other, &next).unwrap(),
        3 => symlink(&other, &next).unwrap(),
        _ => symlink(folder.path().join("nowhere"), &next).unwrap(),
    };
    for how in 0..5 {
        lay(how);
        let bytes = [how as u8];
        store.stage(&bytes).unwrap();
        store.promote(None).unwrap();
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert!(metadata.is_file() && metadata.nlink() == 1, "{how}");
        assert_eq!(metadata.mode() & 0o777, 0o600, "{how}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert!(!next.exists() && fs::read(&other).unwrap() == b"another's");
        assert!(is_locked(&path));
    }
    // A beginning, too.
    lay(0);
    fs::rename(&next, folder.path().join("first.next")).unwrap();
    let first = folder.path().join("first");
    let mut store = FileStore::lock(&first).unwrap();
    store.stage(b"first").unwrap();
    store.promote(None).unwrap();
    assert_eq!(fs::metadata(&first).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_others_can_change_or_lock_is_refused() {
    let (_folder, path, store) = begun();
    let mode = fs::metadata(&path).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o600);
    drop(store);
    for mode in [0o602, 0o604, 0o620, 0o666, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            matches!(FileStore::lock(&path), Err(Busy::Mode(shown)) if shown == mode),
            "{mode:o}"
        );
    }
    // Its group may look: so does who compares counters.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    FileStore::lock(&path).unwrap();
}
