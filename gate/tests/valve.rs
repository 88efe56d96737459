//! Every rule fires, and no traffic passes the budget.

use proptest::prelude::*;
use weir_gate::{Cut, Dropped, Rules, Valve};
use weir_meter::{Governor, Instant, Limits, LinkCost, Permit};
use weir_wire::{Parameters, Shape};

mod hostile;

fn rules() -> Rules {
    let parameters = Parameters {
        batches: 4,
        mtu: 64,
        ..Parameters::default()
    };
    Rules {
        strikes_max: 5,
        strike_ticks: 3,
        absent_max: 2,
        ..Rules::new(parameters)
    }
}

fn shaped(shape: Shape) -> Rules {
    let mut rules = rules();
    rules.parameters.shape = shape;
    rules
}

fn governor(rules: &Rules, limits: Limits) -> Governor {
    let side_bits = rules.side_bits();
    Governor::new(Instant::ZERO, LinkCost::UdpIpv4, Limits { side_bits, ..limits }).unwrap()
}

fn frame(id: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![0x5a; len];
    frame[0] = id;
    frame
}

/// Ids that leave on a tick.
fn ids(valve: &mut Valve, governor: &mut Governor) -> Result<Vec<u8>, Cut> {
    let mut out = vec![];
    valve.tick(Instant::ZERO, governor, |leaving| {
        out.extend(leaving.map(first_byte))
    })?;
    Ok(out)
}

/// Permits are redeemed by links; here they are only used up.
fn first_byte((_permit, frame): (Permit, &[u8])) -> u8 {
    frame[0]
}

#[test]
fn good_frames_leave_on_the_tick_in_order_and_only_once() {
    let rules = rules();
    let (mut valve, mut governor) = (Valve::new(rules).unwrap(), governor(&rules, Limits::default()));
    for id in [0, 2, 3, 255] {
        assert_eq!(valve.offer(&frame(id, 20)), Ok(()));
    }
    assert_eq!(ids(&mut valve, &mut governor), Ok(vec![0, 2, 3, 255]));
    assert_eq!(ids(&mut valve, &mut governor), Ok(vec![]));
    // The next tick begins anew.
    assert_eq!(valve.offer(&frame(0, 5)), Ok(()));
    assert_eq!(ids(&mut valve, &mut governor), Ok(vec![0]));
    let spent = governor.counters();
    assert_eq!((spent.frames.datagrams, spent.handshakes.datagrams), (4, 1));
}

#[test]
fn each_rule_is_kept() {
    let rules = rules();
    let mut valve = Valve::new(Rules {
        strikes_max: u32::MAX,
        ..rules
    })
    .unwrap();
    assert_eq!(valve.offer(&[]), Err(Dropped::Length));
    assert_eq!(valve.offer(&frame(0, 4)), Err(Dropped::Length));
    assert_eq!(valve.offer(&frame(0, 65)), Err(Dropped::Length));
    for id in [4, 5, 254] {
        assert_eq!(valve.offer(&frame(id, 20)), Err(Dropped::Range));
    }
    assert_eq!(valve.offer(&frame(2, 64)), Ok(()));
    assert_eq!(valve.offer(&frame(2, 64)), Err(Dropped::Second));
    assert_eq!(valve.offer(&frame(1, 64)), Err(Dropped::Order));
    assert_eq!(valve.offer(&frame(255, 64)), Ok(()));
    assert_eq!(valve.offer(&frame(3, 64)), Err(Dropped::Order));
    let counters = *valve.counters();
    assert_eq!(
        (counters.length, counters.range, counters.order, counters.second),
        (3, 3, 2, 1)
    );
    assert_eq!((counters.offered, counters.violations()), (11, 9));
    let mut governor = governor(&rules, Limits::default());
    assert_eq!(ids(&mut valve, &mut governor), Ok(vec![2, 255]));
}

#[test]
fn two_byte_ids_are_read_whole() {
    let mut rules = rules();
    rules.parameters.format.id = weir_wire::IdWidth::Two;
    rules.parameters.batches = 300;
    let mut valve = Valve::new(rules).unwrap();
    let frame = |id: u16| [&id.to_be_bytes()[..], &[7; 10]].concat();
    assert_eq!(valve.offer(&frame(299)), Ok(()));
    assert_eq!(valve.offer(&frame(300)), Err(Dropped::Range));
    assert_eq!(valve.offer(&frame(255)), Err(Dropped::Order));
    assert_eq!(valve.offer(&frame(0xffff)), Ok(()));
}

#[test]
fn a_bounded_queue_is_no_violation() {
    let rules = Rules {
        queue_bytes: 100,
        ..rules()
    };
    let mut valve = Valve::new(rules).unwrap();
    assert_eq!(valve.offer(&frame(0, 64)), Ok(()));
    assert_eq!(valve.offer(&frame(1, 64)), Err(Dropped::Full));
    assert_eq!(valve.offer(&frame(1, 36)), Ok(()));
    assert_eq!((valve.counters().full, valve.counters().violations()), (1, 0));
}

#[test]
fn violations_past_the_threshold_cut_until_an_operator_resumes() {
    let rules = rules();
    let (mut valve, mut governor) = (Valve::new(rules).unwrap(), governor(&rules, Limits::default()));
    // Five in three ticks are borne, again and again.
    for _ in 0..4 {
        for _ in 0..5 {
            assert_eq!(valve.offer(&[]), Err(Dropped::Length));
        }
        for _ in 0..3 {
            assert_eq!(ids(&mut valve, &mut governor), Ok(vec![]));
        }
    }
    assert_eq!(valve.offer(&frame(0, 20)), Ok(()));
    for _ in 0..6 {
        assert_eq!(valve.offer(&[]), Err(Dropped::Length));
    }
    assert_eq!(valve.is_cut(), Some(Cut::Violations));
    // What waited does not leave, and nothing else comes in.
    assert_eq!(ids(&mut valve, &mut governor), Err(Cut::Violations));
    assert_eq!(valve.offer(&frame(0, 20)), Err(Dropped::Cut));
    valve.cut(Cut::Operator);
    assert_eq!(
        ids(&mut valve, &mut governor),
        Err(Cut::Violations),
        "the first reason stays"
    );
    assert_eq!(valve.counters().cut, 2);
    valve.resume();
    assert_eq!(valve.offer(&frame(0, 20)), Ok(()));
    assert_eq!(ids(&mut valve, &mut governor), Ok(vec![0]));
}

#[test]
fn an_operator_cuts() {
    let rules = rules();
    let (mut valve, mut governor) = (Valve::new(rules).unwrap(), governor(&rules, Limits::default()));
    valve.offer(&frame(0, 20)).unwrap();
    valve.cut(Cut::Operator);
    assert_eq!(ids(&mut valve, &mut governor), Err(Cut::Operator));
}

#[test]
fn what_the_budget_does_not_allow_is_dropped_and_counted() {
    let rules = rules();
    let cost = LinkCost::UdpIpv4.bits(20).unwrap() + rules.side_bits();
    // Two frames at once, and then no more for a long time; of the second's share of handshakes there is nothing.
    let limits = Limits {
        rate: 1,
        burst: 2 * cost,
        handshake_percent: 0,
        ..Limits::default()
    };
    let (mut valve, mut governor) = (Valve::new(rules).unwrap(), governor(&rules, limits));
    for id in [0, 1, 2, 255] {
        valve.offer(&frame(id, 20)).unwrap();
    }
    assert_eq!(ids(&mut valve, &mut governor), Ok(vec![0, 1]));
    assert_eq!((valve.counters().rate, valve.counters().refused), (1, 1));
}

#[test]
fn a_spent_total_cuts() {
    let rules = rules();
    let cost = LinkCost::UdpIpv4.bits(20).unwrap() + rules.side_bits();
    let limits = Limits {
        total: 2 * cost + cost / 2,
        ..Limits::default()
    };
    let (mut valve, mut governor) = (Valve::new(rules).unwrap(), governor(&rules, limits));
    for id in [0, 1, 2, 3] {
        valve.offer(&frame(id, 20)).unwrap();
    }
    let mut out = vec![];
    let result = valve.tick(Instant::ZERO, &mut governor, |leaving| {
        out.extend(leaving.map(first_byte))
    });
    // Two still left on that tick.
    assert_eq!((result, out), (Err(Cut::Spent), vec![0, 1]));
    assert_eq!(ids(&mut valve, &mut governor), Err(Cut::Spent));
    assert_eq!((valve.counters().refused, governor.left()), (1, cost / 2));
}

#[test]
fn bucketed_frames_have_the_length_of_a_class() {
    let rules = shaped(Shape::BUCKETED);
    let mut valve = Valve::new(rules).unwrap();
    // 64, 48, 36, 27, 21
    for len in [20, 22, 63] {
        assert_eq!(valve.offer(&frame(0, len)), Err(Dropped::Length), "{len}");
    }
    for (id, len) in [(0, 21), (1, 36), (2, 64)] {
        assert_eq!(valve.offer(&frame(id, len)), Ok(()), "{len}");
    }
}

#[test]
fn constant_has_one_piece_on_every_tick_and_cuts_when_too_many_are_absent() {
    let rules = shaped(Shape::CONSTANT);
    let (mut valve, mut governor) = (Valve::new(rules).unwrap(), governor(&rules, Limits::default()));
    assert_eq!(valve.offer(&frame(0, 63)), Err(Dropped::Length));
    assert_eq!(valve.offer(&frame(1, 64)), Ok(()));
    assert_eq!(valve.offer(&frame(2, 64)), Err(Dropped::Second));
    assert_eq!(ids(&mut valve, &mut governor), Ok(vec![1]));
    for _ in 0..2 {
        let mut out = vec![];
        valve
            .tick(Instant::ZERO, &mut governor, |leaving| {
                out.extend(leaving.map(|(_, frame)| frame.to_vec()));
            })
            .unwrap();
        assert_eq!(out, [[0; 64]]);
    }
    // A control frame is a piece like any other.
    assert_eq!(valve.offer(&frame(255, 64)), Ok(()));
    assert_eq!(ids(&mut valve, &mut governor), Ok(vec![255]));
    for expected in [Ok(vec![0]), Ok(vec![0]), Err(Cut::Absent), Err(Cut::Absent)] {
        assert_eq!(ids(&mut valve, &mut governor), expected);
    }
    assert_eq!((valve.counters().absent, valve.counters().released), (4, 6));
    let bits = LinkCost::UdpIpv4.bits(64).unwrap();
    assert_eq!(
        governor.counters().bits(),
        6 * bits,
        "lengths and moments say nothing"
    );
}

#[test]
fn constant_cuts_when_its_budget_is_spent() {
    let rules = Rules {
        absent_max: 9,
        ..shaped(Shape::CONSTANT)
    };
    let limits = Limits {
        total: LinkCost::UdpIpv4.bits(64).unwrap() * 2,
        ..Limits::default()
    };
    let (mut valve, mut governor) = (Valve::new(rules).unwrap(), governor(&rules, limits));
    for expected in [Ok(vec![0]), Ok(vec![0]), Err(Cut::Spent)] {
        assert_eq!(ids(&mut valve, &mut governor), expected);
    }
}

#[test]
fn no_stretch_has_more_violations_than_are_borne_wherever_it_begins() {
    // (ticks of a stretch, ticks between the two halves of what is too much): within the stretch on whatever tick it begins, and far beyond it.
    for (strike_ticks, apart, cuts) in [(3, 2, true), (3, 3, false), (600, 599, true), (600, 800, false)] {
        for before in 0..10 {
            let rules = Rules {
                strike_ticks,
                ..rules()
            };
            let (mut valve, mut governor) = (Valve::new(rules).unwrap(), governor(&rules, Limits::default()));
            let mut pass =
                |valve: &mut Valve, ticks| (0..ticks).for_each(|_| drop(ids(valve, &mut governor)));
            pass(&mut valve, before * 67);
            valve.stray(3);
            pass(&mut valve, apart);
            valve.stray(3);
            assert_eq!(valve.is_cut().is_some(), cuts, "{strike_ticks} {apart} {before}");
        }
    }
}

#[test]
fn rules_out_of_range_are_named() {
    for (rules, name) in [
        (
            Rules {
                strike_ticks: 0,
                ..rules()
            },
            "rules.strike_ticks",
        ),
        (
            Rules {
                queue_bytes: 63,
                ..rules()
            },
            "rules.queue_bytes",
        ),
        (shaped(Shape(3)), "shape"),
    ] {
        assert_eq!(Valve::new(rules).unwrap_err().name, name);
    }
}

proptest! {
    // 1,000 configurations, each with a hostile inner.
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn no_traffic_passes_the_budget_or_the_rules(bytes in prop::collection::vec(any::<u8>(), 100..20_000)) {
        hostile::run(hostile::Input(&bytes));
    }
}
