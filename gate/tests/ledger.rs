//! The gate as a process on a ledger: what it has charged outlives it, however it ends.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lab::Lab;
use told::{configure, log, receipt, refusal};
use weir_ledger::Echo;

mod lab;
mod told;

/// Sends frames of batch 0, one a tick, until `count` have come out or none comes any more.
fn pass(lab: &Lab, count: usize) -> usize {
    let mut buffer = [0; 100];
    (0..count)
        .take_while(|_| {
            lab.inner.send(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
            lab.outer.recv(&mut buffer).is_ok()
        })
        .count()
}

#[test]
fn what_was_charged_outlives_kills_and_ends_with_the_total() {
    let lab = Lab::new(400_000, "tick_ms = 5", "");
    let mut known = 0;
    let mut passed = 0;
    for kill in [true, false, true, false] {
        let mut gate = lab.start();
        let begun = lab.status("spent_bits ");
        // A kill counts a block at most that was not sent; a clean end exactly what was.
        assert!(known <= begun && begun <= known + 40_000, "{known} {begun}");
        let count = pass(&lab, 20);
        assert_eq!(count, 20);
        passed += count as u64;
        known = lab.status("spent_bits ");
        assert!(known >= begun + 20 * 84 * 8);
        if kill {
            gate.kill().unwrap();
        } else {
            let id = gate.id().to_string();
            assert!(Command::new("kill").arg(id).status().unwrap().success());
        }
        assert_eq!(gate.wait().unwrap().success(), !kill);
        assert_eq!(lab.path("gate.sock").exists(), kill);
    }
    // And then to the end.
    let mut gate = lab.start();
    passed += pass(&lab, 1_000) as u64;
    assert!(
        lab.ask("status")
            .unwrap()
            .starts_with("state cut: the budget is spent")
    );
    assert!(passed * 84 * 8 <= 400_000, "{passed} frames");
    gate.kill().unwrap();
    gate.wait().unwrap();
}

#[test]
fn a_ledger_in_use_or_damaged_lets_no_gate_start() {
    let lab = Lab::new(400_000, "tick_ms = 5", "");
    let mut gate = lab.start();
    // Another configuration, the same ledger.
    let text = fs::read_to_string(lab.path("gate.toml")).unwrap();
    let other = text
        .replace("gate.sock", "other.sock")
        .replace(&format!("127.0.0.1:{}", lab.inside), "127.0.0.1:0")
        .replace(&format!("127.0.0.1:{}", lab.outside), "127.0.0.1:0");
    fs::write(lab.path("other.toml"), other).unwrap();
    let (code, said) = refusal(&lab, "other.toml");
    assert_eq!(code, Some(30), "{said}");
    gate.kill().unwrap();
    gate.wait().unwrap();
    let mut bytes = fs::read(lab.path("ledger")).unwrap();
    bytes[200] ^= 1;
    fs::write(lab.path("ledger"), bytes).unwrap();
    let (code, said) = refusal(&lab, "gate.toml");
    assert_eq!(code, Some(13), "{said}");
    fs::remove_file(lab.path("ledger")).unwrap();
    assert_eq!(refusal(&lab, "gate.toml").0, Some(10));
}

#[test]
fn outers_word_is_a_witness_at_the_start() {
    let lab = Lab::new(400_000, "tick_ms = 5", "");
    configure(&lab, "[receipts]\nkey = KEY\nat_start_s = 1\n");
    let says = |ledger, bits| {
        receipt(&Echo {
            ledger,
            number: 1,
            datagrams: 9,
            bits,
        })
    };
    // Silence, a word on another ledger, and one of more than there ever was.
    let cases = [
        (None, 33),
        (Some(says([6; 32], 300_000)), 33),
        (Some(says([7; 32], 400_001)), 34),
    ];
    for (word, code) in cases {
        let mut gate = lab.spawn();
        let mut rounds = 0;
        while gate.try_wait().unwrap().is_none() {
            assert!(rounds < 500, "the gate has started");
            if let Some(word) = &word {
                let _ = lab.outer.send_to(word, ("127.0.0.1", lab.outside));
            }
            std::thread::sleep(Duration::from_millis(20));
            rounds += 1;
        }
        assert_eq!(gate.wait().unwrap().code(), Some(code));
    }
    // A ledger that was put back, say: outer knows better.
    let word = says([7; 32], 300_000);
    let started = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !started.load(Ordering::Relaxed) {
                // What inner says while the gate waits is of no tick.
                let _ = lab.inner.send(&[0, 1, 2, 3, 4, 5, 6, 7]);
                let _ = lab.outer.send_to(&word, ("127.0.0.1", lab.outside));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut gate = lab.start();
        started.store(true, Ordering::Relaxed);
        let spent = lab.status("spent_bits ");
        assert!((300_000..310_000).contains(&spent), "{spent}");
        assert!(lab.ask("status").unwrap().starts_with("state open"));
        let said = log(&lab);
        assert!(
            said.contains("alarm: outer has had more than the ledger reserved"),
            "{said}"
        );
        gate.kill().unwrap();
        gate.wait().unwrap();
    });
}
