use super::*;
use crate::ledger::tests::{BLOCK, World, us};
use crate::{Cap, Moment};
use std::vec::Vec;
use weir_meter::{Limits, LinkCost, Wait};

/// 84 bytes on the wire and no side bits: 672 bits for any short datagram.
const SHORT: u64 = 672;

const SECOND: u64 = 1_000_000;

const WIDE: Limits = Limits {
    rate: 1_000_000_000,
    burst: 1_000_000_000,
    total: 1_000_000_000_000,
    repeat_percent: 10,
    handshake_percent: 100,
    soft_percent: 80,
    side_bits: 0,
    tick: 0,
    handshakes_per_hour: 10 * SHORT,
    out_per_in: 0,
    reserve: 0,
};

fn goes(release: Release) -> bool {
    matches!(release, Release::Go(_))
}

fn refusal(release: Release) -> Refused {
    match release {
        Release::Refuse(refused) => refused,
        other => panic!("{other:?}"),
    }
}

fn alarms(governor: &mut Governor) -> Vec<Alarm> {
    core::iter::from_fn(|| governor.poll_alarm()).collect()
}

/// A governor on no ledger.
fn with_spans(limits: Limits, spans: &[Span]) -> Governor {
    Governor::with_account(None, us(0), LinkCost::UdpIpv4, limits, spans).unwrap()
}

fn on(world: &World, limits: Limits, spans: &[Span]) -> Governor {
    let ledger = world.open().unwrap();
    Governor::with_account(
        Some(ledger),
        world.moment.since_boot,
        LinkCost::UdpIpv4,
        limits,
        spans,
    )
    .unwrap()
}

#[test]
fn permits_draw_on_the_ledger_and_its_limits_hold_over_restarts() {
    let mut world = World::new();
    let mut governor = on(&world, WIDE, &[]);
    let now = world.moment.since_boot;
    // The ledger has 500,000 bits for an hour, though nothing else does.
    let mut sent = 0;
    let at = loop {
        match governor.release(now, 0, Purpose::Frame) {
            Release::Go(permit) => sent += permit.bits(),
            Release::At(at) => break at,
            Release::Refuse(why) => panic!("{why}"),
        }
    };
    assert_eq!(sent, 500_000 / SHORT * SHORT);
    assert_eq!(governor.ledger().unwrap().state().spent, sent);
    assert_eq!(governor.spent(), (sent, 1_000_000));
    governor.close(now).unwrap();
    // Another process does not begin the hour anew.
    let mut governor = on(&world, WIDE, &[]);
    assert!(matches!(governor.release(now, 0, Purpose::Frame), Release::At(again) if again >= at));
    governor.close(now).unwrap();
    // Nor another boot, however far the wall clock was set: what has passed since boot is all that is credited.
    world.moment = Moment {
        boot: 2,
        since_boot: us(10 * SECOND),
        wall: world.moment.wall + 1_000_000,
    };
    let mut governor = on(&world, WIDE, &[]);
    let Release::At(again) = governor.release(us(10 * SECOND), 0, Purpose::Frame) else {
        panic!("the hour is used up");
    };
    assert!(
        (us(3_600 * SECOND)..us(3_700 * SECOND)).contains(&again),
        "{again:?}"
    );
    assert!(goes(governor.release(again, 0, Purpose::Frame)));
}

#[test]
fn a_crash_uses_windows_up_as_well() {
    let mut world = World::new();
    world.settings.block = 500_000;
    let mut governor = on(&world, WIDE, &[]);
    let now = world.moment.since_boot;
    assert!(goes(governor.release(now, 0, Purpose::Frame)));
    drop(governor);
    // What was reserved may have left a moment ago.
    let mut governor = on(&world, WIDE, &[]);
    assert!(matches!(governor.release(now, 0, Purpose::Frame), Release::At(_)));
}

#[test]
fn shares_of_the_ledgers_total_hold_over_restarts() {
    let world = World::new();
    let now = world.moment.since_boot;
    let limits = Limits {
        repeat_percent: 1,
        ..WIDE
    };
    let mut repeats = 0;
    for _ in 0..4 {
        let mut governor = on(&world, limits, &[]);
        repeats += (0..10)
            .filter(|_| goes(governor.release(now, 0, Purpose::Repeat)))
            .count() as u64;
        governor.close(now).unwrap();
    }
    // 1 % of the window of 500,000 bits is less than 1 % of the total of 1,000,000.
    assert_eq!(repeats, 5_000 / SHORT);
}

#[test]
fn the_ledgers_total_is_the_end() {
    let world = World::new();
    let now = world.moment.since_boot;
    let mut ledger = world.open().unwrap();
    ledger
        .lower(
            now,
            Cap {
                limit: Limit::Total,
                bits: 2 * SHORT,
            },
        )
        .unwrap();
    let mut governor = Governor::with_account(Some(ledger), now, LinkCost::UdpIpv4, WIDE, &[]).unwrap();
    assert!(goes(governor.release(now, 0, Purpose::Frame)));
    assert!(!governor.is_low());
    assert!(goes(governor.release(now, 0, Purpose::Frame)));
    let why = refusal(governor.release(now, 0, Purpose::Frame));
    assert!(why == Refused::TotalSpent && why.is_end());
    assert!(governor.is_low() && governor.left() == 0);
    let (spent, total) = (2 * SHORT, 2 * SHORT);
    assert_eq!(alarms(&mut governor), [Alarm::TotalLow { spent, total }]);
}

#[test]
fn a_ledger_that_fails_stops_everything_and_says_why() {
    let world = World::new();
    let now = world.moment.since_boot;
    let mut governor = on(&world, WIDE, &[]);
    world.power.fail_after(0);
    let why = refusal(governor.release(now, 0, Purpose::Frame));
    let Refused::Ledger(error) = why else {
        panic!("{why}")
    };
    assert!(why.is_final() && why.is_end());
    assert_eq!(alarms(&mut governor), [Alarm::Ledger(error)]);
    world.power.back();
    assert_eq!(refusal(governor.release(now, 0, Purpose::Frame)), why);
    assert_eq!(governor.counters().bits(), 0);
    assert_eq!(governor.close(now), Err(error));
}

/// What an inner that has lost its disk can still say: no more than was reserved, and nothing but handshakes.
#[test]
fn a_ledger_that_fails_lets_handshakes_out_of_what_is_reserved_on_the_disk() {
    let mut world = World::new();
    world.settings.block = 10 * SHORT;
    let now = world.moment.since_boot;
    // Frames before the disk fails: with none left of the block, and with some.
    for (frames, handshakes) in [(10, 0), (8, 2), (1, 9)] {
        let mut ledger = world.open().unwrap();
        let begun = ledger.state().spent;
        for _ in 0..frames {
            ledger.draw(now, SHORT, Purpose::Frame).unwrap();
        }
        assert_eq!(ledger.state().reserved, begun + 10 * SHORT);
        world.power.fail_after(0);
        // A block that only this program's memory knows of counts for nothing.
        ledger.rotate(now).unwrap_err();
        let mut governor = Governor::with_account(Some(ledger), now, LinkCost::UdpIpv4, WIDE, &[]).unwrap();
        for purpose in [Purpose::Frame, Purpose::Repeat] {
            assert!(refusal(governor.release(now, 0, purpose)).is_end());
        }
        let said = (0..20)
            .filter(|_| goes(governor.release(now, 0, Purpose::Handshake)))
            .count();
        assert_eq!(said, handshakes);
        let spent = governor.ledger().unwrap().state().spent;
        assert_eq!(spent, begun + 10 * SHORT);
        drop(governor);
        world.power.back();
        let governor = on(&world, WIDE, &[]);
        assert!(governor.ledger().unwrap().state().spent >= spent);
        governor.close(now).unwrap();
    }
    // The record of a block is written, but no more than that: it is not known to be on the disk.
    let mut governor = on(&world, WIDE, &[]);
    world.power.fail_after(0);
    assert!(refusal(governor.release(now, 0, Purpose::Frame)).is_end());
    assert!(refusal(governor.release(now, 0, Purpose::Handshake)).is_end());
}

/// Whatever frames and repeats do, one handshake can leave: of a window, of this program's total, of the ledger's.
#[test]
fn a_reserve_is_left_when_frames_have_used_everything_up() {
    let reserve = 3 * SHORT;
    let hour = Span {
        seconds: 3_600,
        bits: 100 * SHORT,
    };
    let own = Limits {
        total: 100 * SHORT,
        reserve,
        ..WIDE
    };
    let wide = Limits { reserve, ..WIDE };
    let world = World::new();
    let mut ledger = world.open().unwrap();
    let cap = Cap {
        limit: Limit::Total,
        bits: 100 * SHORT,
    };
    ledger.lower(world.moment.since_boot, cap).unwrap();
    let now = world.moment.since_boot;
    let on_ledger = Governor::with_account(Some(ledger), now, LinkCost::UdpIpv4, wide, &[]).unwrap();
    for (mut governor, window) in [
        (with_spans(wide, &[hour]), Some(3_600)),
        (with_spans(own, &[]), None),
        (on_ledger, None),
    ] {
        let mut count = |purpose| {
            (0..200)
                .filter(|_| goes(governor.release(now, 0, purpose)))
                .count()
        };
        assert_eq!(count(Purpose::Frame), 97);
        assert_eq!(count(Purpose::Repeat), 0);
        match (window, governor.release(now, 0, Purpose::Frame)) {
            (Some(_), Release::At(until)) => assert_eq!(governor.wait(), Some(Wait { until, window })),
            (None, Release::Refuse(Refused::TotalSpent)) => assert_eq!(governor.wait(), None),
            (_, other) => panic!("{other:?}"),
        }
        let mut count = |purpose| {
            (0..200)
                .filter(|_| goes(governor.release(now, 0, purpose)))
                .count()
        };
        assert_eq!(count(Purpose::Handshake), 3);
        assert_eq!(governor.counters().bits(), 100 * SHORT);
    }
    // A small limit is not eaten up by what is kept of it.
    assert_eq!(
        (wide.kept(16 * SHORT), wide.kept(10), wide.kept(u64::MAX)),
        (SHORT, 0, reserve)
    );
}

#[test]
fn a_datagram_above_the_block_is_refused_by_name() {
    let world = World::new();
    let mut governor = on(&world, WIDE, &[]);
    let why = refusal(governor.release(world.moment.since_boot, 1_000, Purpose::Frame));
    let bits = LinkCost::UdpIpv4.bits(1_000).unwrap();
    let block = BLOCK;
    assert_eq!(why, Refused::AboveBlock { bits, block });
    assert!(why.is_final() && !why.is_end());
    let said = LedgerError::AboveBlock { bits, block };
    assert_eq!(std::format!("{why}"), std::format!("ledger: {said}"));
    assert!(goes(governor.release(world.moment.since_boot, 0, Purpose::Frame)));
}

#[test]
fn the_last_silence_is_charged_so_that_all_patterns_together_are_one_code() {
    const TICK: u64 = 100_000;
    let limits = Limits { tick: TICK, ..WIDE };
    // On each of eight ticks something leaves or not, then the program ends: 256 things to say.
    let sum: f64 = (0..256_u32)
        .map(|pattern| {
            let mut world = World::new();
            let start = world.moment.since_boot;
            let mut governor = on(&world, limits, &[]);
            governor.prepare(start);
            let mut count = 0;
            for tick in (0..8).filter(|tick| pattern >> tick & 1 == 1) {
                assert!(goes(governor.release(
                    us(start.micros() + tick * TICK),
                    0,
                    Purpose::Frame
                )));
                count += 1;
            }
            world.pass(8 * TICK);
            governor.close(world.moment.since_boot).unwrap();
            let spent = world.open().unwrap().state().spent;
            0.5_f64.powi((spent - count * SHORT) as i32)
        })
        .sum();
    assert!(sum <= 1.0, "{sum}");
}

#[test]
fn what_is_told_without_a_datagram_is_charged_as_far_as_the_budget_goes() {
    let world = World::new();
    let now = world.moment.since_boot;
    let mut governor = on(&world, WIDE, &[]);
    // Nothing is reserved yet, and so nothing is there to be charged.
    governor.tell(now, &[0], 4);
    assert_eq!(governor.counters().told, 0);
    governor.prepare(now);
    governor.tell(now, &[6, 0], 4);
    assert_eq!((governor.counters().told, governor.counters().bits()), (10, 10));
    assert_eq!(governor.ledger().unwrap().state().spent, 10);
    assert_eq!(governor.ledger().unwrap().state().datagrams, 0);
    for _ in 0..BLOCK {
        governor.tell(now, &[u64::MAX], 4);
    }
    let state = *governor.ledger().unwrap().state();
    assert_eq!((state.spent, state.reserved), (BLOCK, BLOCK));
    governor.close(now).unwrap();
    assert_eq!(world.open().unwrap().state().spent, BLOCK);
    // Without a ledger the program's own total is the end.
    let limits = Limits { total: 700, ..WIDE };
    let mut governor = with_spans(limits, &[]);
    assert!(goes(governor.release(us(0), 0, Purpose::Frame)));
    governor.tell(us(0), &[u64::MAX; 3], 4);
    assert_eq!(governor.counters().bits(), 700);
}
