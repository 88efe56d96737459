//! `Metered<Memory>`: sessions whose every egress byte is permitted, over a faulty link.

use super::*;
use crate::memory::{Clock, Memory};
use std::time::Duration;
use weir_meter::{Limits, Refused, Release};
use weir_wire::sim::{self, Faults, Pipe};
use weir_wire::{
    InnerConfig, InnerSession, Instant, Message, OuterConfig, OuterEvent, OuterSession, Parameters,
};

const LATENCY: Duration = Duration::from_millis(2);

fn governor(limits: Limits) -> Governor {
    Governor::new(weir_meter::Instant::ZERO, LinkCost::UdpIpv4, limits).unwrap()
}

#[test]
fn a_permit_sends_one_datagram_of_its_length() {
    let (one, mut two, clock) = Memory::pair(Pipe::clean(LATENCY), Pipe::clean(LATENCY));
    let mut governor = governor(Limits::default());
    let stranger = self::governor(Limits::default());
    let mut one = Metered::new(one, &governor);
    let mut permit = |len| match governor.release(weir_meter::Instant::ZERO, len, Purpose::Frame) {
        Release::Go(permit) => permit,
        other => panic!("{other:?}"),
    };
    assert_eq!(one.send(permit(3), b"yes").unwrap(), Sent::Whole);
    assert!(matches!(one.send(permit(3), b"long"), Err(Error::Permit(_))));
    assert!(matches!(one.send(permit(3), b""), Err(Error::Permit(_))));
    one.governor = stranger.id();
    assert!(matches!(one.send(permit(3), b"not"), Err(Error::Permit(_))));
    clock.set(Instant::from_micros(1_000_000));
    let mut buffer = [0; 16];
    assert_eq!(two.recv(&mut buffer).unwrap(), Some(3));
    assert_eq!(&buffer[..3], b"yes");
    assert_eq!(two.recv(&mut buffer).unwrap(), None);
}

#[test]
fn of_many_each_needs_its_own_permit_and_has_its_own_fate() {
    let (one, mut two) = crate::Udp::pair().unwrap();
    let limits = Limits {
        rate: 1 << 40,
        burst: 1 << 40,
        total: 1 << 40,
        ..Limits::default()
    };
    let mut governor = governor(limits);
    let mut one = Metered::new(one, &governor);
    let frames: Vec<Vec<u8>> = (0..150).map(|i| vec![i; 1 + usize::from(i)]).collect();
    // One permit is for another length.
    let mut frames: Vec<(usize, &[u8])> = frames.iter().map(|frame| (frame.len(), &frame[..])).collect();
    frames[70].0 = 70;
    let mut leaving: Vec<(Permit, &[u8])> = Vec::new();
    for &(len, frame) in &frames {
        let Release::Go(permit) = governor.release(weir_meter::Instant::ZERO, len, Purpose::Frame) else {
            panic!("the burst allows it")
        };
        leaving.push((permit, frame));
    }
    let mut fates = vec![];
    one.send_all(&mut leaving.into_iter(), |frame, sent| {
        fates.push((frame.len(), sent))
    });
    let refused: Vec<usize> = fates
        .iter()
        .filter(|fate| fate.1.is_err())
        .map(|fate| fate.0)
        .collect();
    assert_eq!((fates.len(), refused), (150, vec![71]));
    std::thread::sleep(Duration::from_millis(50));
    let mut buffer = [0; 2048];
    for (_, frame) in frames.iter().filter(|frame| frame.1.len() != 71) {
        assert_eq!(two.recv(&mut buffer).unwrap(), Some(frame.len()));
        assert_eq!(&buffer[..frame.len()], *frame);
    }
    assert_eq!(two.recv(&mut buffer).unwrap(), None);
}

/// Inner as a program would run it: a governor, a metered link, and a session.
struct Inside {
    session: InnerSession,
    governor: Governor,
    link: Metered<Memory>,
    refused: Vec<Refused>,
    frames: u64,
}

impl Inside {
    fn turn(&mut self, now: Instant) {
        let mut buffer = [0; 2048];
        while let Some(len) = self.link.recv(&mut buffer).unwrap() {
            let _counted = self.session.recv(now, &buffer[..len]);
        }
        while self.session.poll_event().is_some() {}
        // The codec: says how many messages it has taken in, and always has one byte more to say.
        while self.session.take_in(0).is_some() {}
        if self.session.can_send(0) && self.session.taken_in(0) > 0 {
            let mut code = self.session.taken_in(0).to_be_bytes().to_vec();
            code.push(0xc0);
            self.session.submit(now, 0, &code, self.frames).unwrap();
            self.frames += 1;
        }
        let mut out = Vec::new();
        while let Some(transmit) = self.session.poll_transmit(now, &mut out) {
            let (at, purpose) = (
                weir_meter::Instant::from_micros(now.micros()),
                governed_purpose(transmit.purpose),
            );
            match self.governor.release(at, out.len(), purpose) {
                Release::Go(permit) => assert_eq!(self.link.send(permit, &out).unwrap(), Sent::Whole),
                Release::At(at) => self.session.put_back(transmit, Instant::from_micros(at.micros())),
                Release::Refuse(why) => self.refused.push(why),
            }
        }
    }
}

/// Runs a pair for `micros`; returns how many frames outer accepted.
fn run(
    inside: &mut Inside,
    outer: &mut OuterSession,
    mut link: Memory,
    clock: &Clock,
    until: Instant,
) -> u64 {
    let mut now = Instant::ZERO;
    let mut accepted = 0;
    outer.open(now, 77);
    while now < until {
        clock.set(now);
        inside.turn(now);
        let mut buffer = [0; 2048];
        while let Some(len) = link.recv(&mut buffer).unwrap() {
            let _counted = outer.recv(now, &buffer[..len]);
        }
        while let Some(event) = outer.poll_event() {
            assert_eq!(event, OuterEvent::Opened);
            outer.submit(now, 0, &Message::Cancel { slot: 0 }).unwrap();
        }
        while let Some(frame) = outer.poll_frame() {
            assert_eq!(frame.code, [0, 0, 0, 1, 0xc0]);
            outer.accept(now, 0, 1, frame.number, true).unwrap();
            accepted += 1;
        }
        let mut out = Vec::new();
        while outer.poll_transmit(now, &mut out) {
            assert_eq!(link.send(&out).unwrap(), Sent::Whole);
        }
        let next = [inside.session.poll_at(), outer.poll_at(), clock.next_at()]
            .into_iter()
            .flatten()
            .min()
            .unwrap();
        assert!(next > now, "the clock stands still");
        now = next;
    }
    accepted
}

fn pair(limits: Limits, there: Pipe, back: Pipe) -> (Inside, OuterSession, Memory, Clock) {
    let parameters = Parameters {
        tick: 20_000,
        ..Parameters::default()
    };
    let mut config = InnerConfig::new(parameters, sim::agreement());
    config.quarantine = Duration::ZERO;
    let (end, other, clock) = Memory::pair(back, there);
    let governor = governor(limits);
    let inside = Inside {
        session: InnerSession::new(Instant::ZERO, config).unwrap(),
        link: Metered::new(end, &governor),
        governor,
        refused: Vec::new(),
        frames: 0,
    };
    let outer = OuterSession::new(OuterConfig::new(parameters, sim::agreement())).unwrap();
    (inside, outer, other, clock)
}

#[test]
fn the_rate_holds_frames_back_and_the_total_stops_them() {
    // Any of these frames costs 672 + 12 bits. Rate: five a second; the tick would allow fifty.
    let limits = Limits {
        rate: 5 * 684,
        burst: 12_316,
        total: 60 * 684,
        handshake_percent: 10,
        ..Limits::default()
    };
    let (mut inside, mut outer, link, clock) = pair(limits, Pipe::clean(LATENCY), Pipe::clean(LATENCY));
    let accepted = run(
        &mut inside,
        &mut outer,
        link,
        &clock,
        Instant::from_micros(5_000_000),
    );
    // A burst of 18, less the reply, then five a second.
    assert!((40..=44).contains(&accepted), "{accepted}");
    assert_eq!(inside.refused, []);

    let (mut inside, mut outer, link, clock) = pair(limits, Pipe::clean(LATENCY), Pipe::clean(LATENCY));
    let accepted = run(
        &mut inside,
        &mut outer,
        link,
        &clock,
        Instant::from_micros(15_000_000),
    );
    let counters = inside.governor.counters();
    assert_eq!(inside.refused.last(), Some(&Refused::TotalSpent));
    assert!(counters.bits() <= limits.total);
    assert!(accepted <= counters.frames.datagrams && counters.frames.datagrams < 60);
}

#[test]
fn losses_are_repeated_within_their_share() {
    let limits = Limits {
        rate: 1_000_000,
        burst: 1_000_000,
        ..Limits::default()
    };
    let lossy = |seed| {
        Pipe::random(
            LATENCY,
            Faults {
                drop: 5,
                corrupt: 2,
                ..Faults::default()
            },
            seed,
        )
    };
    let (mut inside, mut outer, link, clock) = pair(limits, lossy(1), lossy(2));
    let accepted = run(
        &mut inside,
        &mut outer,
        link,
        &clock,
        Instant::from_micros(20_000_000),
    );
    let counters = inside.governor.counters();
    assert!(accepted > 300, "{accepted}");
    assert!(counters.repeats.datagrams > 10);
    assert_eq!(inside.refused, []);
    assert_eq!(counters.repeats.datagrams, inside.session.counters().repeats);
}
