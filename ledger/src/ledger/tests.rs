use super::*;
use crate::order::{OrderError, public_key};
use crate::witness::SlotWitness;
use disk::{Disk, Power};
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

mod crash;
pub(crate) mod disk;
mod refusals;

/// A moment in microseconds since boot.
pub(crate) const fn us(micros: u64) -> Instant {
    Instant::from_micros(micros)
}

pub(crate) const BLOCK: u64 = 1_000;
pub(crate) const KEY: [u8; 32] = [9; 32];
/// Secrets of three operators, of whom two must sign.
pub(crate) const SECRETS: [[u8; 32]; 3] = [[1; 32], [2; 32], [3; 32]];

/// A ledger and two witnesses, each on a disk of its own, at one mains.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) ledger: Disk,
    pub(crate) witnesses: Vec<Disk>,
    pub(crate) power: Power,
    pub(crate) settings: Settings,
    pub(crate) moment: Moment,
}

pub(crate) fn genesis() -> Genesis {
    Genesis {
        id: [5; 32],
        weights: [6; 32],
        operators: SECRETS.iter().map(public_key).collect(),
        threshold: 2,
        caps: vec![
            Cap {
                limit: Limit::Total,
                bits: 1_000_000,
            },
            Cap {
                limit: Limit::Weights,
                bits: 8_000_000,
            },
            Cap {
                limit: Limit::Window(3_600),
                bits: 500_000,
            },
        ],
        spent: 0,
    }
}

impl World {
    /// A ledger that has just been begun.
    pub(crate) fn new() -> Self {
        Self::with_witnesses(2)
    }

    pub(crate) fn with_witnesses(number: usize) -> Self {
        let power = Power::default();
        let world = Self {
            ledger: Disk::new(&power),
            witnesses: (0..number).map(|_| Disk::new(&power)).collect(),
            power,
            settings: Settings {
                key: Some(KEY),
                block: BLOCK,
                starts_per_hour: 1_000,
                segment: 24,
            },
            moment: Moment {
                boot: 1,
                since_boot: us(1_000_000),
                wall: 1_700_000_000,
            },
        };
        let head = Ledger::init(
            world.store(),
            world.stores(),
            world.moment,
            Some(&KEY),
            &genesis(),
        );
        assert_eq!(head.unwrap().count, 0);
        world
    }

    /// So many microseconds go by.
    pub(crate) fn pass(&mut self, micros: u64) {
        self.moment.since_boot = us(self.moment.since_boot.micros() + micros);
    }

    pub(crate) fn store(&self) -> Box<dyn Store + Send> {
        Box::new(self.ledger.clone())
    }

    pub(crate) fn stores(&self) -> Vec<Box<dyn Witness + Send>> {
        let witness = |disk: &Disk| {
            Box::new(SlotWitness::new(Box::new(disk.clone()), self.settings.key)) as Box<dyn Witness + Send>
        };
        self.witnesses.iter().map(witness).collect()
    }

    pub(crate) fn open(&self) -> Result<Ledger, LedgerError> {
        self.open_with(&[], None)
    }

    pub(crate) fn open_with(
        &self,
        counts: &[u64],
        order: Option<&SignedOrder>,
    ) -> Result<Ledger, LedgerError> {
        Ledger::open(
            self.store(),
            self.stores(),
            self.moment,
            self.settings,
            counts,
            order,
        )
    }

    /// An order as the first `signers` operators sign it.
    pub(crate) fn order(&self, action: Action, signers: usize) -> SignedOrder {
        let chain = replay(&self.ledger.bytes(), Some(&KEY)).unwrap();
        let order = Order {
            action,
            number: chain.state.order + 1,
            expires: self.moment.wall + 1,
            ledger: chain.id,
            head: chain.head,
        };
        let mut signed = order.unsigned();
        for secret in &SECRETS[..signers] {
            signed.sign(secret, &chain.keys).unwrap();
        }
        signed
    }
}

#[test]
fn what_was_charged_is_there_again_after_a_close() {
    let mut world = World::new();
    let mut ledger = world.open().unwrap();
    for purpose in [
        Purpose::Frame,
        Purpose::Repeat,
        Purpose::Handshake,
        Purpose::Frame,
    ] {
        ledger.draw(us(2_000_000), 300, purpose).unwrap();
    }
    ledger.close(us(3_000_000)).unwrap();
    world.moment.since_boot = us(4_000_000);
    let ledger = world.open().unwrap();
    let state = ledger.state();
    assert_eq!(
        (state.spent, state.repeats, state.handshakes, state.datagrams),
        (1_200, 300, 300, 4)
    );
    assert_eq!(state.starts, 2);
    // Opened at 1 s: the ledger's time began there.
    assert_eq!(state.time, 3_000_000);
}

#[test]
fn a_crash_counts_what_was_reserved_and_a_close_does_not() {
    let world = World::new();
    let mut ledger = world.open().unwrap();
    ledger.draw(us(1_000_000), 1, Purpose::Frame).unwrap();
    drop(ledger);
    assert_eq!(world.open().unwrap().state().spent, BLOCK);
}

#[test]
fn most_charges_touch_no_disk() {
    let world = World::new();
    let mut ledger = world.open().unwrap();
    ledger.draw(us(1_000_000), 1, Purpose::Frame).unwrap();
    let before = world.power.steps();
    for _ in 1..BLOCK {
        ledger.draw(us(1_000_000), 1, Purpose::Frame).unwrap();
    }
    assert_eq!(world.power.steps(), before);
    ledger.draw(us(1_000_000), 1, Purpose::Frame).unwrap();
    assert!(world.power.steps() > before);
}

#[test]
fn the_total_is_reached_to_the_bit_and_never_passed() {
    let world = World::new();
    let mut ledger = world.open().unwrap();
    for _ in 0..1_000 {
        ledger.draw(us(1_000_000), 999, Purpose::Frame).unwrap();
    }
    assert_eq!(
        ledger.draw(us(1_000_000), 1_001, Purpose::Frame),
        Err(LedgerError::TotalSpent)
    );
    ledger.draw(us(1_000_000), 1_000, Purpose::Frame).unwrap();
    assert_eq!(
        ledger.draw(us(1_000_000), 1, Purpose::Frame),
        Err(LedgerError::TotalSpent)
    );
    assert_eq!((ledger.state().spent, ledger.broken()), (1_000_000, None));
}

#[test]
fn segments_follow_each_other_and_keep_what_windows_need() {
    let mut world = World::new();
    let mut ledger = world.open().unwrap();
    let mut now = world.moment.since_boot;
    for _ in 0..200 {
        now = us(now.micros() + 20_000_000);
        ledger.draw(now, 900, Purpose::Frame).unwrap();
    }
    let whole: u64 = ledger.state().spent;
    let time = ledger.time(now).micros();
    ledger.close(now).unwrap();
    let archived = world.ledger.archives();
    assert!(archived.len() > 3, "{}", archived.len());
    // Each segment begins where the one before ends.
    let mut before = replay(&archived[0], Some(&KEY)).unwrap();
    for bytes in archived[1..].iter().chain([&world.ledger.bytes()]) {
        let next = replay(bytes, Some(&KEY)).unwrap();
        assert_eq!(next.older, before.head);
        assert_eq!((&next.keys, &next.caps), (&before.keys, &before.caps));
        before = next;
    }
    // What a window of an hour would count from it: at least what left in that hour, and little more.
    let past = &before.past;
    let hour_ago = past
        .iter()
        .rev()
        .find(|state| state.time <= time - 3_600_000_000)
        .unwrap();
    let counted = whole - hour_ago.spent;
    assert!((180 * 900..=188 * 900).contains(&counted), "{counted}");
    world.moment.since_boot = now;
    assert_eq!(world.open().unwrap().state().spent, whole);
}

/// A window of any length counts what is in it, also one that is set only when the segments of that time are long gone.
#[test]
fn windows_of_years_forget_nothing() {
    const DAY: u64 = 86_400_000_000;
    let mut world = World::new();
    world.settings.segment = 16_384;
    let mut ledger = world.open().unwrap();
    for _ in 0..400 {
        ledger.draw(us(2 * DAY), 1_000, Purpose::Frame).unwrap();
    }
    ledger.close(us(3 * DAY)).unwrap();
    let mut carried = 0;
    // Twenty years, a segment for every fifty days.
    for stretch in 1..150 {
        let now = us((3 + stretch * 50) * DAY);
        world.moment.since_boot = now;
        let mut ledger = world.open().unwrap();
        ledger.draw(now, 1_000, Purpose::Frame).unwrap();
        ledger.rotate(now).unwrap();
        ledger.close(now).unwrap();
        let chain = replay(&world.ledger.bytes(), Some(&KEY)).unwrap();
        let spent = (400 + stretch) * 1_000;
        assert_eq!(
            (chain.state.spent, chain.charged_within(u32::MAX)),
            (spent, spent)
        );
        carried = chain.records.len();
    }
    assert!(carried < 200, "{carried} records of a new segment");
    // A window that lasts for two years counts what two years have seen, not a bit less.
    let chain = replay(&world.ledger.bytes(), Some(&KEY)).unwrap();
    let within = chain.charged_within(730 * 86_400);
    assert!((14_000..=20_000).contains(&within), "{within}");
}

#[test]
fn time_goes_on_from_boot_to_boot_only_as_far_as_it_has_passed_for_certain() {
    let last = State {
        time: 1_000,
        boot: 1,
        boot_micros: 50,
        wall: 1_000_000,
        ..State::default()
    };
    let at = |boot, micros, wall| {
        let since_boot = us(micros);
        ledger_time(
            &last,
            Moment {
                boot,
                since_boot,
                wall,
            },
        )
    };
    // The same boot: its own clock, whatever the wall clock says.
    assert_eq!(at(1, 80, 0), Ok(1_030));
    assert_eq!(at(1, 80, u64::MAX), Ok(1_030));
    assert_eq!(
        at(1, 49, 2_000_000),
        Err(LedgerError::ClockWentBack { now: 49, last: 50 })
    );
    // Another one: what has passed since, whether the wall clock says 30 s, was set back, or far ahead.
    for wall in [1_000_030, 5, u64::MAX] {
        assert_eq!(at(2, 10_000_000, wall), Ok(10_001_000));
    }
}

/// Boots in quick succession with a wall clock that is set a day ahead each time: neither starts nor windows get that day.
#[test]
fn boots_do_not_buy_time() {
    let mut world = World::new();
    world.settings.starts_per_hour = 12;
    for boot in 2..14 {
        world.moment = Moment {
            boot,
            since_boot: us(1_000_000),
            wall: world.moment.wall + 86_400,
        };
        let mut ledger = world.open().unwrap();
        ledger.draw(us(2_000_000), 900, Purpose::Frame).unwrap();
        let chain = ledger.chain();
        assert!(chain.state.time < 60_000_000 && chain.charged_within(3_600) == chain.state.spent);
        drop(ledger);
    }
    world.moment.boot = 14;
    assert_eq!(world.open().unwrap_err(), LedgerError::Restarts { starts: 12 });
}

/// An order that has expired stays so, however far the wall clock is set back, and whichever record says what time it is.
#[test]
fn an_expired_order_does_not_come_to_life_again() {
    let mut world = World::new();
    let order = world.order(
        Action::Cap(Cap {
            limit: Limit::Total,
            bits: 2_000_000,
        }),
        2,
    );
    let begun = world.moment;
    let mut ledger = world.open().unwrap();
    // Ninety-seven days go by in one program, which writes what it reserves.
    ledger.draw(us(97 * 86_400_000_000), 1, Purpose::Frame).unwrap();
    drop(ledger);
    for (boot, micros, wall) in [
        (1, 97 * 86_400_000_000, begun.wall),
        (2, 1, begun.wall),
        (3, 1, 0),
    ] {
        let since_boot = us(micros);
        world.moment = Moment {
            boot,
            since_boot,
            wall,
        };
        let refused = world.open_with(&[], Some(&order)).unwrap_err();
        assert_eq!(refused, LedgerError::Order(OrderError::Expired));
        drop(world.open().unwrap());
    }
    assert!(replay(&world.ledger.bytes(), Some(&KEY)).unwrap().state.wall >= begun.wall + 97 * 86_400 - 1);
}

#[test]
fn the_highest_count_wins() {
    let world = World::new();
    let ledger = world.open_with(&[7, 4_321, 5], None).unwrap();
    assert_eq!(ledger.state().spent, 4_321);
    drop(ledger);
    assert_eq!(world.open_with(&[17], None).unwrap().state().spent, 4_321);
}

#[test]
fn limits_fall_freely_and_rise_by_order() {
    let world = World::new();
    let cap = |limit, bits| Cap { limit, bits };
    let mut ledger = world.open().unwrap();
    ledger.lower(us(1_000_000), cap(Limit::Total, 800_000)).unwrap();
    ledger
        .lower(us(1_000_000), cap(Limit::Window(60), 70_000))
        .unwrap();
    assert_eq!(
        ledger.lower(us(1_000_000), cap(Limit::Total, 800_001)),
        Err(LedgerError::Cap)
    );
    assert_eq!(
        ledger.lower(us(1_000_000), cap(Limit::Weights, 1)),
        Err(LedgerError::Cap)
    );
    assert_eq!(ledger.total(), 800_000);
    ledger.close(us(1_000_000)).unwrap();
    let order = world.order(Action::Cap(cap(Limit::Total, 2_000_000)), 2);
    let ledger = world.open_with(&[], Some(&order)).unwrap();
    assert_eq!((ledger.total(), ledger.state().order), (2_000_000, 1));
    drop(ledger);
    // Once.
    assert_eq!(
        world.open_with(&[], Some(&order)).unwrap_err(),
        LedgerError::Order(OrderError::Number { number: 1, last: 1 })
    );
    assert_eq!(world.open().unwrap().total(), 2_000_000);
}
