//! Whole sessions over faulty links: every single datagram with every fault, restarts at every step, random faults.

use super::*;
use crate::error::{Closed, Dropped, Refusal};
use crate::held::{Budget, Held};
use crate::parameters::{CheckWidth, Format, IdWidth};
use crate::settings::Difference;
use crate::shape::Shape;
use alloc::vec;
use proptest::prelude::*;
use std::println;

const DONE: fn(&Sim) -> bool = Sim::is_done;

fn seconds(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

fn parameters(id: IdWidth, check: CheckWidth, window: u8, batches: u16) -> Parameters {
    let format = Format { id, check };
    Parameters {
        format,
        window,
        batches,
        tick: 20_000,
        ..Parameters::default()
    }
}

fn all_parameters() -> [Parameters; 4] {
    [
        parameters(IdWidth::One, CheckWidth::Four, 4, 2),
        parameters(IdWidth::One, CheckWidth::Two, 4, 1),
        parameters(IdWidth::Two, CheckWidth::Four, 16, 300),
        parameters(IdWidth::Two, CheckWidth::Two, 1, 2),
    ]
}

/// Two queries side by side, a long prompt of several datagrams, a cancel, and one batch more if there is one.
fn script(parameters: Parameters) -> Vec<Job> {
    let last = parameters.batches - 1;
    vec![
        Job::new(0, 1, 3, 95),
        Job::new(0, 2, 2_000, 31),
        Job {
            cancel_after: Some(20),
            ..Job::new(last, 3, 10, 10_000)
        },
        Job::new(last, 4, 1, 1),
    ]
}

fn clean(parameters: Parameters) -> Sim {
    let mut sim = Sim::new(parameters, script(parameters));
    assert!(sim.run_until(seconds(30), DONE));
    sim
}

#[test]
fn a_clean_link_needs_no_repeats_and_one_opening() {
    for parameters in all_parameters() {
        let sim = clean(parameters);
        assert_eq!((sim.report.opened, &sim.report.lost[..]), (1, &[][..]));
        assert_eq!(sim.inner.counters().repeats, 0);
        let dropped = crate::error::Counters {
            received: 0,
            sent: 0,
            repeats: 0,
            ..*sim.outer.counters()
        };
        assert_eq!(dropped, crate::error::Counters::default());
        let frames = sim
            .report
            .egress
            .iter()
            .filter(|(purpose, ..)| *purpose == Purpose::Frame)
            .count();
        assert_eq!(frames + 1, sim.report.egress.len());
    }
}

#[test]
fn when_all_is_said_the_clock_runs_out_of_events() {
    let mut sim = clean(all_parameters()[0]);
    for _ in 0..100 {
        if !sim.advance() {
            return;
        }
    }
    panic!("still talking at {:?}", sim.now);
}

fn faults(index: u64) -> Vec<Fault> {
    let ms = Duration::from_millis;
    let mut faults = vec![
        Fault::Drop,
        Fault::Delay(ms(30)),
        Fault::Delay(ms(3_000)),
        Fault::Double(ms(0)),
        Fault::Double(ms(30)),
        Fault::Double(ms(3_000)),
        Fault::Swap,
    ];
    faults.extend((0..8).map(|bit| Fault::Corrupt(index as u32 * 31 + bit * 5)));
    faults
}

/// Every datagram of the script, in each direction, with every fault: the session survives, all answers are right,
/// and hardly anything is repeated.
#[test]
fn every_datagram_with_every_fault() {
    for parameters in all_parameters() {
        let done = clean(parameters);
        let (inward, egress) = (done.inward.sent(), done.egress.sent());
        for (count, is_inward) in [(inward, true), (egress, false)] {
            for index in 0..count {
                for fault in faults(index) {
                    let mut sim = Sim::new(parameters, script(parameters));
                    let pipe = if is_inward {
                        &mut sim.inward
                    } else {
                        &mut sim.egress
                    };
                    pipe.set_plan(Plan::One(index, fault));
                    let what = (parameters.format, is_inward, index, fault);
                    assert!(sim.run_until(seconds(30), DONE), "{what:?} {:?}", sim.report);
                    assert_eq!(
                        (sim.report.opened, &sim.report.lost[..]),
                        (1, &[][..]),
                        "{what:?}"
                    );
                    assert!(
                        sim.inner.counters().repeats <= 2,
                        "{what:?} {:?}",
                        sim.inner.counters()
                    );
                    assert!(
                        sim.now.since(done.now) < Duration::from_secs(4),
                        "{what:?} took until {:?}",
                        sim.now
                    );
                }
            }
        }
    }
}

/// Kills one end after every step of the script: outer opens again, and every job ends with a right answer.
#[test]
fn restart_of_either_end_at_every_step() {
    let parameters = all_parameters()[0];
    for kill_inner in [true, false] {
        for step in 0.. {
            let mut sim = Sim::new(parameters, script(parameters));
            let mut steps = 0;
            sim.run_until(seconds(30), |sim| {
                steps += 1;
                steps > step || sim.is_done()
            });
            if sim.is_done() {
                println!("{step} steps");
                break;
            }
            if kill_inner {
                sim.restart_inner(Duration::from_millis(500));
            } else {
                sim.restart_outer();
            }
            assert!(
                sim.run_until(seconds(60), DONE),
                "step {step} {:?} {:?}",
                sim.report,
                sim.outer.state()
            );
            assert!(sim.report.opened <= 3, "step {step} {:?}", sim.report);
        }
    }
}

/// The same with late doubles of everything. The quarantine is longer than they are late, or an old opening could give
/// a restarted inner the session that outer is in the middle of. Sessions may be lost more than once, but no wrong
/// token ever comes out.
#[test]
fn restart_of_inner_with_late_doubles() {
    let parameters = all_parameters()[0];
    for step in 0..400 {
        let mut sim = Sim::new(parameters, script(parameters));
        let late = Faults {
            double: 60,
            delay: 10,
            ..Faults::default()
        };
        sim.inward.set_plan(Plan::Random(late, XorShift::new(step)));
        sim.egress
            .set_plan(Plan::Random(late, XorShift::new(step + 1_000)));
        let mut steps = 0;
        sim.run_until(seconds(30), |sim| {
            steps += 1;
            steps > step || sim.is_done()
        });
        sim.restart_inner(Duration::from_millis(500));
        assert!(sim.run_until(seconds(120), DONE), "step {step} {:?}", sim.report);
    }
}

#[test]
fn frames_leave_on_ticks_in_ascending_order_once_per_batch() {
    for (drop, defer) in [(0, 0), (20, 0), (0, 50), (20, 50)] {
        let parameters = parameters(IdWidth::One, CheckWidth::Four, 4, 5);
        let jobs = (0..5)
            .rev()
            .map(|batch| Job::new(batch, batch as u8, 4, 60))
            .collect();
        let mut sim = Sim::new(parameters, jobs);
        let faults = Faults {
            drop,
            ..Faults::default()
        };
        sim.egress = Pipe::random(LATENCY, faults, 5);
        sim.defer(defer, 9);
        assert!(sim.run_until(seconds(60), DONE));
        assert!(sim.report.lost.is_empty());
        assert!(sim.report.egress.is_sorted_by_key(|&(_, tick, id)| (tick, id)));
        let mut turns: Vec<_> = sim
            .report
            .egress
            .iter()
            .map(|&(_, tick, id)| (tick, id))
            .collect();
        turns.dedup();
        assert_eq!(turns.len(), sim.report.egress.len());
        assert_eq!(sim.inner.counters().repeats > 0, drop > 0);
    }
}

#[test]
fn every_disagreement_is_named_on_both_ends() {
    let parameters = Parameters {
        batches: 2,
        ..Parameters::default()
    };
    let hash = [9; 32];
    let format = parameters.format;
    let agreed = agreement();
    let cases = [
        (
            Refusal::Model,
            parameters,
            Agreement {
                model: hash,
                ..agreed
            },
        ),
        (
            Refusal::Tokenizer,
            parameters,
            Agreement {
                tokenizer: hash,
                ..agreed
            },
        ),
        (
            Refusal::Codec,
            parameters,
            Agreement {
                codec: hash,
                ..agreed
            },
        ),
        (
            Refusal::Service,
            parameters,
            Agreement {
                service: hash,
                ..agreed
            },
        ),
        (
            Refusal::IdWidth,
            Parameters {
                format: Format {
                    id: IdWidth::Two,
                    ..format
                },
                ..parameters
            },
            agreed,
        ),
        (
            Refusal::CheckWidth,
            Parameters {
                format: Format {
                    check: CheckWidth::Two,
                    ..format
                },
                ..parameters
            },
            agreed,
        ),
        (
            Refusal::Window,
            Parameters {
                window: 3,
                ..parameters
            },
            agreed,
        ),
        (
            Refusal::Batches,
            Parameters {
                batches: 1,
                ..parameters
            },
            agreed,
        ),
        (
            Refusal::TokensPerTick,
            Parameters {
                tokens_per_tick: 1,
                ..parameters
            },
            agreed,
        ),
        (
            Refusal::Tick,
            Parameters {
                tick: 50_000,
                ..parameters
            },
            agreed,
        ),
        (
            Refusal::Mtu,
            Parameters {
                mtu: 1_000,
                ..parameters
            },
            agreed,
        ),
        (
            Refusal::Shape,
            Parameters {
                shape: Shape::BUCKETED,
                ..parameters
            },
            agreed,
        ),
    ];
    for (refusal, theirs, agreement) in cases {
        let mut inner = InnerConfig::new(parameters, agreed);
        inner.quarantine = Duration::ZERO;
        let mut sim = Sim::with(inner, OuterConfig::new(theirs, agreement), vec![]);
        assert!(
            sim.run_until(seconds(5), |sim| !sim.report.refused.is_empty()),
            "{refusal}"
        );
        assert_eq!(sim.report.refused, [refusal]);
        let session = sim.outer.session();
        let difference = Difference {
            refusal,
            inner: crate::settings::value(refusal, &parameters, &agreed).unwrap(),
            outer: sim.outer.setting(refusal).unwrap(),
        };
        assert!(difference.inner != difference.outer, "{refusal}");
        let refused = InnerEvent::Refused {
            session,
            refusal,
            difference: Some(difference),
        };
        assert_eq!(sim.report.inner_events, [refused]);
        assert_eq!(sim.outer.state(), crate::outer::State::Refused(refusal));
        assert_eq!(sim.inner.session(), None);
        assert!(!sim.advance() || !sim.advance(), "a refusal ends the talk");
    }
    assert!(
        Parameters {
            shape: Shape(3),
            ..parameters
        }
        .validate()
        .is_err()
    );
}

#[test]
fn a_busy_inner_is_asked_again() {
    let parameters = all_parameters()[0];
    let mut sim = Sim::new(parameters, script(parameters));
    sim.inner.set_busy(true);
    assert!(!sim.run_until(seconds(8), DONE));
    assert_eq!(sim.report.opened, 0);
    sim.inner.set_busy(false);
    assert!(sim.run_until(seconds(30), DONE));
    assert_eq!(sim.report.opened, 1);
    assert!(sim.report.refused.is_empty());
}

/// In mid-session, for every state of the jobs: outer hears why within a control interval and two ticks, loses the session at once, and all is
/// answered when it is over.
#[test]
fn what_holds_everything_back_is_told_at_once() {
    for parameters in all_parameters() {
        for moment in 0..12 {
            let mut sim = Sim::new(parameters, script(parameters));
            let at = Instant::from_micros(moment * 17_000);
            sim.run_until(at, |_| false);
            let (from, held_for) = (sim.now, Duration::from_secs(8));
            let was_open = sim.outer.state() == crate::outer::State::Open;
            sim.hold(Budget::Window, Some(from + held_for));
            let told = sim.run_until(from + Duration::from_secs(60), |sim| !sim.report.lost.is_empty());
            assert!(told, "{parameters:?} {moment}");
            let Lost::Held(held) = sim.report.lost[0] else {
                panic!("{:?}", sim.report.lost);
            };
            assert_eq!(held.budget(), Budget::Window);
            let over = sim.now + held.wait().unwrap();
            assert!(
                over >= from + held_for && over <= sim.now + Duration::from_secs(12),
                "{over:?}"
            );
            if was_open {
                // The one before may have left a moment ago.
                assert!(sim.now < from + Duration::from_millis(260), "{:?}", sim.now);
            }
            assert!(
                sim.run_until(from + Duration::from_secs(120), DONE),
                "{:?}",
                sim.report
            );
        }
    }
}

/// However many ask, what is left for answers is used sparingly; and what is said to the session that was open is said first.
#[test]
fn while_all_is_held_answers_are_few() {
    let parameters = all_parameters()[0];
    let mut sim = Sim::new(parameters, script(parameters));
    assert!(sim.run_until(seconds(1), |sim| sim.report.opened == 1));
    let (session, from) = (sim.outer.session(), sim.now);
    sim.hold(Budget::Total, None);
    let mut out = vec![];
    let (mut now, mut said) = (from, vec![]);
    for id in 0..60_000_u64 {
        // Somebody else's openings.
        let mut stranger = OuterSession::new(*sim.outer.config()).unwrap();
        stranger.open(now, id);
        assert!(stranger.poll_transmit(now, &mut out));
        assert_eq!(sim.inner.recv(now, &out), Err(Dropped::Stale));
        while sim.inner.poll_transmit(now, &mut out).is_some() {
            let frame = crate::frame::Frame::new_checked(parameters.format, &out[..]).unwrap();
            said.push(crate::control::Control::parse(parameters.format, &frame).unwrap());
        }
        now = now + Duration::from_millis(1);
    }
    assert_eq!((said.len(), said[0].session), (6, session), "{said:?}");
    let kind = crate::control::Kind::Held(Held::new(Budget::Total, Duration::ZERO));
    assert!(said.iter().all(|control| control.kind == kind));
    assert_eq!(sim.inner.session(), None);
}

#[test]
fn divergence_is_found_at_the_next_acknowledgement_and_the_session_begins_anew() {
    for parameters in all_parameters() {
        for number in 0..6 {
            let mut sim = Sim::new(parameters, script(parameters));
            sim.diverge(0, number);
            assert!(sim.run_until(seconds(60), DONE), "{:?}", sim.report);
            assert_eq!(
                sim.report.lost,
                [Lost::Closed(Closed::Diverged)],
                "frame {number}"
            );
            let session_errors = sim.report.inner_events.iter().filter(|event| {
                matches!(
                    event,
                    InnerEvent::Closed {
                        reason: Dropped::Diverged,
                        ..
                    }
                )
            });
            assert_eq!(session_errors.count(), 1);
        }
    }
}

#[test]
fn silence_is_noticed_and_a_slow_inner_is_not_silent() {
    let parameters = all_parameters()[0];
    let mut sim = Sim::new(parameters, script(parameters));
    assert!(sim.run_until(seconds(30), |sim| sim.report.opened == 1));
    // The way out is cut: after `lost_after` the session is lost, and outer knocks for ever.
    sim.egress.set_plan(Plan::Random(
        Faults {
            drop: 100,
            ..Faults::default()
        },
        XorShift::new(1),
    ));
    let cut = sim.now;
    assert!(sim.run_until(seconds(60), |sim| !sim.report.lost.is_empty()));
    assert_eq!(sim.report.lost, [Lost::Silent]);
    assert!(sim.now.since(cut) <= Duration::from_secs(21));
    sim.egress.set_plan(Plan::Clean);
    assert!(sim.run_until(seconds(200), DONE));

    // Inner answers pings but has no frame to send, for minutes.
    let mut sim = Sim::new(parameters, vec![Job::new(0, 1, 1, 1)]);
    sim.inner_app.stalled = true;
    assert!(!sim.run_until(seconds(180), DONE));
    assert!(sim.report.lost.is_empty());
    sim.inner_app.stalled = false;
    assert!(sim.run_until(seconds(190), DONE));
    // A ping every five seconds or so, each with its answer.
    assert!(sim.report.egress.len() < 60, "{}", sim.report.egress.len());
}

#[test]
fn many_long_prompts_cross_a_small_mtu_with_losses() {
    let parameters = Parameters {
        tick: 20_000,
        ..Parameters::default()
    };
    let mut outer = OuterConfig::new(parameters, agreement());
    outer.inward_mtu = 256;
    let mut inner = InnerConfig::new(parameters, agreement());
    inner.quarantine = Duration::ZERO;
    let jobs = (0..20)
        .map(|seed| Job::new(0, seed, 3_000 + usize::from(seed), 12))
        .collect();
    let mut sim = Sim::with(inner, outer, jobs);
    sim.inward = Pipe::random(
        LATENCY,
        Faults {
            drop: 10,
            swap: 10,
            double: 5,
            ..Faults::default()
        },
        3,
    );
    assert!(sim.run_until(seconds(60), DONE), "{:?}", sim.inner.counters());
    assert!(sim.report.lost.is_empty());
}

#[test]
fn constant_says_something_on_every_tick_and_always_as_much() {
    for batches in [1, 3] {
        let parameters = Parameters {
            shape: Shape::CONSTANT,
            mtu: 200,
            ..parameters(IdWidth::One, CheckWidth::Four, 4, batches)
        };
        let mut sim = clean(parameters);
        let done = sim.report.egress.len();
        for _ in 0..200 {
            sim.advance();
        }
        let report = &sim.report;
        assert_eq!((report.opened, &report.lost[..]), (1, &[][..]));
        assert_eq!(report.egress_bytes, 200 * report.egress.len() as u64);
        let ticks: Vec<u64> = report.egress.iter().map(|&(_, tick, _)| tick).collect();
        assert!(ticks.iter().copied().eq(0..ticks.len() as u64), "one on each");
        // Batches take turns, and when all is said there is nothing but nothing.
        let mut used = [0, batches - 1].into_iter();
        assert!(used.all(|id| report.egress.iter().any(|&(_, _, batch)| batch == id)));
        let idle = |&(purpose, ..): &(Purpose, u64, u16)| purpose == Purpose::Idle;
        assert!(report.egress[done + 20..].iter().all(idle) && report.egress.len() > done + 20);
        // Zeros in the place of a piece are a loss like any other.
        assert_eq!(sim.outer.recv(sim.now, &[0; 200]), Err(Dropped::Absent));
    }
}

fn any_faults() -> impl Strategy<Value = Faults> {
    (0_u8..25, 0_u8..25, 0_u8..25, 0_u8..25, 0_u8..25).prop_map(|(drop, delay, double, swap, corrupt)| {
        Faults {
            drop,
            delay,
            double,
            swap,
            corrupt,
            max_size: 0,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Random faults both ways, at 4-byte checks: every job ends with the right answer.
    #[test]
    fn random_faults_both_ways(
        inward in any_faults(),
        egress in any_faults(),
        seed: u64,
        wide: bool,
        defer in 0_u8..50,
        shape in 0_u8..3,
    ) {
        let parameters = Parameters {
            shape: Shape(shape),
            mtu: 400,
            ..all_parameters()[if wide { 2 } else { 0 }]
        };
        let mut sim = Sim::new(parameters, script(parameters));
        sim.inward = Pipe::random(LATENCY, inward, seed);
        sim.egress = Pipe::random(LATENCY, egress, !seed);
        sim.defer(defer, seed);
        prop_assert!(sim.run_until(seconds(600), DONE), "{:?} {:?}", sim.report, sim.outer.counters());
        prop_assert!(sim.report.lost.is_empty(), "{:?}", sim.report.lost);
    }
}
