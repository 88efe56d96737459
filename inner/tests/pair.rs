//! Both ends in one process: what outer decodes is what inner recorded, whatever the link does.

mod common;

use common::{Ask, Faults, ROOM, World, asks, engine, hex, parameters, recorded};
use core::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use weir_codec::Query;
use weir_inner::strong::{Handle, Strong};
use weir_wire::{Budget, Parameters, Shape};

const HOUR: Duration = Duration::from_secs(3600);

fn check(asks: &[Ask], record: &Path) {
    let recorded = recorded(record);
    for ask in asks {
        let name = hex(&ask.query.seed);
        match (ask.end, recorded.get(&name)) {
            // Inner may have coded, or even ended, what outer never saw.
            (Some("lost"), Some(answer)) => assert!(answer.tokens.starts_with(&ask.tokens), "{name}"),
            // Inner was killed in the middle of it, or never heard of it.
            (Some("lost"), None) => {}
            (Some(end), Some(answer)) => {
                assert_eq!((&answer.end[..], &answer.tokens), (end, &ask.tokens), "{name}")
            }
            (end, answer) => panic!("{name}: {end:?} {answer:?}"),
        }
    }
}

/// The answer to a query that is alone in the strong engine.
fn alone(query: &Query, count: usize) -> Vec<u32> {
    let mut engine = engine();
    engine.admit(Handle(0), query).unwrap();
    let mut tokens = Vec::new();
    engine.advance(&[(Handle(0), count)], &mut |_, token| {
        tokens.push(token.unwrap());
        ControlFlow::Continue(())
    });
    tokens
}

#[test]
fn many_queries_over_a_bad_link_come_out_as_they_were_said() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("answers.jsonl");
    let mut world = World::new(parameters(2), 20, asks(90), &record);
    world.faults = Faults {
        lost: 10,
        doubled: 5,
        absent: 0,
    };
    let mut most = 0;
    assert!(world.run_until(HOUR, |world| {
        most = most.max(world.worker.engine().live());
        world.all_over()
    }));
    assert!(most >= 20, "at most {most} queries were live at once");
    check(&world.outer.asks, &record);
    let ends: Vec<_> = world.outer.asks.iter().map(|ask| ask.end.unwrap()).collect();
    for end in ["end", "length", "stop", "cancel"] {
        assert!(ends.contains(&end), "no answer ended by {end}");
    }
    // What is said does not depend on the company: the first queries, asked alone, say the same.
    for ask in &world.outer.asks[..12] {
        assert_eq!(alone(&ask.query, ask.tokens.len()), ask.tokens);
    }
    assert_eq!(world.worker.engine().live(), 0);
}

/// The constant shape, in pieces so short that a segment fills several.
fn constant(batches: u16) -> Parameters {
    Parameters {
        shape: Shape::CONSTANT,
        mtu: 48,
        ..parameters(batches)
    }
}

#[test]
fn pieces_over_a_bad_link_come_out_as_they_were_said() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("answers.jsonl");
    let mut world = World::new(constant(2), 20, asks(60), &record);
    world.faults = Faults {
        lost: 10,
        doubled: 5,
        absent: 20,
    };
    assert!(world.run_until(HOUR, World::all_over));
    check(&world.outer.asks, &record);
    let dropped = world.outer.session.counters();
    assert!(dropped.absent > 5, "{dropped:?}");
    // One session served all of them, and one datagram left on each tick.
    assert!(world.outer.asks.iter().all(|ask| ask.end != Some("lost")));
    for pair in world.left.windows(2) {
        assert_eq!(pair[1].0.micros() - pair[0].0.micros(), 100_000);
    }
    assert_eq!(world.worker.engine().live(), 0);
}

#[test]
fn pieces_begin_anew_with_a_session() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("answers.jsonl");
    let mut world = World::new(constant(1), 16, asks(30), &record);
    let tokens = |world: &World| world.outer.asks.iter().map(|ask| ask.tokens.len()).sum::<usize>();
    assert!(world.run_until(HOUR, |world| tokens(world) > 200));
    let now = world.now;
    world.outer.reopen(now);
    assert!(world.run_until(HOUR, |world| tokens(world) > 800));
    (world.pump, world.worker) = common::inner(world.now, constant(1), &record);
    assert!(world.run_until(HOUR, World::all_over));
    check(&world.outer.asks, &record);
}

#[test]
fn frames_leave_on_ticks_one_of_a_batch_in_ascending_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(parameters(3), 8, asks(40), &folder.path().join("answers.jsonl"));
    assert!(world.run_until(HOUR, World::all_over));
    for pair in world.left.windows(2) {
        assert!(pair[0] < pair[1], "{pair:?}: time first, then the batch");
    }
    for (at, _) in &world.left {
        assert_eq!(at.micros() % 100_000, 0);
    }
}

#[test]
fn a_quick_engine_fills_every_tick_and_a_slow_one_does_not_rest() {
    for (took, ticks_per_frame) in [(20, 1), (90, 1), (150, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let mut long = asks(24);
        long.retain(|ask| ask.query.max_tokens == 240 && ask.query.stop.is_empty());
        let mut world = World::new(parameters(1), 8, long, &folder.path().join("answers.jsonl"));
        world.took = Duration::from_millis(took);
        assert!(world.run_until(HOUR, World::all_over));
        let frames: Vec<_> = world.left.iter().filter(|(_, batch)| *batch == 0).collect();
        let (first, last) = (frames[1].0, frames[frames.len() - 1].0);
        let ticks = (last.micros() - first.micros()) / 100_000;
        let most = ticks_per_frame * (frames.len() as u64 - 2) + 2;
        assert!(
            ticks <= most,
            "{took} ms: {} frames took {ticks} ticks",
            frames.len()
        );
    }
}

#[test]
fn outer_begins_anew_and_so_does_inner() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("answers.jsonl");
    let mut world = World::new(parameters(1), 16, asks(30), &record);
    world.faults = Faults {
        lost: 3,
        doubled: 3,
        absent: 0,
    };
    // Outer is started again in the middle of everything.
    let tokens = |world: &World| world.outer.asks.iter().map(|ask| ask.tokens.len()).sum::<usize>();
    assert!(world.run_until(HOUR, |world| tokens(world) > 200));
    let now = world.now;
    world.outer.reopen(now);
    // Then inner is.
    assert!(world.run_until(HOUR, |world| tokens(world) > 800));
    (world.pump, world.worker) = common::inner(world.now, parameters(1), &record);
    assert!(world.run_until(HOUR, World::all_over));
    check(&world.outer.asks, &record);
    assert!(world.outer.asks.iter().any(|ask| ask.end == Some("lost")));
}

#[test]
fn a_query_that_the_codec_refuses_costs_the_session_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("answers.jsonl");
    let mut bad = asks(20);
    // The wire lets it pass, the codec does not.
    let foreign = 1 << 20;
    bad[10].query.prompt.push(foreign);
    let mut world = World::new(parameters(1), 4, bad, &record);
    let lost = |world: &World| world.outer.asks.iter().any(|ask| ask.end == Some("lost"));
    assert!(world.run_until(HOUR, lost));
    for ask in &mut world.outer.asks {
        ask.query.prompt.retain(|&token| token != foreign);
    }
    assert!(world.run_until(HOUR, World::all_over));
    check(&world.outer.asks, &record);
}

#[test]
fn a_session_that_is_given_up_is_followed_by_one_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("answers.jsonl");
    let mut world = World::new(parameters(1), 4, asks(20), &record);
    let tokens = |world: &World| world.outer.asks.iter().map(|ask| ask.tokens.len()).sum::<usize>();
    assert!(world.run_until(HOUR, |world| tokens(world) > 100));
    // What the governor's final refusal does.
    world.pump.give_up(world.now);
    assert!(world.run_until(HOUR, World::all_over));
    check(&world.outer.asks, &record);
    let ends = |end| world.outer.asks.iter().filter(|ask| ask.end == Some(end)).count();
    assert!(
        ends("lost") > 0 && ends("lost") <= 4,
        "{} of 20 were lost",
        ends("lost")
    );

    world.pump.hold(world.now, Budget::Total, None);
    let now = world.now;
    world.outer.reopen(now);
    let open = |world: &World| world.pump.session().session().is_some();
    assert!(
        !world.run_until(Duration::from_secs(60), open),
        "nothing can leave any more"
    );
}

/// The engine leaves long prompts for its next turns; meanwhile the session keeps the others.
#[test]
fn long_prompts_do_not_pile_up_before_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("answers.jsonl");
    let mut long = asks(100);
    for ask in &mut long {
        ask.query.prompt = (0..350).map(|i| i % common::VOCAB as u32).collect();
    }
    let mut world = World::new(parameters(1), 128, long, &record);
    assert!(world.run_until(HOUR, World::all_over));
    check(&world.outer.asks, &record);
    assert!(
        (ROOM..ROOM + 350).contains(&world.handed_most),
        "{} tokens of prompts were handed on at once",
        world.handed_most
    );
}

/// While the engine is busy, openings give it one order, however many come.
#[test]
fn openings_do_not_pile_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(parameters(1), 4, asks(8), &folder.path().join("answers.jsonl"));
    assert!(world.run_until(HOUR, |world| world.worker.engine().live() > 0));
    while world.pump.poll_order().is_some() {}
    let (now, mut out) = (world.now, Vec::new());
    let mut orders = 0;
    for _ in 0..40 {
        world.outer.reopen(now);
        while world.outer.session.poll_transmit(now, &mut out) {
            let _ = world.pump.recv(now, &out);
        }
        while let Some(order) = world.pump.poll_order() {
            orders += 1;
            if orders == 1 {
                world.worker.order(order).unwrap();
            }
        }
    }
    assert_eq!(orders, 1, "one session is announced, and no message of any");
}
