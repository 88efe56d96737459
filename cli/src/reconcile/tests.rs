//! What is compared, and how it is read.

use super::*;

const fn count(frames: u64, bytes: u64) -> Count {
    Count {
        frames,
        bytes,
        strange: 0,
    }
}

const fn strange(count: Count, strange: u64) -> Count {
    Count { strange, ..count }
}

fn baseline() -> Baseline {
    let counts = [
        (GATE, count(10, 1000)),
        ("kernel", count(110, 11_000)),
        ("tap", strange(count(0, 0), 2)),
    ];
    Baseline {
        counts: counts.map(|(name, count)| (name.to_owned(), count)).to_vec(),
        charged: None,
    }
}

/// All that is there to see, where the gate has let out 10 to 12 frames since the baseline.
fn seen(kernel: Count, tap: Count) -> Seen {
    let others = [("kernel", kernel), ("tap", strange(tap, 2))];
    Seen {
        gate: [count(20, 2000), count(22, 2200)],
        others: others.map(|(name, count)| Reading { name, count }).to_vec(),
        gone: None,
        charged: None,
    }
}

/// What `compare` says of a kernel and a tap.
fn said(kernel: Count, tap: Count, tolerance: u64) -> String {
    compare(&baseline(), &seen(kernel, tap), tolerance)
        .words
        .join("\n")
}

#[test]
fn between_the_gates_two_answers_all_agree() {
    assert_eq!(said(count(120, 12_000), count(12, 1200), 0), "");
    assert_eq!(said(count(122, 12_200), count(10, 1000), 0), "");
}

#[test]
fn each_difference_is_named() {
    assert!(said(count(123, 12_200), count(10, 1000), 9).contains("kernel has counted 13 frames"));
    assert!(
        said(count(120, 12_201), count(10, 1000), 9).contains("1201 bytes, the gate let out 12 and 1200")
    );
    assert!(
        said(count(120, 12_000), count(9, 1000), 0).contains("tap has counted 9 frames and 1000 bytes only")
    );
    assert_eq!(said(count(120, 12_000), count(9, 900), 1), "", "one may be lost");
    assert!(said(count(109, 11_000), count(10, 1000), 0).contains("kernel: its counters have gone back"));
    let of = |change: fn(&mut Seen)| {
        let mut seen = seen(count(120, 12_000), count(10, 1000));
        change(&mut seen);
        compare(&baseline(), &seen, 0).words.join("\n")
    };
    // Two were there when the baseline was taken.
    assert!(of(|seen| seen.others[1].count.strange = 3).contains("tap: 1 frames that should"));
    assert!(of(|seen| seen.others[1].name = "receipts").contains("receipts: not in the baseline"));
    assert!(of(|seen| seen.gate[0].frames = 9).contains("the gate's counters have gone back"));
    assert!(of(|seen| seen.charged = Some(held(&[]))).contains("the ledger: there was one, or none"));
}

fn held(reserved: &[(&str, u64)]) -> Charged {
    let reserved = reserved.iter().map(|&(name, bits)| (name.to_owned(), bits));
    Charged {
        spent: 0,
        reserved: reserved.collect(),
    }
}

#[test]
fn what_leaves_was_reserved_with_the_ledger_and_every_witness_elsewhere() {
    let baseline = Baseline {
        charged: Some(50_000),
        ..baseline()
    };
    // 1,200 bytes have left by the kernel, as all three say.
    let mut seen = seen(count(122, 12_200), count(12, 1200));
    let mut wrong = |reserved: &[(&str, u64)]| {
        seen.charged = Some(held(reserved));
        compare(&baseline, &seen, 0)
    };
    let enough = 50_000 + 8 * 1200;
    assert!(
        wrong(&[("the ledger", enough), ("witness 0", enough)])
            .words
            .is_empty()
    );
    // A gate that was taken over writes its ledger as it likes; what a witness holds it cannot take back.
    let one = wrong(&[("the ledger", u64::MAX), ("witness 0", enough - 1)]);
    assert_eq!(
        one.words[0],
        "kernel has counted 9600 bits, and witness 0 has 9599 reserved: what leaves is not charged"
    );
    assert!(one.is_lie && one.words.len() == 2, "{one:?}");
    assert!(wrong(&[("the ledger", 49_999)]).is_lie, "it has gone back");
}

#[test]
fn counters_are_read_as_they_are_written() {
    let text = r#"{"nftables": [{"metainfo": {}},
        {"counter": {"family": "netdev", "name": "short", "table": "weir_gate", "packets": 3, "bytes": 150}},
        {"counter": {"family": "netdev", "name": "long", "table": "weir_gate", "packets": 2, "bytes": 200}},
        {"counter": {"family": "netdev", "name": "over", "table": "weir_gate", "packets": 0, "bytes": 0}},
        {"counter": {"family": "netdev", "name": "other", "table": "weir_gate", "packets": 3, "bytes": 1}},
        {"counter": {"family": "inet", "name": "other", "table": "weir_gate", "packets": 2, "bytes": 1}},
        {"counter": {"family": "inet", "name": "other", "table": "another", "packets": 7, "bytes": 1}},
        {"quota": {"family": "inet", "name": "cap", "table": "another", "bytes": 9, "used": 8}},
        {"quota": {"family": "netdev", "name": "cap", "table": "weir_gate", "bytes": 9000, "used": 350}}]}"#;
    let (counted, gone) = kernel(text).unwrap();
    let bytes = 3 * 84 + 200 + 48;
    assert_eq!(counted.count, strange(count(5, bytes), 5));
    let used = 350;
    let frames = 5;
    assert_eq!(gone, Some(Gone { frames, bytes, used }));
    assert!(kernel("{}").unwrap_err().to_string().contains("short"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tap");
    std::fs::write(&path, "frames 5\nbytes 500\ndrops 1\njoined 0\nreserved 9\n").unwrap();
    assert_eq!(tap(&path).unwrap(), (5, 500, 1));
    std::fs::write(&path, "frames 5\n").unwrap();
    assert!(tap(&path).is_err());
}

#[test]
fn a_baseline_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("baseline");
    let missing = format!("{:#}", Baseline::read(&path).unwrap_err());
    assert!(missing.contains("weir reconcile --new"), "{missing}");
    for charged in [None, Some(7)] {
        let baseline = Baseline {
            charged,
            ..baseline()
        };
        baseline.write(&path).unwrap();
        assert_eq!(Baseline::read(&path).unwrap(), baseline);
    }
    for bad in ["gate 1 2\n", "gate 1 2 x\n", "gate\n", "charged 1 2\n"] {
        std::fs::write(&path, bad).unwrap();
        assert!(Baseline::read(&path).is_err(), "{bad}");
    }
}

#[test]
fn what_has_gone_never_falls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept");
    let gone = |frames, bytes, used| Gone { frames, bytes, used };
    assert!(
        Gone::read(&path).is_err() && gone(1, 1, 1).keep(&path).is_err(),
        "it was taken away"
    );
    std::fs::write(&path, "").unwrap();
    assert_eq!(Gone::read(&path).unwrap(), gone(0, 0, 0));
    for (now, kept) in [
        (gone(3, 300, 200), gone(3, 300, 200)),
        (gone(4, 100, 250), gone(4, 300, 250)),
        (gone(0, 0, 0), gone(4, 300, 250)),
    ] {
        now.keep(&path).unwrap();
        assert_eq!(Gone::read(&path).unwrap(), kept);
    }
}
