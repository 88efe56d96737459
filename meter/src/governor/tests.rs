use super::*;
use crate::ledger::Cap;
use crate::ledger::tests::{BLOCK, World};
use proptest::prelude::*;
use std::vec::Vec;

/// 84 bytes on the wire and no side bits: 672 bits for any short datagram.
const SHORT: u64 = 672;

fn limits() -> Limits {
    Limits {
        rate: 6_720,
        burst: 10 * SHORT,
        total: 1_000 * SHORT,
        side_bits: 0,
        ..Limits::default()
    }
}

fn governor(limits: Limits) -> Governor {
    Governor::new(0, LinkCost::UdpIpv4, limits).unwrap()
}

fn goes(release: Release) -> bool {
    matches!(release, Release::Go(_))
}

fn refusal(release: Release) -> Refused {
    match release {
        Release::Refuse(refused) => refused,
        other => panic!("{other:?}"),
    }
}

#[test]
fn burst_then_rate() {
    let mut governor = governor(limits());
    for _ in 0..10 {
        assert!(goes(governor.release(0, 10, Purpose::Frame)));
    }
    // 672 bits at 6720 bits per second take exactly 100 ms.
    assert!(matches!(
        governor.release(0, 10, Purpose::Frame),
        Release::At(100_000)
    ));
    assert!(matches!(
        governor.release(99_999, 10, Purpose::Frame),
        Release::At(100_000)
    ));
    assert!(goes(governor.release(100_000, 10, Purpose::Frame)));
    assert!(matches!(
        governor.release(100_000, 10, Purpose::Frame),
        Release::At(200_000)
    ));
    assert_eq!(
        governor.counters().frames,
        Spent {
            datagrams: 11,
            bytes: 110,
            bits: 11 * SHORT
        }
    );
}

#[test]
fn total_is_a_hard_limit_and_soft_warns_before() {
    let mut governor = governor(Limits {
        total: 10 * SHORT,
        ..limits()
    });
    let mut low = Vec::new();
    for _ in 0..10 {
        low.push(governor.is_low());
        assert!(goes(governor.release(0, 0, Purpose::Frame)));
    }
    assert_eq!(low.iter().filter(|&&low| low).count(), 2);
    assert_eq!(
        refusal(governor.release(u64::MAX, 0, Purpose::Frame)),
        Refused::TotalSpent
    );
    assert_eq!(governor.left(), 0);
    assert_eq!(governor.counters().refused, 1);
}

#[test]
fn repeats_and_handshakes_stay_within_their_shares() {
    let limits = Limits {
        burst: 1_000 * SHORT,
        handshake_percent: 2,
        ..limits()
    };
    let mut governor = governor(limits);
    // Shares of the burst: 10 % and 2 %.
    let count = |governor: &mut Governor, now, purpose| {
        (0..1_000)
            .filter(|_| goes(governor.release(now, 0, purpose)))
            .count()
    };
    assert_eq!(count(&mut governor, 0, Purpose::Repeat), 100);
    assert_eq!(count(&mut governor, 0, Purpose::Handshake), 20);
    // Which are also all of their shares of the total.
    assert_eq!(
        refusal(governor.release(u64::MAX, 0, Purpose::Repeat)),
        Refused::RepeatsSpent
    );
    assert_eq!(
        refusal(governor.release(u64::MAX, 0, Purpose::Handshake)),
        Refused::HandshakesSpent
    );
    // Frames still have the rest.
    assert_eq!(count(&mut governor, u64::MAX, Purpose::Frame), 880);
}

#[test]
fn a_share_that_is_empty_for_now_refuses_at_once_and_refills_at_its_rate() {
    let mut governor = governor(Limits {
        burst: 1_000 * SHORT,
        total: 100_000 * SHORT,
        ..limits()
    });
    let count = |governor: &mut Governor, now| {
        let released = (0..200).map(|_| governor.release(now, 0, Purpose::Repeat));
        released
            .filter(|release| matches!(release, Release::Go(_)))
            .count()
    };
    assert_eq!(count(&mut governor, 0), 100);
    assert_eq!(
        refusal(governor.release(0, 0, Purpose::Repeat)),
        Refused::RepeatRate
    );
    // 10 % of 6720 bits per second is one short datagram per second.
    assert_eq!(count(&mut governor, 999_999), 0);
    assert_eq!(count(&mut governor, 1_000_000), 1);
    assert_eq!(count(&mut governor, 6_000_000), 5);
    // Frames did not wait for any of this.
    assert!(goes(governor.release(6_000_000, 0, Purpose::Frame)));
}

#[test]
fn no_share_means_none() {
    let mut governor = governor(Limits {
        repeat_percent: 0,
        handshake_percent: 0,
        ..limits()
    });
    assert_eq!(
        refusal(governor.release(0, 0, Purpose::Repeat)),
        Refused::RepeatsSpent
    );
    assert_eq!(
        refusal(governor.release(0, 0, Purpose::Handshake)),
        Refused::HandshakesSpent
    );
}

#[test]
fn repeats_and_handshakes_have_a_rate_of_their_own() {
    let mut governor = governor(Limits {
        burst: 1_000 * SHORT,
        total: 1 << 50,
        handshake_percent: 2,
        ..limits()
    });
    for (purpose, share, refused) in [
        (Purpose::Repeat, 100, Refused::RepeatRate),
        (Purpose::Handshake, 20, Refused::HandshakeRate),
    ] {
        for _ in 0..share {
            assert!(goes(governor.release(0, 0, purpose)));
        }
        assert_eq!(refusal(governor.release(0, 0, purpose)), refused);
    }
    assert!(goes(governor.release(0, 0, Purpose::Frame)));
}

#[test]
fn sizes_that_can_never_leave_are_refused_by_name() {
    let mut governor = governor(limits());
    assert_eq!(
        refusal(governor.release(0, 1_473, Purpose::Frame)),
        Refused::TooLong { len: 1_473 }
    );
    let bits = 1_538 * 8;
    assert_eq!(
        refusal(governor.release(0, 1_472, Purpose::Frame)),
        Refused::AboveBurst { bits, burst: 6_720 }
    );
}

#[test]
fn extremes_do_not_overflow() {
    let all = Limits {
        rate: u64::MAX,
        burst: u64::MAX,
        total: u64::MAX,
        side_bits: 0,
        ..Limits::default()
    };
    let mut huge = governor(all);
    for now in [0, 1, u64::MAX, u64::MAX, 0] {
        assert!(goes(huge.release(now, 1_472, Purpose::Frame)));
        assert!(goes(huge.release(now, 1_472, Purpose::Repeat)));
    }
    let mut side = governor(Limits {
        side_bits: u64::MAX,
        ..all
    });
    assert_eq!(
        refusal(side.release(0, 0, Purpose::Frame)),
        Refused::TooLong { len: 0 }
    );
    assert!(matches!(
        Governor::new(0, LinkCost::UdpIpv4, Limits { rate: 0, ..all }),
        Err(LimitsError::NoRate)
    ));
    assert!(matches!(
        Governor::new(
            0,
            LinkCost::UdpIpv4,
            Limits {
                soft_percent: 101,
                ..all
            }
        ),
        Err(LimitsError::Percent {
            name: "soft_percent",
            percent: 101
        })
    ));
}

#[test]
fn a_permit_is_for_one_length_and_one_governor() {
    use crate::permit::Mismatch;
    let (mut one, other) = (governor(limits()), governor(limits()));
    let mut permit = || match one.release(0, 10, Purpose::Frame) {
        Release::Go(permit) => permit,
        other => panic!("{other:?}"),
    };
    let (first, second, third) = (permit(), permit(), permit());
    assert_eq!(
        first.redeem(one.id(), 11),
        Err(Mismatch::Length {
            permitted: 10,
            len: 11
        })
    );
    assert_eq!(second.redeem(other.id(), 10), Err(Mismatch::Governor));
    assert_eq!(third.redeem(one.id(), 10), Ok(()));
}

proptest! {
    /// Whatever is asked when: in no stretch of time more than burst + rate * time leaves, never more than the
    /// total, nor more than a share; and a frame that waits until the time it is told may leave then.
    #[test]
    fn limits_hold_for_all_traffic(
        rate in 1_u64..100_000,
        burst in 1_000_u64..100_000,
        total in 1_000_u64..3_000_000,
        asks in prop::collection::vec((0_u64..2_000_000, 0_usize..1_500, 0_u8..3), 1..200),
    ) {
        let limits = Limits { rate, burst, total, ..Limits::default() };
        let mut governor = governor(limits);
        let mut now = 0;
        let mut sent: Vec<(u64, u64)> = Vec::new();
        for (wait, len, purpose) in asks {
            now += wait;
            let purpose = [Purpose::Frame, Purpose::Repeat, Purpose::Handshake][usize::from(purpose)];
            let release = match governor.release(now, len, purpose) {
                Release::At(at) => {
                    prop_assert!(at > now && purpose == Purpose::Frame);
                    prop_assert!(matches!(governor.release(at - 1, len, purpose), Release::At(again) if again == at));
                    now = at;
                    let release = governor.release(now, len, purpose);
                    prop_assert!(matches!(release, Release::Go(_)));
                    release
                }
                release => release,
            };
            if let Release::Go(permit) = release {
                sent.push((now, permit.bits()));
            }
        }
        let counters = governor.counters();
        prop_assert!(counters.bits() <= total);
        prop_assert_eq!(counters.bits(), sent.iter().map(|&(_, bits)| bits).sum::<u64>());
        prop_assert!(counters.repeats.bits <= total / 10);
        prop_assert!(counters.handshakes.bits <= total / 100);
        for (first, &(from, _)) in sent.iter().enumerate() {
            let mut bits = 0;
            for &(at, more) in &sent[first..] {
                bits += u128::from(more);
                let allowed = u128::from(burst) * 1_000_000 + u128::from(rate) * u128::from(at - from);
                prop_assert!(bits * 1_000_000 <= allowed);
            }
        }
    }
}

fn with_spans(limits: Limits, spans: &[Span]) -> Governor {
    Governor::with_ledger(None, 0, LinkCost::UdpIpv4, limits, spans).unwrap()
}

fn alarms(governor: &mut Governor) -> Vec<Alarm> {
    core::iter::from_fn(|| governor.poll_alarm()).collect()
}

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

#[test]
fn a_window_warns_then_stops_and_opens_again_when_it_has_passed() {
    let hour = Span {
        seconds: 3_600,
        bits: 10 * SHORT,
    };
    let mut governor = with_spans(WIDE, &[hour]);
    for number in 0..10 {
        assert!(goes(governor.release(SECOND, 0, Purpose::Frame)), "{number}");
    }
    let low = Alarm::WindowLow {
        seconds: 3_600,
        spent: 8 * SHORT,
        cap: 10 * SHORT,
    };
    let full = Alarm::WindowFull {
        seconds: 3_600,
        spent: 10 * SHORT,
        cap: 10 * SHORT,
    };
    assert_eq!(alarms(&mut governor), [low, full]);
    let Release::At(at) = governor.release(2 * SECOND, 0, Purpose::Frame) else {
        panic!("the window is used up");
    };
    // An hour later, and at most a 64th more.
    assert!((3_600 * SECOND..3_660 * SECOND).contains(&at), "{at}");
    assert_eq!(
        refusal(governor.release(2 * SECOND, 0, Purpose::Repeat)),
        Refused::WindowSpent { seconds: 3_600 }
    );
    assert!(goes(governor.release(at, 0, Purpose::Frame)));
    assert_eq!(alarms(&mut governor), []);
    for _ in 0..9 {
        assert!(goes(governor.release(at, 0, Purpose::Frame)));
    }
    // It happened again, so it is said again.
    assert_eq!(alarms(&mut governor).len(), 2);
}

#[test]
fn of_two_windows_of_one_length_the_stricter_holds_and_all_lengths_hold() {
    let span = |seconds, shorts: u64| Span {
        seconds,
        bits: shorts * SHORT,
    };
    let mut governor = with_spans(WIDE, &[span(60, 9), span(60, 3), span(60, 5), span(3_600, 4)]);
    let count = |governor: &mut Governor, now| {
        (0..20)
            .filter(|_| goes(governor.release(now, 0, Purpose::Frame)))
            .count()
    };
    assert_eq!(count(&mut governor, 0), 3);
    assert_eq!(count(&mut governor, 120 * SECOND), 1);
    assert_eq!(count(&mut governor, 3_700 * SECOND), 3);
}

#[test]
fn repeats_take_a_tenth_of_a_window_and_no_more_whatever_is_configured() {
    let span = Span {
        seconds: 60,
        bits: 100 * SHORT,
    };
    for (percent, expected) in [(100, 10), (10, 10), (4, 4), (0, 0)] {
        let limits = Limits {
            repeat_percent: percent,
            ..WIDE
        };
        let mut governor = with_spans(limits, &[span]);
        let repeats = (0..50)
            .filter(|_| goes(governor.release(0, 0, Purpose::Repeat)))
            .count();
        assert_eq!(repeats, expected, "{percent}");
        if percent > 0 {
            let refused = refusal(governor.release(0, 0, Purpose::Repeat));
            assert_eq!(refused, Refused::WindowSpent { seconds: 60 });
            assert!(!refused.is_final());
        }
        assert!(goes(governor.release(0, 0, Purpose::Frame)));
    }
}

#[test]
fn handshakes_have_an_hour() {
    let mut governor = with_spans(WIDE, &[]);
    let count = |governor: &mut Governor, now| {
        (0..50)
            .filter(|_| goes(governor.release(now, 0, Purpose::Handshake)))
            .count()
    };
    assert_eq!(count(&mut governor, 0), 10);
    assert_eq!(
        refusal(governor.release(0, 0, Purpose::Handshake)),
        Refused::HandshakeHour
    );
    assert_eq!(count(&mut governor, 3_000 * SECOND), 0);
    assert_eq!(count(&mut governor, 3_700 * SECOND), 10);
}

#[test]
fn what_a_window_never_lets_out_is_refused_by_name_and_a_window_has_a_length() {
    let span = Span {
        seconds: 60,
        bits: SHORT - 1,
    };
    let refused = refusal(with_spans(WIDE, &[span]).release(0, 0, Purpose::Frame));
    assert_eq!(
        refused,
        Refused::AboveWindow {
            bits: SHORT,
            seconds: 60,
            cap: SHORT - 1
        }
    );
    assert!(refused.is_final() && !refused.is_end());
    let none = Span { seconds: 0, bits: 1 };
    let error = Governor::with_ledger(None, 0, LinkCost::UdpIpv4, WIDE, &[none]).unwrap_err();
    assert_eq!(error, LimitsError::NoTime);
}

#[test]
fn a_moment_is_charged_for_the_ticks_that_were_let_pass() {
    let limits = Limits {
        tick: 100_000,
        side_bits: 11,
        ..WIDE
    };
    let mut governor = with_spans(limits, &[]);
    let mut charge = |tick: u64| match governor.release(tick * 100_000 + 7, 0, Purpose::Frame) {
        Release::Go(permit) => permit.bits() - SHORT - 11,
        other => panic!("{other:?}"),
    };
    // Elias gamma of the gap and one: the same tick, the next, and after long silences.
    for (tick, bits) in [
        (0, 1),
        (1, 3),
        (1, 1),
        (2, 3),
        (4, 3),
        (7, 5),
        (8, 3),
        (1_008, 19),
        (1_009, 3),
    ] {
        assert_eq!(charge(tick), bits, "tick {tick}");
    }
    let dearest = limits.dearest(LinkCost::UdpIpv4, 0).unwrap();
    assert_eq!(dearest, SHORT + 11 + 127);
    assert_eq!(limits.dearest(LinkCost::UdpIpv4, 1_473), None);
}

#[test]
fn charges_for_moments_are_lengths_of_a_prefix_code() {
    // Kraft: no plan of moments can say more than it is charged.
    let sum: f64 = (0..1_u64 << 20)
        .map(|gap| 0.5_f64.powi(gap_bits(gap) as i32))
        .sum();
    assert!(sum <= 1.0 && sum > 0.999, "{sum}");
    assert_eq!(gap_bits(u64::MAX), 127);
}

#[test]
fn side_bits_are_the_logarithm_of_what_is_left_open() {
    for (choices, bits) in [
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 2),
        (5, 3),
        (1_473, 11),
        (2_048, 11),
        (2_049, 12),
    ] {
        assert_eq!(side_bits(choices), bits, "{choices}");
    }
    assert_eq!(side_bits(u64::MAX), 64);
}

#[test]
fn more_out_than_in_is_an_alarm_and_no_more() {
    let limits = Limits {
        out_per_in: 2,
        burst: 10 * SHORT,
        ..WIDE
    };
    let mut governor = with_spans(limits, &[]);
    let mut now = 0;
    let mut send = |governor: &mut Governor| {
        now += SECOND;
        assert!(goes(governor.release(now, 0, Purpose::Frame)));
    };
    // Twice as much is as it should be.
    for pair in 0..20 {
        governor.received(pair * 2 * SECOND, 0);
        send(&mut governor);
        send(&mut governor);
    }
    assert_eq!(alarms(&mut governor), []);
    send(&mut governor);
    let outward = 41 * SHORT;
    let inward = 20 * SHORT;
    assert_eq!(alarms(&mut governor), [Alarm::Ratio { outward, inward }]);
    send(&mut governor);
    assert_eq!(alarms(&mut governor), []);
}

#[test]
fn the_total_warns_once() {
    let mut governor = governor(Limits {
        total: 10 * SHORT,
        ..limits()
    });
    for _ in 0..9 {
        assert!(goes(governor.release(0, 0, Purpose::Frame)));
    }
    let spent = 8 * SHORT;
    let total = 10 * SHORT;
    assert_eq!(alarms(&mut governor), [Alarm::TotalLow { spent, total }]);
}

fn on(world: &World, limits: Limits, spans: &[Span]) -> Governor {
    let ledger = world.open().unwrap();
    Governor::with_ledger(
        Some(ledger),
        world.moment.micros,
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
    let now = world.moment.micros;
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
    world.moment = crate::ledger::Moment {
        boot: 2,
        micros: 10 * SECOND,
        wall: world.moment.wall + 1_000_000,
    };
    let mut governor = on(&world, WIDE, &[]);
    let Release::At(again) = governor.release(10 * SECOND, 0, Purpose::Frame) else {
        panic!("the hour is used up");
    };
    assert!((3_600 * SECOND..3_700 * SECOND).contains(&again), "{again}");
    assert!(goes(governor.release(again, 0, Purpose::Frame)));
}

#[test]
fn a_crash_uses_windows_up_as_well() {
    let mut world = World::new();
    world.settings.block = 500_000;
    let mut governor = on(&world, WIDE, &[]);
    let now = world.moment.micros;
    assert!(goes(governor.release(now, 0, Purpose::Frame)));
    drop(governor);
    // What was reserved may have left a moment ago.
    let mut governor = on(&world, WIDE, &[]);
    assert!(matches!(governor.release(now, 0, Purpose::Frame), Release::At(_)));
}

#[test]
fn shares_of_the_ledgers_total_hold_over_restarts() {
    let world = World::new();
    let now = world.moment.micros;
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
    let now = world.moment.micros;
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
    let mut governor = Governor::with_ledger(Some(ledger), now, LinkCost::UdpIpv4, WIDE, &[]).unwrap();
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
    let now = world.moment.micros;
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
    let now = world.moment.micros;
    // Frames before the disk fails: with none left of the block, and with some.
    for (frames, handshakes) in [(10, 0), (8, 2), (1, 9)] {
        let mut governor = on(&world, WIDE, &[]);
        let begun = governor.ledger().unwrap().state().spent;
        for _ in 0..frames {
            assert!(goes(governor.release(now, 0, Purpose::Frame)));
        }
        let reserved = governor.ledger().unwrap().state().reserved;
        assert_eq!(reserved, begun + 10 * SHORT);
        world.power.fail_after(0);
        // A block that only this program's memory knows of counts for nothing.
        let mut ledger = governor.ledger.take().unwrap();
        ledger.rotate(now).unwrap_err();
        governor.ledger = Some(ledger);
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
    ledger.lower(world.moment.micros, cap).unwrap();
    let now = world.moment.micros;
    let on_ledger = Governor::with_ledger(Some(ledger), now, LinkCost::UdpIpv4, wide, &[]).unwrap();
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
fn what_waits_says_for_what() {
    let limits = Limits {
        rate: 672,
        burst: 4 * SHORT,
        ..WIDE
    };
    let minute = Span {
        seconds: 60,
        bits: 3 * SHORT,
    };
    let mut governor = with_spans(limits, &[minute]);
    for _ in 0..3 {
        assert!(goes(governor.release(0, 0, Purpose::Frame)));
        assert_eq!(governor.wait(), None);
    }
    assert!(matches!(governor.release(0, 0, Purpose::Frame), Release::At(_)));
    assert_eq!(governor.wait().unwrap().window, Some(60));
    assert!(matches!(
        governor.release(0, 0, Purpose::Repeat),
        Release::Refuse(Refused::WindowSpent { .. })
    ));
    assert!(governor.wait().unwrap().until > 60 * SECOND);
    let mut governor = with_spans(limits, &[]);
    for _ in 0..4 {
        assert!(goes(governor.release(0, 0, Purpose::Frame)));
    }
    assert!(matches!(governor.release(0, 0, Purpose::Frame), Release::At(_)));
    let wait = Wait {
        until: SECOND,
        window: None,
    };
    assert_eq!(governor.wait(), Some(wait));
}

proptest! {
    /// A reserve adds nothing: window and total hold all the same, and whoever asks with handshakes last gets one through.
    #[test]
    fn limits_hold_with_a_reserve(
        reserve in 0_u64..20 * SHORT,
        cap in 40 * SHORT..400 * SHORT,
        asks in prop::collection::vec((0_u64..200_000_000, 0_usize..200, 0_u8..3), 1..300),
    ) {
        let span = Span { seconds: 60, bits: cap };
        let limits = Limits { reserve, total: 5 * cap, handshakes_per_hour: u64::MAX, ..WIDE };
        let mut governor = with_spans(limits, &[span]);
        let mut sent: Vec<(u64, u64)> = Vec::new();
        let mut now = 0;
        for (wait, len, purpose) in asks {
            now += wait;
            let purpose = [Purpose::Frame, Purpose::Repeat, Purpose::Handshake][usize::from(purpose)];
            if let Release::Go(permit) = governor.release(now, len, purpose) {
                sent.push((now, permit.bits()));
            }
        }
        prop_assert!(governor.counters().bits() <= limits.total);
        for (first, &(from, _)) in sent.iter().enumerate() {
            let within = sent[first..].iter().take_while(|&&(at, _)| at - from < 60 * SECOND);
            prop_assert!(within.map(|&(_, bits)| bits).sum::<u64>() <= cap);
        }
        // A minute later frames use up all that they may.
        now += 61 * SECOND;
        let before = governor.counters().bits();
        while goes(governor.release(now, 0, Purpose::Frame)) {}
        if limits.kept(cap) >= SHORT && before + 2 * cap <= limits.total {
            prop_assert!(goes(governor.release(now, 0, Purpose::Handshake)));
        }
    }
}

#[test]
fn a_datagram_above_the_block_is_refused_by_name() {
    let world = World::new();
    let mut governor = on(&world, WIDE, &[]);
    let why = refusal(governor.release(world.moment.micros, 1_000, Purpose::Frame));
    let bits = LinkCost::UdpIpv4.bits(1_000).unwrap();
    let block = BLOCK;
    assert_eq!(why, Refused::Ledger(LedgerError::AboveBlock { bits, block }));
    assert!(goes(governor.release(world.moment.micros, 0, Purpose::Frame)));
}

#[test]
fn the_last_silence_is_charged_so_that_all_patterns_together_are_one_code() {
    const TICK: u64 = 100_000;
    let limits = Limits { tick: TICK, ..WIDE };
    // On each of eight ticks something leaves or not, then the program ends: 256 things to say.
    let sum: f64 = (0..256_u32)
        .map(|pattern| {
            let mut world = World::new();
            let start = world.moment.micros;
            let mut governor = on(&world, limits, &[]);
            governor.prepare(start);
            let mut count = 0;
            for tick in (0..8).filter(|tick| pattern >> tick & 1 == 1) {
                assert!(goes(governor.release(start + tick * TICK, 0, Purpose::Frame)));
                count += 1;
            }
            world.moment.micros += 8 * TICK;
            governor.close(world.moment.micros).unwrap();
            let spent = world.open().unwrap().state().spent;
            0.5_f64.powi((spent - count * SHORT) as i32)
        })
        .sum();
    assert!(sum <= 1.0, "{sum}");
}

#[test]
fn what_is_told_without_a_datagram_is_charged_as_far_as_the_budget_goes() {
    let world = World::new();
    let now = world.moment.micros;
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
    let limits = Limits {
        total: 700,
        ..limits()
    };
    let mut governor = self::governor(limits);
    assert!(goes(governor.release(0, 0, Purpose::Frame)));
    governor.tell(0, &[u64::MAX; 3], 4);
    assert_eq!(governor.counters().bits(), 700);
}
