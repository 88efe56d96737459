//! Real SIGKILLs of a program under load, on a real file system. `WEIR_KILLS` sets how many (40 without it).
//!
//! The parent starts this same program as a child, which opens the ledger, charges as fast as it can, and writes the sum of
//! what it may have sent to a pipe after each charge. The parent kills it at some moment, reads the last sum, and opens the
//! ledger: the count must be at least that sum, and at most one block above for each crash.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use weir_ledger::{
    Cap, Chain, Genesis, Limit, Paths, Settings, WitnessAt, archive, init, moment, open, replay,
};
use weir_meter::Purpose;

const BLOCK: u64 = 5_000;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("--child") => child(&PathBuf::from(std::env::args().nth(2).expect("a folder"))),
        // Lists of tests and other questions of a test runner.
        Some("--list") => {}
        _ => kills(),
    }
    ExitCode::SUCCESS
}

fn settings() -> Settings {
    Settings {
        key: Some([4; 32]),
        block: BLOCK,
        starts_per_hour: u32::MAX,
        segment: 64,
    }
}

fn paths(folder: &Path) -> Paths {
    Paths {
        ledger: folder.join("ledger"),
        witnesses: vec![WitnessAt::File(folder.join("witness"))],
    }
}

fn child(folder: &Path) {
    let mut ledger = open(&paths(folder), moment().unwrap(), settings(), &[], None).unwrap();
    let mut out = std::io::stdout().lock();
    let mut sent = 0_u64;
    for number in 0_u64.. {
        let bits = 100 + number * 7 % 900;
        ledger
            .draw(moment().unwrap().since_boot, bits, Purpose::Frame)
            .unwrap();
        // From here on it may have left.
        sent += bits;
        out.write_all(&sent.to_be_bytes()).unwrap();
        out.flush().unwrap();
    }
}

fn kills() {
    let kills: u64 = std::env::var("WEIR_KILLS").map_or(40, |kills| kills.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    let (paths, settings) = (paths(folder.path()), settings());
    let genesis = Genesis {
        id: [1; 32],
        weights: [2; 32],
        operators: Vec::new(),
        threshold: 0,
        caps: vec![Cap {
            limit: Limit::Total,
            bits: u64::MAX,
        }],
        spent: 0,
    };
    init(&paths, moment().unwrap(), settings.key, &genesis).unwrap();
    let (mut sent, mut surplus, mut rotations) = (0, 0, 0);
    for kill in 0..kills {
        let last = run_and_kill(
            folder.path(),
            Duration::from_micros(3_000 + kill * 7_919 % 60_000),
        );
        sent += last;
        let ledger = open(&paths, moment().unwrap(), settings, &[], None).unwrap();
        let count = ledger.state().spent;
        assert!(count >= sent, "kill {kill}: {count} counted, {sent} sent");
        // What was charged and not yet told when the kill came is a part of the block.
        assert!(
            count <= sent + surplus + BLOCK,
            "kill {kill}: {count} counted, {sent} sent"
        );
        surplus = count - sent;
        ledger.close(moment().unwrap().since_boot).unwrap();
        rotations = whole_chain(&paths.ledger, settings.key.as_ref());
    }
    println!(
        "{kills} kills: {sent} bits sent, {surplus} counted too much in all, {rotations} rotations, chain whole"
    );
    assert!(sent > 0 && (rotations > 0 || kills < 20));
}

/// Starts the load, kills it after `life`, and tells the last sum that it said.
fn run_and_kill(folder: &Path, life: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--child")
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        pipe.read_to_end(&mut said).unwrap();
        said
    });
    std::thread::sleep(life);
    // SIGKILL; an error would mean that the child has ended by itself.
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(status.code().is_none(), "the load ended by itself: {status}");
    let said = reader.join().unwrap();
    let last = said.as_chunks::<8>().0.last();
    last.map_or(0, |sum| u64::from_be_bytes(*sum))
}

/// Verifies all segments from the first one on; how many were archived.
fn whole_chain(path: &Path, key: Option<&[u8; 32]>) -> usize {
    let read = |path: &Path| replay(&std::fs::read(path).unwrap(), key).unwrap();
    let mut chain: Chain = read(path);
    let mut archived = 0;
    while chain.older != [0; 32] {
        let first = chain.seq + 1 - chain.records.len() as u64;
        let before = read(&archive(path, first - 1));
        assert_eq!(before.head, chain.older);
        chain = before;
        archived += 1;
    }
    archived
}
