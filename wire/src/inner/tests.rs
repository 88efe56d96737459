//! Inner's half against a hand-made outer: a test reads as a trace of datagrams.

use super::*;
use crate::inward::Piece;
use crate::parameters::Parameters;
use crate::sim::agreement;
use alloc::vec;
use core::time::Duration;

const SESSION: u64 = 0xabc;

fn parameters() -> Parameters {
    Parameters {
        batches: 3,
        window: 2,
        tick: 10_000,
        ..Parameters::default()
    }
}

fn config() -> InnerConfig {
    InnerConfig {
        quarantine: Duration::ZERO,
        ..InnerConfig::new(parameters(), agreement())
    }
}

fn tick(number: u64) -> Instant {
    Instant::from_micros(number * 10_000)
}

fn says(session: u64, body: Body<'_>) -> Vec<u8> {
    let mut out = vec![];
    Inward {
        format: parameters().format,
        session,
        body,
    }
    .emit(&mut out);
    out
}

fn hello(session: u64) -> Vec<u8> {
    says(
        session,
        Body::Hello(Hello {
            parameters: parameters(),
            agreement: agreement(),
        }),
    )
}

fn ack(batch: u16, ack: u64, digest: u64, missing: u16) -> Vec<u8> {
    says(SESSION, Body::Data(Data::new(batch, ack, digest, missing, &[])))
}

/// What leaves at `now`: purposes and ids.
fn leaves(session: &mut InnerSession, now: Instant) -> Vec<(Purpose, u16)> {
    let mut out = vec![];
    core::iter::from_fn(|| session.poll_transmit(now, &mut out))
        .map(|t| (t.purpose, t.batch))
        .collect()
}

/// An open session; the welcome has left on tick 1.
fn open() -> InnerSession {
    let mut session = InnerSession::new(Instant::ZERO, config()).unwrap();
    assert_eq!(session.recv(tick(0), &hello(SESSION)), Ok(()));
    assert_eq!(
        session.poll_event(),
        Some(InnerEvent::Opened { session: SESSION })
    );
    assert_eq!(leaves(&mut session, tick(0)), []);
    assert_eq!(session.poll_at(), Some(tick(1)));
    assert_eq!(leaves(&mut session, tick(1)), [(Purpose::Control, 255)]);
    session
}

#[test]
fn the_window_opens_with_acknowledgements() {
    let mut session = open();
    assert_eq!(session.submit(tick(1), 0, b"zero", 10), Ok(0));
    assert_eq!(session.submit(tick(1), 0, b"one", 11), Err(Misuse::WindowFull));
    assert_eq!(leaves(&mut session, tick(2)), [(Purpose::Frame, 0)]);
    assert_eq!(session.submit(tick(2), 0, b"one", 11), Ok(1));
    assert_eq!(leaves(&mut session, tick(3)), [(Purpose::Frame, 0)]);
    assert!(!session.can_send(0));
    assert_eq!(session.recv(tick(3), &ack(0, 1, 10, 0)), Ok(()));
    assert!(session.can_send(0));
    assert_eq!(
        (session.acked(0), session.submit(tick(3), 0, b"two", 12)),
        (1, Ok(2))
    );
    // An old acknowledgement, come late, changes nothing.
    assert_eq!(session.recv(tick(3), &ack(0, 0, 0, 0)), Ok(()));
    assert_eq!(session.acked(0), 1);
}

#[test]
fn calls_out_of_turn_are_refused() {
    let mut closed = InnerSession::new(Instant::ZERO, config()).unwrap();
    assert_eq!(closed.submit(tick(0), 0, b"", 0), Err(Misuse::NotOpen));
    assert_eq!(
        (closed.take_in(0), closed.can_send(0), closed.poll_at()),
        (None, false, None)
    );
    let mut session = open();
    assert_eq!(session.submit(tick(1), 3, b"", 0), Err(Misuse::NoSuchBatch));
    let limit = parameters().code_limit();
    let long = vec![1; limit + 1];
    let refused = Err(Misuse::CodeTooLong {
        len: limit + 1,
        limit,
    });
    assert_eq!(session.submit(tick(1), 0, &long, 0), refused);
    let mut padded = vec![1; limit];
    padded.resize(limit + 9, 0);
    assert_eq!(session.submit(tick(1), 0, &padded, 0), Ok(0));
    let bad = InnerConfig {
        parameters: Parameters {
            window: 17,
            ..parameters()
        },
        ..config()
    };
    assert_eq!(InnerSession::new(Instant::ZERO, bad).unwrap_err().name, "window");
}

#[test]
fn repeats_are_made_when_asked_once_within_the_guard() {
    let mut session = open();
    session.submit(tick(1), 0, b"zero", 10).unwrap();
    // Not sent yet: nothing to repeat.
    assert_eq!(session.recv(tick(1), &ack(0, 0, 0, 0b11)), Ok(()));
    assert_eq!(leaves(&mut session, tick(2)), [(Purpose::Frame, 0)]);
    assert_eq!(leaves(&mut session, tick(3)), []);
    for _ in 0..3 {
        assert_eq!(session.recv(tick(3), &ack(0, 0, 0, 1)), Ok(()));
    }
    assert_eq!(leaves(&mut session, tick(4)), [(Purpose::Repeat, 0)]);
    assert_eq!(session.recv(tick(5), &ack(0, 0, 0, 1)), Ok(()));
    assert_eq!(leaves(&mut session, tick(6)), []);
    assert_eq!(session.recv(tick(6), &ack(0, 0, 0, 1)), Ok(()));
    assert_eq!(leaves(&mut session, tick(7)), [(Purpose::Repeat, 0)]);
    assert_eq!(session.recv(tick(9), &ack(0, 1, 10, 0xffff)), Ok(()));
    assert_eq!(leaves(&mut session, tick(10)), []);
    assert_eq!(session.counters().repeats, 2);
}

#[test]
fn a_frame_put_back_leaves_first_when_its_time_has_come() {
    let mut session = open();
    for batch in 0..3 {
        session.submit(tick(1), batch, b"code", 1).unwrap();
    }
    let mut out = vec![];
    let first = session.poll_transmit(tick(2), &mut out).unwrap();
    let second = session.poll_transmit(tick(2), &mut out).unwrap();
    assert_eq!((first.batch, second.batch), (0, 1));
    session.put_back(second, Instant::from_micros(45_000));
    assert!(session.submit(tick(2), 1, b"more", 1).is_err());
    session.submit(tick(2), 0, b"next", 2).unwrap();
    // Neither the batch behind it nor the one before it passes it.
    assert_eq!(leaves(&mut session, tick(2)), []);
    assert_eq!(leaves(&mut session, tick(4)), []);
    assert_eq!(session.poll_at(), Some(tick(5)));
    assert_eq!(
        leaves(&mut session, tick(5)),
        [(Purpose::Frame, 1), (Purpose::Frame, 2)]
    );
    assert_eq!(leaves(&mut session, tick(6)), [(Purpose::Frame, 0)]);
    assert_eq!(session.counters().sent, 5);
}

fn closed_by(datagram: &[u8], reason: Dropped, says: Closed) {
    let mut session = open();
    session.submit(tick(1), 0, b"zero", 10).unwrap();
    assert_eq!(leaves(&mut session, tick(2)), [(Purpose::Frame, 0)]);
    assert_eq!(session.recv(tick(2), datagram), Err(reason));
    assert_eq!(
        session.poll_event(),
        Some(InnerEvent::Closed {
            session: SESSION,
            reason
        })
    );
    assert_eq!((session.session(), session.can_send(0)), (None, false));
    // The first error sticks: whatever comes for this session is answered with it, and not too often.
    assert_eq!(session.recv(tick(3), &ack(0, 0, 0, 0)), Err(Dropped::Foreign));
    let mut out = vec![];
    assert!(
        session.poll_transmit(tick(20), &mut out).is_none(),
        "the control interval has not gone by"
    );
    assert!(session.poll_transmit(tick(21), &mut out).is_some());
    let format = parameters().format;
    let frame = crate::frame::Frame::new_checked(format, &out).unwrap();
    let control = Control {
        kind: Kind::Closed(says),
        session: SESSION,
    };
    assert_eq!(Control::parse(format, &frame), Ok(control));
}

#[test]
fn misbehaviour_and_divergence_close_the_session() {
    let bad = |how| Dropped::Misbehaved(how);
    closed_by(
        &ack(0, 2, 0, 0),
        bad(Misbehaviour::AckBeyondSent),
        Closed::Misbehaved,
    );
    closed_by(
        &ack(1, 1, 0, 0),
        bad(Misbehaviour::AckBeyondSent),
        Closed::Misbehaved,
    );
    closed_by(
        &ack(3, 0, 0, 0),
        bad(Misbehaviour::NoSuchBatch),
        Closed::Misbehaved,
    );
    closed_by(&ack(0, 1, 11, 0), Dropped::Diverged, Closed::Diverged);
    let mut pieces = vec![];
    Piece {
        number: 0,
        total: 1,
        offset: 0,
        bytes: &[99],
    }
    .emit(&mut pieces);
    let nonsense = says(SESSION, Body::Data(Data::new(0, 0, 0, 0, &pieces)));
    closed_by(&nonsense, bad(Misbehaviour::MessageMalformed), Closed::Misbehaved);
}

#[test]
fn old_openings_do_not_bring_old_sessions_back() {
    let mut session = open();
    assert_eq!(session.recv(tick(1), &hello(SESSION)), Err(Dropped::Duplicate));
    assert_eq!(session.recv(tick(2), &hello(SESSION + 1)), Ok(()));
    assert_eq!(
        session.poll_event(),
        Some(InnerEvent::Opened { session: SESSION + 1 })
    );
    assert_eq!(session.recv(tick(3), &hello(SESSION)), Err(Dropped::Stale));
    assert_eq!(session.recv(tick(3), &ack(0, 0, 0, 0)), Err(Dropped::Foreign));
    assert_eq!(session.session(), Some(SESSION + 1));
    assert_eq!(session.poll_event(), None);
}

#[test]
fn a_flood_of_strangers_gets_five_answers_a_second_and_costs_no_memory() {
    let mut session = open();
    let mut answers = 0;
    for step in 0..10_000 {
        let now = Instant::from_micros(20_000 + step * 100);
        let id = SESSION + 1 + step;
        let stranger = says(id, Body::Ping);
        assert_eq!(session.recv(now, &stranger), Err(Dropped::Foreign));
        let other = Parameters {
            tick: 11_000,
            ..parameters()
        };
        let refused = says(
            id,
            Body::Hello(Hello {
                parameters: other,
                agreement: agreement(),
            }),
        );
        assert_eq!(session.recv(now, &refused), Ok(()));
        answers += leaves(&mut session, now).len();
    }
    assert!(answers <= 6, "{answers}");
    assert!(session.events.len() <= EVENTS_MAX);
    assert_eq!(session.session(), Some(SESSION));
}

/// SPEC 6.3: what says why a session was closed waits for its tick, whoever asks meanwhile.
#[test]
fn a_stranger_does_not_push_out_why_a_session_was_closed() {
    let mut session = open();
    // More frames acknowledged than were ever sent.
    let lie = session.recv(tick(1), &ack(0, 9, 0, 0));
    assert_eq!(lie, Err(Dropped::Misbehaved(Misbehaviour::AckBeyondSent)));
    // Its outer asks meanwhile, and that changes nothing.
    for asks in [SESSION + 7, SESSION, SESSION + 8] {
        let ping = says(asks, Body::Ping);
        assert_eq!(session.recv(tick(1), &ping), Err(Dropped::Foreign));
    }
    let (mut out, mut said) = (vec![], None);
    for number in 2..60 {
        if session.poll_transmit(tick(number), &mut out).is_some() {
            let frame = crate::frame::Frame::new_checked(parameters().format, &out).unwrap();
            said = Control::parse(parameters().format, &frame).ok();
            break;
        }
    }
    let closed = Kind::Closed(Closed::Misbehaved);
    assert_eq!(
        said.map(|control| (control.kind, control.session)),
        Some((closed, SESSION))
    );
}

#[test]
fn nothing_is_heard_in_the_quarantine() {
    let mut session = InnerSession::new(tick(0), InnerConfig::new(parameters(), agreement())).unwrap();
    assert_eq!(
        session.recv(Instant::from_micros(999_999), &hello(SESSION)),
        Err(Dropped::Stale)
    );
    assert_eq!(session.poll_at(), None);
    assert_eq!(
        session.recv(Instant::from_micros(1_000_000), &hello(SESSION)),
        Ok(())
    );
}

#[test]
fn another_version_is_refused_in_the_format_that_was_asked() {
    let mut session = InnerSession::new(tick(0), config()).unwrap();
    let format = Format {
        id: crate::IdWidth::Two,
        check: crate::CheckWidth::Two,
    };
    let mut datagram = vec![];
    Inward {
        format,
        session: 5,
        body: Body::HelloOfOtherVersion(2),
    }
    .emit(&mut datagram);
    assert_eq!(session.recv(tick(0), &datagram), Ok(()));
    let mut out = vec![];
    assert!(session.poll_transmit(tick(1), &mut out).is_some());
    let frame = crate::frame::Frame::new_checked(format, &out).unwrap();
    let control = Control {
        kind: Kind::Reply(Err(Refusal::Version)),
        session: 5,
    };
    assert_eq!(Control::parse(format, &frame), Ok(control));
}

#[test]
fn bucketed_frames_have_the_length_of_their_class() {
    let shaped = Parameters {
        shape: Shape::BUCKETED,
        ..parameters()
    };
    let mut session = InnerSession::new(
        Instant::ZERO,
        InnerConfig {
            parameters: shaped,
            ..config()
        },
    )
    .unwrap();
    let hello = Body::Hello(Hello {
        parameters: shaped,
        agreement: agreement(),
    });
    assert_eq!(session.recv(tick(0), &says(SESSION, hello)), Ok(()));
    let mut out = vec![];
    assert!(session.poll_transmit(tick(1), &mut out).is_some());
    assert_eq!(out.len(), 21, "a control frame");
    for (batch, len, padded) in [(0, 0, 21), (1, 17, 27), (2, 1467, 1472)] {
        assert_eq!(session.submit(tick(1), batch, &vec![7; len], 0), Ok(0));
        assert!(session.poll_transmit(tick(2), &mut out).is_some());
        assert_eq!(
            (out.len(), out[5..].iter().filter(|&&byte| byte != 0).count()),
            (padded, len)
        );
    }
}

#[test]
fn a_gate_says_when_ticks_begin() {
    let mut session = open();
    let told = |number| says(0, Body::Tick(number));
    // Half a tick and more into tick 2, the third is about to begin: now. But something may have left before this first word.
    assert_eq!(session.submit(tick(2), 0, b"a", 1), Ok(0));
    let early = Instant::from_micros(26_000);
    assert_eq!(session.recv(early, &told(1)), Ok(()));
    assert_eq!(leaves(&mut session, early), []);
    // What is submitted now leaves when the gate says so next, or a tick later if it does not.
    assert_eq!(session.submit(early, 1, b"b", 1), Ok(0));
    assert_eq!(session.poll_at(), Some(Instant::from_micros(36_000)));
    let next = Instant::from_micros(35_000);
    assert_eq!(session.recv(next, &told(2)), Ok(()));
    assert_eq!(
        leaves(&mut session, next),
        [(Purpose::Frame, 0), (Purpose::Frame, 1)]
    );
    // Ticks are of no session.
    assert_eq!(
        session.recv(early, &says(SESSION, Body::Tick(3))),
        Err(Dropped::Malformed)
    );
}

#[test]
fn what_is_late_for_a_gate_waits_for_its_next_tick() {
    let mut session = open();
    let told = |number| says(0, Body::Tick(number));
    assert_eq!(session.recv(tick(1), &told(0)), Ok(()));
    for batch in [0, 1] {
        assert_eq!(session.submit(tick(1), batch, b"a", 1), Ok(0));
    }
    assert_eq!(session.recv(tick(2), &told(1)), Ok(()));
    let mut out = vec![];
    let first = session.poll_transmit(tick(2), &mut out).map(|first| first.batch);
    assert_eq!(first, Some(0));
    let late = tick(2) + Duration::from_micros(1_251);
    assert_eq!(leaves(&mut session, late), []);
    assert_eq!(session.poll_at(), Some(tick(3)));
    // The batch that had its turn lets the other one have its own before it has another.
    assert_eq!(session.submit(late, 0, b"b", 1), Ok(1));
    assert_eq!(leaves(&mut session, tick(3)), [(Purpose::Frame, 1)]);
    assert_eq!(leaves(&mut session, tick(4)), [(Purpose::Frame, 0)]);
}
