//! Outer's receipts against the gate's own count.

use weir_ledger::{Count, Disagreement, Echo, Receipts};

const KEY: [u8; 32] = [7; 32];
const LEDGER: [u8; 32] = [1; 32];

const fn count(datagrams: u64) -> Count {
    Count {
        datagrams,
        bits: datagrams * 800,
    }
}

fn receipt(number: u64, datagrams: u64) -> Vec<u8> {
    let Count { datagrams, bits } = count(datagrams);
    Echo {
        ledger: LEDGER,
        number,
        datagrams,
        bits,
    }
    .seal(&KEY)
    .to_vec()
}

#[test]
fn what_is_on_its_way_is_no_difference() {
    let mut receipts = Receipts::new(KEY, LEDGER, 0);
    assert_eq!(
        receipts.take(&receipt(1, 50), count(1000)),
        Ok(()),
        "sums begin here"
    );
    // Ten left, of which two are under way; then they have come.
    assert_eq!(receipts.take(&receipt(2, 58), count(1010)), Ok(()));
    assert_eq!(receipts.take(&receipt(3, 60), count(1015)), Ok(()));
    assert_eq!(receipts.counters(), [3, 0]);
}

#[test]
fn more_than_the_gate_let_out_is_a_leak() {
    let mut receipts = Receipts::new(KEY, LEDGER, 100);
    receipts.take(&receipt(1, 0), count(0)).unwrap();
    let result = receipts.take(&receipt(2, 11), count(10));
    assert_eq!(
        result,
        Err(Disagreement::More {
            theirs: count(11),
            ours: count(10)
        })
    );
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("received 11 datagrams and 8800 bits")
    );
}

#[test]
fn more_lost_than_is_borne_is_a_difference() {
    let mut receipts = Receipts::new(KEY, LEDGER, 2);
    receipts.take(&receipt(1, 0), count(0)).unwrap();
    receipts.take(&receipt(2, 8), count(10)).unwrap();
    assert_eq!(receipts.take(&receipt(3, 8), count(12)), Ok(()), "two are borne");
    let result = receipts.take(&receipt(4, 9), count(20));
    assert_eq!(
        result,
        Err(Disagreement::Less {
            theirs: count(9),
            ours: count(12)
        })
    );
}

#[test]
fn outer_may_begin_anew() {
    // At 0, or with counts that it has kept, but for some that it lost in a crash.
    for kept in [0, 500] {
        let mut receipts = Receipts::new(KEY, LEDGER, 0);
        receipts.take(&receipt(1, 500), count(500)).unwrap();
        let next = Echo::START;
        assert_eq!(receipts.take(&receipt(next, kept), count(507)), Ok(()));
        assert_eq!(receipts.take(&receipt(next + 1, kept + 3), count(510)), Ok(()));
        assert!(
            receipts.take(&receipt(next + 2, kept + 3), count(511)).is_ok(),
            "one is under way"
        );
        assert!(receipts.take(&receipt(next + 3, kept + 3), count(511)).is_err());
    }
}

#[test]
fn frames_under_way_at_the_first_receipt_are_no_difference() {
    // Six had left when outer said that four had come; then traffic ended.
    let mut receipts = Receipts::new(KEY, LEDGER, 0);
    assert_eq!(receipts.take(&receipt(1, 4), count(6)), Ok(()));
    assert_eq!(receipts.take(&receipt(2, 6), count(6)), Ok(()));
    // Outer begins anew, and five that left after its last word come to its new start.
    assert_eq!(receipts.take(&receipt(Echo::START, 0), count(11)), Ok(()));
    assert_eq!(receipts.take(&receipt(Echo::START + 1, 5), count(11)), Ok(()));
    assert!(
        receipts.take(&receipt(Echo::START + 2, 6), count(11)).is_err(),
        "one more than left"
    );
}

#[test]
fn forged_old_and_foreign_receipts_have_no_effect() {
    let mut receipts = Receipts::new(KEY, LEDGER, 0);
    receipts.take(&receipt(5, 0), count(0)).unwrap();
    let mut forged = receipt(6, 1_000_000);
    forged[45] ^= 1;
    let foreign = Echo {
        ledger: [2; 32],
        number: 6,
        datagrams: 9,
        bits: 9,
    }
    .seal(&KEY);
    for bytes in [&forged[..], &foreign[..], &receipt(5, 9), &[]] {
        assert_eq!(receipts.take(bytes, count(0)), Ok(()));
    }
    assert_eq!(receipts.counters(), [1, 4]);
}
