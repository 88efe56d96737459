//! Every reason for which a ledger is not opened, made to happen.

use super::disk::Tear;
use super::*;
use crate::replay::Flaw;
use crate::witness::{SLOT_LEN, held};

/// A start of the ledger with two witnesses.
const OPEN: Entry = Entry::Open { witnesses: 2 };

/// A ledger that was used and closed, and what was on all disks before its last program ran.
fn used() -> (World, Vec<Vec<u8>>) {
    used_with(2)
}

fn used_with(witnesses: usize) -> (World, Vec<Vec<u8>>) {
    let mut world = World::with_witnesses(witnesses);
    let mut ledger = world.open().unwrap();
    for _ in 0..5 {
        ledger.draw(us(1_000_000), 900, Purpose::Frame).unwrap();
    }
    ledger.close(us(1_000_000)).unwrap();
    let before = [&world.ledger]
        .into_iter()
        .chain(&world.witnesses)
        .map(Disk::bytes)
        .collect();
    world.moment.since_boot = us(2_000_000);
    let mut ledger = world.open().unwrap();
    for _ in 0..3 {
        ledger.draw(us(2_000_000), 900, Purpose::Frame).unwrap();
    }
    ledger.close(us(2_000_000)).unwrap();
    (world, before)
}

fn refusal(world: &World) -> LedgerError {
    world.open().expect_err("must be refused")
}

fn flaw(world: &World) -> Flaw {
    match refusal(world) {
        LedgerError::Corrupt(corrupt) => corrupt.flaw,
        other => panic!("{other}"),
    }
}

#[test]
fn no_ledger() {
    let (world, _) = used();
    world.ledger.put(None);
    assert_eq!(refusal(&world), LedgerError::Missing);
}

#[test]
fn a_second_beginning() {
    let world = World::new();
    let again = |world: &World| {
        Ledger::init(
            world.store(),
            world.stores(),
            world.moment,
            Some(&KEY),
            &genesis(),
        )
        .unwrap_err()
    };
    assert_eq!(again(&world), LedgerError::Exists);
    // Nor where only the witnesses are left.
    world.ledger.put(None);
    assert_eq!(again(&world), LedgerError::Exists);
    // Nor where anything is that cannot be read as a witness: another ledger's under another key, half of one, any file.
    let mut foreign = SlotWitness::new(Box::new(world.witnesses[1].clone()), Some([8; 32]));
    let head = Head {
        id: [1; 32],
        seq: 1,
        count: 1,
        hash: [1; 32],
    };
    foreign.begin(&head).unwrap();
    let bytes = world.witnesses[1].bytes();
    for there in [
        bytes.clone(),
        bytes[..SLOT_LEN].to_vec(),
        b"a private file\n".to_vec(),
        vec![],
    ] {
        world.witnesses[0].put(None);
        world.witnesses[1].put(Some(there.clone()));
        assert_eq!(again(&world), LedgerError::Exists);
        assert_eq!(world.witnesses[1].bytes(), there, "it was written over");
        assert!(world.witnesses[0].bytes().is_empty(), "it has begun");
    }
}

/// What an order replaces is put aside: it is evidence, or the order named the wrong file.
#[test]
fn what_a_witness_that_is_begun_anew_held_is_kept() {
    let (world, _) = used();
    let there = b"not a witness".to_vec();
    world.witnesses[1].put(Some(there.clone()));
    let order = world.order(Action::Witness(1), 2);
    world.open_with(&[], Some(&order)).unwrap();
    assert_eq!(world.witnesses[1].archives(), [there]);
}

#[test]
fn a_ledger_without_a_total_or_a_witness() {
    let power = Power::default();
    let disk = || Box::new(Disk::new(&power));
    let witnesses = || vec![Box::new(SlotWitness::new(disk(), None)) as Box<dyn Witness + Send>];
    let moment = World::new().moment;
    let mut bad = genesis();
    bad.caps.remove(0);
    let short = Ledger::init(disk(), witnesses(), moment, None, &bad).unwrap_err();
    assert!(matches!(
        short,
        LedgerError::Corrupt(Corrupt {
            flaw: Flaw::Short,
            ..
        })
    ));
    let none = Ledger::init(disk(), vec![], moment, None, &genesis()).unwrap_err();
    assert_eq!(none, LedgerError::NoWitness);
}

#[test]
fn cut_off_at_every_record() {
    let (world, _) = used();
    let whole = world.ledger.bytes();
    // Id, weights, three keys, the weights' size and the total.
    let preamble = 2 + 3 + 2;
    for records in preamble..whole.len() / RECORD_LEN {
        world.ledger.put(Some(whole[..records * RECORD_LEN].to_vec()));
        assert!(
            matches!(refusal(&world), LedgerError::Behind { index: 0, .. }),
            "{records}"
        );
    }
    for records in 0..preamble {
        world.ledger.put(Some(whole[..records * RECORD_LEN].to_vec()));
        assert_eq!(flaw(&world), Flaw::Short, "{records}");
    }
}

#[test]
fn cut_off_within_a_record_that_a_witness_has_seen() {
    let (world, _) = used();
    let whole = world.ledger.bytes();
    for cut in 1..RECORD_LEN {
        world.ledger.put(Some(whole[..whole.len() - cut].to_vec()));
        assert!(matches!(refusal(&world), LedgerError::Behind { .. }));
    }
}

#[test]
fn an_older_copy() {
    let (world, before) = used();
    world.ledger.put(Some(before[0].clone()));
    assert!(matches!(refusal(&world), LedgerError::Behind { index: 0, .. }));
    // And of the witness alone.
    let (world, before) = used();
    world.witnesses[1].put(Some(before[2].clone()));
    assert!(matches!(
        refusal(&world),
        LedgerError::WitnessBehind { index: 1, .. }
    ));
}

#[test]
fn any_byte_changed() {
    let (world, _) = used();
    let whole = world.ledger.bytes();
    for byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x10;
        world.ledger.put(Some(damaged));
        match refusal(&world) {
            LedgerError::Corrupt(Corrupt {
                flaw: Flaw::Hash,
                record,
            }) => assert_eq!(record, (byte / RECORD_LEN) as u64),
            // In the last record it looks like a torn write, but the witnesses have seen it whole.
            LedgerError::Behind { .. } => assert!(byte >= whole.len() - RECORD_LEN),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn records_out_of_order_missing_or_repeated() {
    let (world, _) = used();
    let whole = world.ledger.bytes();
    let record = |number: usize| &whole[number * RECORD_LEN..][..RECORD_LEN];
    let count = whole.len() / RECORD_LEN;
    let put = |order: Vec<usize>| {
        world.ledger.put(Some(
            order.iter().flat_map(|&number| record(number).to_vec()).collect(),
        ));
        flaw(&world)
    };
    for first in 0..count - 2 {
        let mut swapped: Vec<usize> = (0..count).collect();
        swapped.swap(first, first + 1);
        assert_eq!(put(swapped), Flaw::Hash);
        assert_eq!(
            put((0..count).filter(|&number| number != first).collect()),
            Flaw::Hash
        );
        assert_eq!(put((0..=first).chain(first..count).collect()), Flaw::Hash);
    }
}

#[test]
fn another_key() {
    let (mut world, _) = used();
    world.settings.key = None;
    assert_eq!(flaw(&world), Flaw::Hash);
    world.settings.key = Some([8; 32]);
    assert_eq!(flaw(&world), Flaw::Hash);
}

#[test]
fn records_of_the_right_hash_and_the_wrong_content() {
    let (world, _) = used();
    let whole = world.ledger.bytes();
    let chain = replay(&whole, Some(&KEY)).unwrap();
    let forge = |entry: Entry, change: fn(&mut State)| {
        let mut state = chain.state;
        change(&mut state);
        let record = Record {
            entry,
            seq: chain.seq + 1,
            state,
        };
        let (bytes, _) = record.seal(Some(&KEY), &chain.head);
        world.ledger.put(Some([whole.clone(), bytes.to_vec()].concat()));
        flaw(&world)
    };
    let raise = Entry::Cap {
        cap: Cap {
            limit: Limit::Total,
            bits: 1_000_001,
        },
        order: NO_ORDER,
    };
    assert_eq!(forge(OPEN, |state| state.starts += 2), Flaw::Counts);
    assert_eq!(forge(OPEN, |_| {}), Flaw::Counts);
    for witnesses in [0, 1, 3] {
        let other = Entry::Open { witnesses };
        assert_eq!(forge(other, |state| state.starts += 1), Flaw::Place);
    }
    assert_eq!(forge(Entry::Reserve, |_| {}), Flaw::Place);
    assert_eq!(forge(Entry::Close, |_| {}), Flaw::Place);
    assert_eq!(forge(Entry::Past, |_| {}), Flaw::Place);
    assert_eq!(
        forge(
            Entry::Id {
                id: [0; 32],
                witnesses: 2
            },
            |_| {}
        ),
        Flaw::Place
    );
    assert_eq!(forge(raise, |_| {}), Flaw::Counts);
    assert_eq!(forge(raise, |state| state.order += 1), Flaw::Counts);
    // No record that is: a window has a length.
    let no_window = Entry::Cap {
        cap: Cap {
            limit: Limit::Window(0),
            bits: 1,
        },
        order: NO_ORDER,
    };
    assert_eq!(forge(no_window, |_| {}), Flaw::Form);
    let lower = |state: &mut State| state.spent -= 1;
    let open = |change: fn(&mut State)| {
        // A start that takes something back.
        forge(OPEN, change)
    };
    assert_eq!(forge(OPEN, lower), Flaw::Counts);
    assert_eq!(
        open(|state| {
            state.starts += 1;
            state.time -= 1
        }),
        Flaw::Counts
    );
    assert_eq!(
        open(|state| {
            state.starts += 1;
            state.spent = state.reserved + 1
        }),
        Flaw::Counts
    );
    assert_eq!(
        open(|state| {
            state.starts += 1;
            state.order += 1
        }),
        Flaw::Counts
    );
}

#[test]
fn two_histories() {
    // The same ledger, used twice from one state: the disks of the ledger of one, the witnesses of the other.
    let world = World::new();
    let copy = World {
        ledger: Disk::new(&world.power),
        ..world.clone()
    };
    copy.ledger.put(Some(world.ledger.bytes()));
    let mut ledger = world.open().unwrap();
    ledger.draw(us(1_000_000), 1, Purpose::Frame).unwrap();
    // The copy is behind.
    assert!(matches!(refusal(&copy), LedgerError::Behind { .. }));
    // And as long as the other, but different.
    let lone = World {
        witnesses: vec![Disk::new(&world.power), Disk::new(&world.power)],
        ..copy.clone()
    };
    let genesis = replay(&lone.ledger.bytes(), Some(&KEY)).unwrap();
    for mut witness in lone.stores() {
        witness.begin(&genesis.at()).unwrap();
    }
    let mut other = lone.open().unwrap();
    other.draw(us(1_000_000), 2, Purpose::Repeat).unwrap();
    other.close(us(1_000_000)).unwrap();
    ledger.close(us(1_000_000)).unwrap();
    assert!(matches!(refusal(&copy), LedgerError::Forked { index: 0, .. }));
}

#[test]
fn a_witness_that_is_missing_damaged_or_anothers() {
    let (world, _) = used();
    let whole = world.witnesses[1].bytes();
    let missing = LedgerError::WitnessMissing { index: 1 };
    for bytes in [
        None,
        Some(vec![]),
        Some(vec![0; whole.len()]),
        Some(whole[..SLOT_LEN - 1].to_vec()),
    ] {
        world.witnesses[1].put(bytes);
        assert_eq!(refusal(&world), missing);
    }
    let other = World::new();
    let foreign = Genesis {
        id: [1; 32],
        ..genesis()
    };
    let fresh = World {
        ledger: Disk::new(&other.power),
        witnesses: vec![Disk::new(&other.power)],
        ..other
    };
    Ledger::init(fresh.store(), fresh.stores(), fresh.moment, Some(&KEY), &foreign).unwrap();
    world.witnesses[1].put(Some(fresh.witnesses[0].bytes()));
    assert_eq!(refusal(&world), LedgerError::WitnessForeign { index: 1 });
}

/// The later place of a witness is wiped, cut off, or overwritten with the earlier one, and the ledger's last record is cut off:
/// together they would undo a block, and neither takes a key or an older copy.
#[test]
fn a_witness_that_lost_its_later_head_is_not_sound() {
    let (world, _) = used_with(1);
    let (ledger, witness) = (world.ledger.bytes(), world.witnesses[0].bytes());
    world
        .ledger
        .put(Some(ledger[..ledger.len() - RECORD_LEN].to_vec()));
    let (one, other) = witness.split_at(SLOT_LEN);
    let blank = vec![0; SLOT_LEN];
    for bytes in [
        [one, one].concat(),
        [other, other].concat(),
        [one, &blank].concat(),
        [&blank, other].concat(),
        one.to_vec(),
        other.to_vec(),
        [other, one].concat(),
    ] {
        world.witnesses[0].put(Some(bytes));
        assert!(
            matches!(
                refusal(&world),
                LedgerError::WitnessMissing { index: 0 } | LedgerError::Behind { index: 0, .. }
            ),
            "the block is undone"
        );
    }
    // Half a write is what a crash leaves while the witness is told of a record, and then the ledger has that record.
    world.ledger.put(Some(ledger));
    let torn = [[&blank, other].concat(), [one, &blank].concat()];
    let seq = |bytes: &Vec<u8>| held(bytes, Some(&KEY)).head().unwrap().seq;
    world.witnesses[0].put(torn.into_iter().min_by_key(seq));
    world.open().unwrap();
}

#[test]
fn a_lost_witness_is_begun_anew_by_order() {
    let (world, _) = used();
    world.witnesses[1].put(None);
    let wrong = world.order(Action::Witness(0), 2);
    assert_eq!(
        world.open_with(&[], Some(&wrong)).unwrap_err(),
        LedgerError::WitnessMissing { index: 1 }
    );
    let beyond = world.order(Action::Witness(2), 2);
    assert_eq!(
        world.open_with(&[], Some(&beyond)).unwrap_err(),
        LedgerError::Order(OrderError::Subject)
    );
    let order = world.order(Action::Witness(1), 2);
    let spent = world.open_with(&[], Some(&order)).unwrap().state().spent;
    assert_eq!(spent, 8 * 900);
}

/// The number of witnesses is the ledger's: one that is left out could be put back unseen, and one more takes an order.
#[test]
fn all_witnesses_are_named_and_no_others() {
    let (world, _) = used();
    let named = |names: &[usize]| World {
        witnesses: names.iter().map(|&name| world.witnesses[name].clone()).collect(),
        ..world.clone()
    };
    let refused = |named, number| LedgerError::Witnesses { named, number };
    for one in [0, 1] {
        assert_eq!(refusal(&named(&[one])), refused(1, 2));
    }
    assert_eq!(refusal(&named(&[0, 1, 1])), refused(3, 2));
    assert_eq!(refusal(&named(&[])), LedgerError::NoWitness);
    // Over a new segment as well.
    let mut ledger = world.open().unwrap();
    ledger.rotate(us(2_000_000)).unwrap();
    drop(ledger);
    assert_eq!(refusal(&named(&[0])), refused(1, 2));
    // No limit's order helps, nor one for a witness that is not named.
    let cap = Cap {
        limit: Limit::Total,
        bits: 2_000_000,
    };
    let with = |world: &World, order| world.open_with(&[], Some(&order)).map(drop);
    let order = world.order(Action::Cap(cap), 2);
    assert_eq!(with(&named(&[0]), order), Err(refused(1, 2)));
    let order = world.order(Action::Witness(1), 2);
    assert_eq!(with(&named(&[0]), order), Err(OrderError::Subject.into()));
    // A third by order; from then on there are three.
    let mut more = world.clone();
    more.witnesses.push(Disk::new(&world.power));
    let order = world.order(Action::Witness(2), 2);
    with(&more, order).unwrap();
    assert_eq!(refusal(&world), refused(2, 3));
    assert_eq!(more.open().unwrap().chain().witnesses, 3);
}

/// All witnesses are lost at once: an order for each, the first place first. The number stays.
#[test]
fn witnesses_that_are_lost_together_are_begun_anew_one_by_one() {
    let (world, _) = used();
    let spent = replay(&world.ledger.bytes(), Some(&KEY)).unwrap().state.spent;
    world.witnesses.iter().for_each(|witness| witness.put(None));
    let first = World {
        witnesses: world.witnesses[..1].to_vec(),
        ..world.clone()
    };
    drop(
        first
            .open_with(&[], Some(&world.order(Action::Witness(0), 2)))
            .unwrap(),
    );
    let refused = LedgerError::Witnesses { named: 1, number: 2 };
    assert_eq!(refusal(&first), refused);
    assert_eq!(refusal(&world), LedgerError::WitnessMissing { index: 1 });
    drop(
        world
            .open_with(&[], Some(&world.order(Action::Witness(1), 2)))
            .unwrap(),
    );
    assert_eq!(world.open().unwrap().state().spent, spent);
}

/// A ledger in which no record says how many witnesses there are: the first start that counts them does.
#[test]
fn a_ledger_of_before_gets_its_number_of_witnesses() {
    let world = World::new();
    let (bytes, chain) = segment::first(Some(&KEY), world.moment, &genesis(), 0).unwrap();
    world.ledger.put(Some(bytes));
    for witness in &world.witnesses {
        witness.put(None);
    }
    for mut witness in world.stores() {
        witness.begin(&chain.at()).unwrap();
    }
    assert_eq!(chain.witnesses, 0);
    assert_eq!(world.open().unwrap().chain().witnesses, 2);
    let fewer = World {
        witnesses: world.witnesses[..1].to_vec(),
        ..world
    };
    let refused = LedgerError::Witnesses { named: 1, number: 2 };
    assert_eq!(refusal(&fewer), refused);
}

/// A ledger that is an older copy, of which its witness knows: the operators take the witness's count, and no power loss on
/// the way loses it.
#[test]
fn an_older_copy_goes_on_by_order_from_the_witnesss_count() {
    for step in 0.. {
        let (world, before) = used_with(1);
        world.ledger.put(Some(before[0].clone()));
        world.power.fail_after(step);
        let opened = world.open_with(&[], Some(&world.order(Action::Witness(0), 2)));
        let failed = world.power.is_off();
        assert_eq!(opened.is_err(), failed);
        drop(opened);
        for disk in [&world.ledger, &world.witnesses[0]] {
            disk.settle(Tear::Prefix(RECORD_LEN / 2), step % 2 == 0);
        }
        world.power.back();
        // Some of the ways end with a witness that still is ahead; that takes a new order.
        let ledger = match world.open() {
            Ok(ledger) => ledger,
            Err(_) => world
                .open_with(&[], Some(&world.order(Action::Witness(0), 2)))
                .unwrap(),
        };
        assert_eq!(ledger.state().spent, 8 * 900, "step {step}");
        ledger.close(us(2_000_000)).unwrap();
        assert_eq!(world.open().unwrap().state().spent, 8 * 900);
        if !failed {
            break;
        }
    }
}

#[test]
fn a_clock_that_goes_back() {
    let (mut world, _) = used();
    world.moment.since_boot = us(1_999_999);
    assert_eq!(
        refusal(&world),
        LedgerError::ClockWentBack {
            now: 1_999_999,
            last: 2_000_000
        }
    );
}

#[test]
fn too_many_starts() {
    let mut world = World::new();
    world.settings.starts_per_hour = 4;
    // Rotations on the way do not make them forgotten.
    world.settings.segment = 10;
    for start in 0..4 {
        let mut ledger = world.open().unwrap();
        ledger.rotate(world.moment.since_boot).unwrap();
        drop(ledger);
        world.pass(1_000_000 * start);
    }
    assert_eq!(refusal(&world), LedgerError::Restarts { starts: 4 });
    // Setting the wall clock ahead without a boot does not help; time does.
    world.moment.wall += 1_000_000;
    assert_eq!(refusal(&world), LedgerError::Restarts { starts: 4 });
    world.pass(3_700_000_000);
    assert_eq!(world.open().unwrap().state().starts, 5);
}

#[test]
fn a_disk_that_fails_once_is_not_trusted_again() {
    let world = World::new();
    let mut ledger = world.open().unwrap();
    world.power.fail_after(1);
    let why = ledger.draw(us(1_000_000), 1, Purpose::Frame).unwrap_err();
    assert!(matches!(why, LedgerError::Store(_)));
    world.power.back();
    assert_eq!(ledger.draw(us(1_000_000), 1, Purpose::Frame), Err(why));
    assert_eq!(
        ledger.lower(
            us(1_000_000),
            Cap {
                limit: Limit::Total,
                bits: 1
            }
        ),
        Err(why)
    );
    assert_eq!(ledger.rotate(us(1_000_000)), Err(why));
    assert_eq!(ledger.broken(), Some(why));
    assert_eq!(ledger.close(us(1_000_000)), Err(why));
}

#[test]
fn a_charge_above_the_block_is_refused_and_nothing_else() {
    let world = World::new();
    let mut ledger = world.open().unwrap();
    assert_eq!(
        ledger.draw(us(1_000_000), BLOCK + 1, Purpose::Frame),
        Err(LedgerError::AboveBlock {
            bits: BLOCK + 1,
            block: BLOCK
        })
    );
    ledger.draw(us(1_000_000), BLOCK, Purpose::Frame).unwrap();
}
