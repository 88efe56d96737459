//! Counts that outlive the program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/count.rs"]
#[allow(dead_code)]
mod count;
#[path = "../src/state.rs"]
mod state;

use clock::now;
use count::Total;
use state::State;

/// Bytes on the line that the file speaks for in advance.
const BLOCK: u64 = 1 << 20;

fn total(frames: u64, bytes: u64) -> Total {
    Total {
        frames,
        bytes,
        ..Total::default()
    }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("weir-tap-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_crash_counts_too_much_and_a_clean_end_exactly() {
    let folder = folder("state");
    let path = folder.join("tap");
    let mut state = State::open(&path, true, now()).unwrap();
    state.keep(total(1, 84), now()).unwrap();
    // A crash here.
    drop(state);
    assert_eq!(State::open(&path, false, now()).unwrap().counted().bytes, BLOCK);
    let mut state = State::open(&path, false, now()).unwrap();
    let before = state.counted().bytes;
    assert!(before >= BLOCK);
    state.keep(total(5, before + 3 * BLOCK), now()).unwrap();
    drop(state);
    let mut state = State::open(&path, false, now()).unwrap();
    assert!(state.counted().bytes > before + 3 * BLOCK);
    state.close(total(6, 777)).unwrap();
    drop(state);
    assert_eq!(State::open(&path, false, now()).unwrap().counted(), total(6, 777));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_was_counted_a_second_ago_is_in_the_file() {
    let folder = folder("age");
    let path = folder.join("tap");
    let begun = now();
    let mut state = State::open(&path, true, begun).unwrap();
    let said = || fs::read_to_string(&path).unwrap();
    state.keep(total(1, 84), begun).unwrap();
    assert!(said().starts_with("frames 0\nbytes 0\n"), "{}", said());
    // However steady the traffic is.
    let later = begun + std::time::Duration::from_secs(1);
    state.keep(total(2, 168), later).unwrap();
    assert!(said().starts_with("frames 2\nbytes 168\n"), "{}", said());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn two_states_with_one_stem_do_not_meet_and_two_taps_do() {
    let folder = folder("stem");
    let paths = ["count.x1", "count.x2"].map(|name| folder.join(name));
    let mut states = [0, 1].map(|which| State::open(&paths[which], true, now()).unwrap());
    // Where one writes what takes the file's place, the other does not.
    fs::create_dir(folder.join("count.new")).unwrap();
    for (state, bytes) in states.iter_mut().zip([100, 200]) {
        state.close(total(1, bytes)).unwrap();
    }
    for (path, bytes) in paths.iter().zip([100, 200]) {
        let said = format!("{:#}", State::open(path, false, now()).unwrap_err());
        assert!(said.contains("another tap has it"), "{said}");
        assert!(
            fs::read_to_string(path)
                .unwrap()
                .ends_with(&format!("reserved {bytes}\n"))
        );
    }
    drop(states);
    assert_eq!(
        State::open(&paths[0], false, now()).unwrap().counted(),
        total(1, 100)
    );
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_no_state_is_refused() {
    let folder = folder("bad");
    let path = folder.join("tap");
    for text in [
        "",
        "frames 1\n",
        "frames x\n",
        "frames 1\nframes 1\n",
        "colour 1\n",
    ] {
        fs::write(&path, text).unwrap();
        assert!(State::open(&path, false, now()).is_err(), "{text:?}");
    }
    assert!(State::open(&folder, false, now()).is_err(), "a folder");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn only_a_first_start_begins_at_nothing() {
    let folder = folder("first");
    let path = folder.join("tap");
    let said = |new| format!("{:#}", State::open(&path, new, now()).unwrap_err());
    assert!(said(false).contains("--new"), "{}", said(false));
    assert!(!path.exists());
    assert_eq!(
        State::open(&path, true, now()).unwrap().counted(),
        Total::default()
    );
    assert!(said(true).contains("already"), "{}", said(true));
    // A file that others write says nothing; the mend is said.
    for mode in [0o664, 0o646, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(said(false).contains("chmod go-w"), "{}", said(false));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut state = State::open(&path, false, now()).unwrap();
    // `weir reconcile` reads it, whoever it runs as.
    state.close(Total::default()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o022, 0);
    fs::remove_dir_all(folder).unwrap();
}
