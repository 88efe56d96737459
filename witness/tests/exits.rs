//! The exit codes of `weir-witness`: those of the table in docs/operations.md.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use weir_ledger::{Exit, Head};
use weir_witness::{Heads, Log};

const KEY: [u8; 32] = [7; 32];

/// Ends with this code, and says these words.
fn ends(folder: &Path, command: &str, code: Exit, words: &str) {
    let mut witness = Command::new(env!("CARGO_BIN_EXE_weir-witness"));
    witness.arg(command).arg("--file").arg(folder.join("heads"));
    if command != "init" {
        witness.arg("--key").arg(folder.join("key"));
    }
    if command == "run" {
        witness.args(["--listen", "udp://127.0.0.1:0"]);
    }
    let done = witness.output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(code.code().into()), "{command}: {said}");
    assert_eq!(said.matches(words).count(), 1, "{command}: {said}");
}

#[test]
fn each_reason_has_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, file) = (folder.path(), folder.path().join("heads"));
    let mode = |file: &Path, mode| fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
    let both = |code, words| ["run", "show"].map(|command| ends(folder, command, code, words));
    fs::write(folder.join("key"), "07".repeat(32)).unwrap();
    mode(&folder.join("key"), 0o600);
    both(Exit::File, "No such file");
    Log::create(&file).unwrap();
    ends(folder, "init", Exit::LedgerExists, "already");

    let mut heads = Heads::new(KEY, 1);
    let (mut log, _) = Log::open(&file, KEY, &mut heads).unwrap();
    both(Exit::Locked, "another process has it open");
    let head = Head {
        id: [1; 32],
        seq: 1,
        count: 1,
        hash: [1; 32],
    };
    for turn in 0..3 {
        log.keep(&head, turn).unwrap();
    }
    drop(log);
    for open in [0o666, 0o660, 0o604] {
        mode(&file, open);
        both(Exit::Mode, "chmod o=,g-w");
    }
    mode(&file, 0o600);
    let mut bytes = fs::read(&file).unwrap();
    bytes[0] ^= 1;
    OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .write_all(&bytes)
        .unwrap();
    both(Exit::Damaged, "is damaged: record 0");
    mode(&folder.join("key"), 0o644);
    both(Exit::Mode, "chmod o=,g-w");
    mode(&folder.join("key"), 0o600);
    fs::write(folder.join("key"), "07").unwrap();
    both(Exit::Key, "not a key");
}
