//! Outer's half against a hand-made inner.

use super::*;
use crate::error::{Closed, Misbehaviour};
use crate::frame::{self, Sealed};
use crate::sim::agreement;
use alloc::vec;

const SESSION: u64 = 0xabc;
const CANCEL: Message = Message::Cancel { slot: 1 };

fn parameters() -> Parameters {
    Parameters {
        batches: 2,
        window: 2,
        tick: 10_000,
        ..Parameters::default()
    }
}

fn ms(ms: u64) -> Instant {
    Instant::from_micros(ms * 1_000)
}

/// A frame as inner would send it.
fn frame(batch: u16, number: u64, digest: u64, code: &[u8]) -> Vec<u8> {
    let format = parameters().format;
    let check = frame::check(
        format,
        &Sealed {
            session: SESSION,
            batch,
            number,
            digest,
        },
        code,
    );
    let mut out = vec![];
    frame::Repr { batch, check, code }.emit(format, &mut out);
    out
}

fn control(kind: Kind) -> Vec<u8> {
    let mut out = vec![];
    Control {
        kind,
        session: SESSION,
    }
    .emit(parameters().format, &mut out);
    out
}

/// Everything that leaves at `now`: batch, acknowledgement, digest and request of data; others as `None`.
fn leaves(session: &mut OuterSession, now: Instant) -> Vec<Option<(u16, u64, u64, u16)>> {
    let mut out = vec![];
    let mut all = vec![];
    while session.poll_transmit(now, &mut out) {
        all.push(match Inward::parse(&out).unwrap().body {
            Body::Data(data) => Some((data.batch, data.ack, data.digest, data.missing)),
            _ => None,
        });
    }
    all
}

/// An open session with one message in batch 0 on its way, at 0 ms.
fn open() -> OuterSession {
    let mut session = OuterSession::new(OuterConfig::new(parameters(), agreement())).unwrap();
    assert_eq!(session.submit(ms(0), 0, &CANCEL), Err(Misuse::NotOpen));
    session.open(ms(0), SESSION);
    assert_eq!(leaves(&mut session, ms(0)), [None]);
    assert_eq!(session.recv(ms(0), &control(Kind::Reply(Ok(())))), Ok(()));
    assert_eq!(session.poll_event(), Some(OuterEvent::Opened));
    assert_eq!(session.submit(ms(0), 0, &CANCEL), Ok(0));
    assert_eq!(leaves(&mut session, ms(0)), [Some((0, 0, 0, 0))]);
    session
}

#[test]
fn frames_in_order_are_acknowledged_at_once_with_their_digest() {
    let mut session = open();
    assert_eq!(session.recv(ms(10), &frame(0, 0, 0, b"a")), Ok(()));
    assert_eq!(
        session.poll_frame(),
        Some(Received {
            batch: 0,
            number: 0,
            code: b"a".to_vec()
        })
    );
    assert_eq!(session.poll_frame(), None);
    assert_eq!(session.accept(ms(11), 0, 1, 0xd0, true), Ok(()));
    assert_eq!(session.outstanding(0), 0);
    assert_eq!(session.poll_at(), Some(Instant::ZERO));
    assert_eq!(leaves(&mut session, ms(11)), [Some((0, 1, 0xd0, 0))]);
    // Frame 2 covers the digest after frame 0 and may come before frame 1.
    assert_eq!(session.recv(ms(20), &frame(0, 2, 0xd0, b"c")), Ok(()));
    assert_eq!(session.poll_frame(), None);
    assert_eq!(session.recv(ms(21), &frame(0, 1, 0, b"b")), Ok(()));
    let numbers: Vec<_> = core::iter::from_fn(|| session.poll_frame())
        .map(|frame| frame.number)
        .collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_gap_is_asked_for_after_the_time_of_reordering_and_then_less_and_less_often() {
    let mut session = open();
    assert_eq!(session.recv(ms(10), &frame(0, 1, 0, b"b")), Ok(()));
    assert_eq!(leaves(&mut session, ms(19)), []);
    assert_eq!(session.poll_at(), Some(ms(20)));
    assert_eq!(leaves(&mut session, ms(20)), [Some((0, 0, 0, 0b01))]);
    let mut asked = vec![];
    for now in 21..2_000 {
        let requests = leaves(&mut session, ms(now))
            .into_iter()
            .flatten()
            .any(|(.., missing)| missing == 0b01);
        if requests {
            asked.push(now);
        }
    }
    assert!((5..=12).contains(&asked.len()), "{asked:?}");
    assert_eq!(session.recv(ms(2_000), &frame(0, 0, 0, b"a")), Ok(()));
    assert_eq!(core::iter::from_fn(|| session.poll_frame()).count(), 2);
}

#[test]
fn duplicates_are_never_new_frames() {
    let mut session = open();
    let mut digest = [0, 0, 0];
    for number in 0..200 {
        // Equal codes, so that only the check tells frames apart.
        let this = frame(0, number, digest[(number % 2) as usize], b"same");
        assert_eq!(session.recv(ms(10), &this), Ok(()));
        assert_eq!(session.recv(ms(10), &this), Err(Dropped::Duplicate), "held");
        assert!(session.poll_frame().is_some());
        assert_eq!(session.recv(ms(10), &this), Err(Dropped::Duplicate), "delivered");
        digest[(number % 2) as usize] = 1_000 + number;
        assert_eq!(session.accept(ms(10), 0, 1, 1_000 + number, true), Ok(()));
        assert_eq!(session.recv(ms(10), &this), Err(Dropped::Duplicate), "accepted");
        assert_eq!(session.poll_frame(), None);
        assert_eq!(leaves(&mut session, ms(10)).len(), 1);
        session.pace.until = Instant::ZERO;
    }
    assert_eq!(session.counters().duplicate, 600);
    assert_eq!(session.counters().damaged, 0);
}

#[test]
fn very_late_duplicates_are_damage_not_news() {
    let mut session = open();
    let old = frame(0, 0, 0, b"same");
    for number in 0..100 {
        let digest = if number < 2 { 0 } else { 1_000 + number - 2 };
        assert_eq!(session.recv(ms(10), &frame(0, number, digest, b"same")), Ok(()));
        assert!(session.poll_frame().is_some());
        assert_eq!(session.accept(ms(10), 0, 1, 1_000 + number, true), Ok(()));
        if number > 2 {
            assert_eq!(
                session.recv(ms(10), &old),
                Err(Dropped::Damaged),
                "after {number}"
            );
        }
    }
}

#[test]
fn a_second_frame_with_an_old_number_and_other_contents_ends_the_session() {
    for accepted in [false, true] {
        let mut session = open();
        assert_eq!(session.recv(ms(10), &frame(0, 0, 0, b"a")), Ok(()));
        assert!(session.poll_frame().is_some());
        if accepted {
            session.accept(ms(10), 0, 0, 7, true).unwrap();
        }
        let two = Misbehaviour::TwoFrames;
        assert_eq!(
            session.recv(ms(11), &frame(0, 0, 0, b"A")),
            Err(Dropped::Misbehaved(two))
        );
        assert_eq!(
            session.poll_event(),
            Some(OuterEvent::Lost(Lost::Misbehaved(two)))
        );
        assert_eq!(session.state(), State::Lost(Lost::Misbehaved(two)));
        assert_eq!(session.poll_at(), None);
    }
}

#[test]
fn the_same_bad_bytes_at_four_repeats_are_divergence_and_other_damage_is_not() {
    let mut session = open();
    for byte in 0..100_u8 {
        let damaged = frame(0, 0, 5, &[byte, 1]);
        assert_eq!(session.recv(ms(10), &damaged), Err(Dropped::Damaged));
    }
    assert_eq!(session.recv(ms(10), &frame(1, 1, 0, b"fine")), Ok(()));
    let bad = frame(0, 0, 0xbad, b"code");
    // Waits are 100 ms: copies within one count once.
    for now in [10, 20, 30, 109, 110, 150, 210] {
        assert_eq!(session.recv(ms(now), &bad), Err(Dropped::Damaged));
    }
    assert_eq!(session.recv(ms(310), &bad), Err(Dropped::Diverged));
    let diverged = Lost::Diverged { batch: 0 };
    assert_eq!(session.poll_event(), Some(OuterEvent::Lost(diverged)));
}

#[test]
fn impossible_counts_of_messages_end_the_session() {
    for (before, after) in [(0, 2), (1, 0)] {
        let mut session = open();
        assert_eq!(
            session.accept(ms(10), 0, 0, 0, true),
            Err(Misuse::NothingDelivered)
        );
        session.recv(ms(10), &frame(0, 0, 0, b"a")).unwrap();
        session.recv(ms(10), &frame(0, 1, 0, b"b")).unwrap();
        assert_eq!(core::iter::from_fn(|| session.poll_frame()).count(), 2);
        assert_eq!(session.accept(ms(10), 0, before, 1, true), Ok(()));
        let taken_in = Misbehaviour::TakenIn;
        assert_eq!(
            session.accept(ms(10), 0, after, 2, true),
            Err(Misuse::Misbehaved(taken_in))
        );
        assert_eq!(
            session.poll_event(),
            Some(OuterEvent::Lost(Lost::Misbehaved(taken_in)))
        );
    }
}

#[test]
fn closing_is_heard_in_every_state_and_only_for_this_session() {
    let mut session = open();
    let mut other = vec![];
    Control {
        kind: Kind::Closed(Closed::Unknown),
        session: 1,
    }
    .emit(parameters().format, &mut other);
    assert_eq!(session.recv(ms(1), &other), Err(Dropped::Foreign));
    assert_eq!(
        session.recv(ms(1), &control(Kind::Closed(Closed::Unknown))),
        Ok(())
    );
    let lost = Lost::Closed(Closed::Unknown);
    assert_eq!(session.poll_event(), Some(OuterEvent::Lost(lost)));
    assert_eq!(
        session.recv(ms(1), &control(Kind::Reply(Ok(())))),
        Err(Dropped::Stale)
    );
    assert_eq!(session.recv(ms(1), &frame(0, 0, 0, b"a")), Err(Dropped::Foreign));
    session.open(ms(2), SESSION);
    assert_eq!(
        session.recv(ms(2), &control(Kind::Closed(Closed::Unknown))),
        Ok(())
    );
    assert_eq!(session.poll_event(), Some(OuterEvent::Lost(lost)));
}

#[test]
fn messages_have_limits() {
    let mut session = open();
    assert_eq!(session.submit(ms(0), 2, &CANCEL), Err(Misuse::NoSuchBatch));
    assert_eq!(
        session.submit(ms(0), 0, &Message::Cancel { slot: 200 }),
        Err(Misuse::Message("slot above 127"))
    );
    for number in 1..256 {
        assert_eq!(session.submit(ms(0), 0, &CANCEL), Ok(number));
    }
    assert_eq!(session.submit(ms(0), 0, &CANCEL), Err(Misuse::Full));
    // All of them fit one datagram.
    session.pace.until = Instant::ZERO;
    assert_eq!(leaves(&mut session, ms(0)).len(), 2);
}

/// 2^32 - 1 messages are all that a session has numbers for: the next ends it, so that a new one can begin.
#[test]
fn a_session_ends_with_its_numbers() {
    let mut session = open();
    session.batches[0].taken_in = u32::MAX - 3;
    for number in [u32::MAX - 2, u32::MAX - 1] {
        assert_eq!(session.submit(ms(0), 0, &CANCEL), Ok(number));
    }
    assert_eq!(session.submit(ms(0), 0, &CANCEL), Err(Misuse::NotOpen));
    assert_eq!(session.poll_event(), Some(OuterEvent::Lost(Lost::Exhausted)));
    session.open(ms(1), SESSION + 1);
    assert_eq!(session.state(), State::Connecting);
}

/// Idle frames belong to the constant shape and to a session that inner may have open; anything else could be told by them.
#[test]
fn idle_frames_say_nothing() {
    let idle = |session| {
        let mut out = vec![];
        Control {
            kind: Kind::Idle,
            session,
        }
        .emit(parameters().format, &mut out);
        out
    };
    let mut sealed = open();
    assert_eq!(sealed.recv(ms(1), &idle(SESSION)), Err(Dropped::Foreign));
    let mut session = OuterSession::new(OuterConfig::new(
        Parameters {
            shape: Shape::CONSTANT,
            ..parameters()
        },
        agreement(),
    ))
    .unwrap();
    session.open(ms(0), SESSION);
    session.open(ms(0), SESSION + 1);
    for (echo, result) in [
        (0, Ok(())),
        (SESSION, Ok(())),
        (SESSION + 1, Ok(())),
        (SESSION + 2, Err(Dropped::Foreign)),
        (u64::MAX, Err(Dropped::Foreign)),
    ] {
        assert_eq!(session.recv(ms(1), &idle(echo)), result, "{echo:#x}");
    }
    assert_eq!(session.counters().foreign, 2);
}

#[test]
fn a_long_prompt_is_paced() {
    let mut session = open();
    let job = crate::sim::Job::new(0, 1, 100_000, 1);
    session.submit(ms(1), 0, &Message::Query(job.query)).unwrap();
    let (mut sent, mut now) = (0, ms(1));
    while now < ms(20) {
        let burst = leaves(&mut session, now).len();
        assert!(burst <= 32);
        sent += burst;
        now = session.poll_at().unwrap();
    }
    // 100,000 tokens of about 2.7 bytes in datagrams of 1472.
    assert!((170..220).contains(&sent), "{sent}");
}
