//! Bodies of the fuzz targets; unit tests run the same functions (feature `testing`).

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::assembly::OUTSTANDING_MAX;
use crate::control::{Control, Kind};
use crate::cursor::strip_zeros;
use crate::error::{Closed, Counters, Refusal};
use crate::frame::{Frame, Repr, Sealed, check};
use crate::held::Held;
use crate::inner::{InnerConfig, InnerSession, Purpose};
use crate::inward::{Body, Data, HEADER_LEN, Hello, Inward, Piece};
use crate::message::{Caps, Message, Query};
use crate::outer::{OuterConfig, OuterSession, State};
use crate::parameters::{Format, Parameters};
use crate::sim::{Job, Sim, agreement};
use crate::time::Instant;

/// Any bytes as a frame, in every format: no panic, and `emit(parse(x))` is `x` without its padding.
pub fn frame(bytes: &[u8]) {
    for format in (0..4).filter_map(|byte| Format::from_byte(byte).ok()) {
        let Ok(frame) = Frame::new_checked(format, bytes) else {
            continue;
        };
        let repr = Repr::parse(&frame);
        let mut out = Vec::new();
        repr.emit(format, &mut out);
        out.resize(bytes.len(), 0);
        assert_eq!(out, bytes);
        if let Ok(control) = Control::parse(format, &frame) {
            let mut out = Vec::new();
            control.emit(format, &mut out);
            out.resize(bytes.len(), 0);
            assert_eq!(out, bytes);
        }
    }
}

/// Any bytes as an inward datagram and as a message: no panic, one form only.
pub fn inward(bytes: &[u8]) {
    if let Ok(inward) = Inward::parse(bytes)
        && !matches!(inward.body, Body::HelloOfOtherVersion(_))
    {
        let mut out = Vec::new();
        inward.emit(&mut out);
        out.resize(bytes.len(), 0);
        assert_eq!(out, bytes);
    }
    if let Ok(message) = Message::parse(bytes, Caps::default()) {
        let mut out = Vec::new();
        message.emit(&mut out);
        assert_eq!(out, bytes);
        assert_eq!(out.len(), message.buffer_len());
    }
}

/// The input edits live traffic: each 4 bytes pick a moment and what is done to a pair of sessions there. Nothing
/// panics, no wrong token comes out, and when the edits are over every job is done.
pub fn session(bytes: &[u8]) {
    let parameters = Parameters {
        batches: 2,
        tick: 20_000,
        ..Parameters::default()
    };
    let mut inner = InnerConfig::new(parameters, agreement());
    inner.quarantine = Duration::ZERO;
    let jobs = vec![
        Job::new(0, 1, 400, 45),
        Job {
            cancel_after: Some(10),
            ..Job::new(1, 2, 3, 1_000)
        },
    ];
    let mut sim = Sim::with(inner, OuterConfig::new(parameters, agreement()), jobs);
    for edit in bytes.chunks_exact(4).take(64) {
        for _ in 0..edit[0] % 16 {
            sim.advance();
        }
        let forged = [edit[2], edit[3], edit[2] ^ edit[3], 0, edit[2], 1, 2, 3];
        match edit[1] % 8 {
            0 => sim.edit(true, |datagram| {
                let by = usize::from(edit[2]) % datagram.len().max(1);
                datagram.rotate_left(by);
            }),
            1 => sim.edit(true, |datagram| datagram.truncate(usize::from(edit[2]))),
            2 => sim.edit(false, |datagram| datagram.truncate(usize::from(edit[2]))),
            3 => sim.edit(false, |datagram| {
                let at = usize::from(edit[2]) % datagram.len().max(1);
                if let Some(byte) = datagram.get_mut(at) {
                    *byte ^= edit[3];
                }
            }),
            4 => sim.inward.push(sim.now, &forged),
            5 => sim.egress.push(sim.now, &forged[..usize::from(edit[2]) % 9]),
            6 => sim.restart_outer(),
            _ => sim.restart_inner(Duration::from_millis(200)),
        }
    }
    let limit = sim.now + Duration::from_secs(600);
    assert!(sim.run_until(limit, Sim::is_done), "{:?}", sim.report);
}

/// Datagrams with good lengths and CRCs against an inner whose session is open; what they say comes from the input, and
/// so does what inner's application does meanwhile. Inner keeps its rates, hands out each message as it was sent, and
/// takes a new session afterwards. Returns what became of the datagrams.
pub fn raw_inner(bytes: &[u8]) -> Counters {
    let parameters = Parameters {
        batches: 2,
        ..Parameters::default()
    };
    let mut config = InnerConfig::new(parameters, agreement());
    config.quarantine = Duration::ZERO;
    let mut inner = InnerSession::new(Instant::ZERO, config).expect("good parameters");
    let (mut now, mut newest, mut input) = (Instant::ZERO, 1, Input(bytes));
    let (mut out, mut controls, mut frames) = (Vec::new(), 0, 0);
    assert_eq!(inner.recv(now, &hello(parameters, newest)), Ok(()));
    while !input.is_empty() {
        let how = input.byte();
        now = now + Duration::from_millis(5) * u32::from(how >> 4);
        let batch = u16::from(how >> 3 & 1);
        let datagram = match how % 8 {
            0 => {
                // Mostly another session; the older ones are over.
                let back = u64::from(input.byte()).saturating_sub(200);
                newest += u64::from(back == 0);
                Some(hello(parameters, newest.saturating_sub(back)))
            }
            1 => Some(sealed(
                parameters.format,
                newest - u64::from(input.byte() & 1),
                Body::Ping,
            )),
            2 => {
                let len = usize::from(input.byte()) + HEADER_LEN;
                Some(resealed(input.take(len)))
            }
            3 if inner.session().is_none() => {
                newest += 1;
                Some(hello(parameters, newest))
            }
            3..=5 => Some(data(&mut input, &inner, newest, batch)),
            6 => {
                let len = usize::from(input.byte() % 64);
                let (free, code) = (inner.can_send(batch), input.take(len));
                assert_eq!(inner.submit(now, batch, code, DIGEST).is_ok(), free);
                None
            }
            _ => {
                let mut number = inner.taken_in(batch);
                while let Some(taken) = inner.take_in(batch) {
                    assert_eq!(taken, message(number));
                    number += 1;
                }
                None
            }
        };
        if let Some(datagram) = datagram {
            let _counted = inner.recv(now, &datagram);
        }
        while inner.poll_event().is_some() {}
        while let Some(transmit) = inner.poll_transmit(now, &mut out) {
            if transmit.purpose == Purpose::Control {
                controls += 1;
                assert!(controls <= 1 + now.micros() / 200_000);
            } else {
                frames += 1;
                assert!(frames <= 2 * (1 + now.micros() / u64::from(parameters.tick)));
            }
        }
        assert!(inner.poll_at().is_none_or(|at| at > now));
    }
    newest += 1;
    assert_eq!(inner.recv(now, &hello(parameters, newest)), Ok(()));
    assert_eq!(inner.session(), Some(newest));
    assert_eq!(inner.submit(now, 1, b"code", DIGEST), Ok(0));
    let later = now + parameters.tick();
    let first = inner.poll_transmit(later, &mut out).expect("a frame is due");
    assert_eq!((first.purpose, first.batch), (Purpose::Frame, 1));
    *inner.counters()
}

/// Frames with good checks and others, of any number and code, and control frames against an outer whose session is
/// open. The input says what is in them and what outer's application makes of the frames. Outer delivers each frame as it
/// was sent, keeps to its pace and its bounds, and serves a new session afterwards. Returns what became of the datagrams.
pub fn raw_outer(bytes: &[u8]) -> Counters {
    let parameters = Parameters {
        batches: 2,
        ..Parameters::default()
    };
    let mut config = OuterConfig::new(parameters, agreement());
    (config.pace, config.inward_mtu) = (2, 256);
    let mut outer = OuterSession::new(config).expect("good parameters");
    let (mut now, mut input, mut out) = (Instant::ZERO, Input(bytes), Vec::new());
    // A calm peer does nothing that must end the session: a leak has time to grow.
    let mut peer = Peer {
        calm: input.byte() & 1 == 1,
        ..Peer::default()
    };
    peer.open(now, &mut outer);
    peer.control(now, &mut outer, Kind::Reply(Ok(())));
    while !input.is_empty() {
        let how = input.byte();
        now = now + Duration::from_millis(20) * u32::from(how >> 4);
        let batch = u16::from(how >> 3 & 1);
        let is_open = outer.state() == State::Open;
        match how % 8 {
            1 | 5 if !is_open => {
                peer.open(now, &mut outer);
                if input.byte() < 192 {
                    peer.control(now, &mut outer, Kind::Reply(Ok(())));
                }
            }
            0 | 1 => peer.frame(now, &mut outer, batch, &mut input, None),
            2 => peer.frame(now, &mut outer, batch, &mut input, Some(1 + (how >> 7))),
            3 => peer.any_control(now, &mut outer, &mut input),
            4 => {
                // A batch that is not in use, or the control id.
                let len = usize::from(input.byte() % 32);
                let mut raw = input.take(len).to_vec();
                if let Some(id) = raw.first_mut() {
                    *id |= 0x80;
                }
                let _counted = outer.recv(now, &raw);
            }
            5 => {
                let number = input.byte();
                let submitted = outer.submit(now, batch, &message(number.into()));
                assert!(submitted.is_ok() || outer.outstanding(batch) == OUTSTANDING_MAX);
            }
            6 => peer.accept(now, &mut outer, batch, &mut input),
            _ if input.byte() < 16 && !peer.calm => outer.abandon(),
            _ => {}
        }
        peer.deliver(&mut outer);
        let mut sent = 0;
        while outer.poll_transmit(now, &mut out) {
            sent += 1;
            assert!(sent <= config.pace && out.len() <= usize::from(config.inward_mtu));
            let inward = Inward::parse(&out).expect("outer sends what inner reads");
            assert_eq!(inward.session, outer.session());
        }
        while outer.poll_event().is_some() {}
        assert!(outer.poll_at().is_none_or(|at| at > now));
    }
    // Room for two full outboxes and windows, in a few letters a byte.
    assert!(alloc::format!("{outer:?}").len() < 1 << 19);
    peer.open(now, &mut outer);
    peer.control(now, &mut outer, Kind::Reply(Ok(())));
    let frame = peer.seal(1, 0, b"code");
    assert_eq!(outer.recv(now, &frame), Ok(()));
    let first = outer.poll_frame().expect("the frame is here");
    assert_eq!(
        (first.batch, first.number, first.code.as_slice()),
        (1, 0, &b"code"[..])
    );
    assert_eq!(outer.accept(now, 1, 0, DIGEST, false), Ok(()));
    *outer.counters()
}

/// What is left of the input; zeros after its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// So many bytes, or what there is.
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(len.min(self.0.len()));
        self.0 = tail;
        head
    }
}

/// State of every coder, where nothing else is said.
const DIGEST: u64 = 0xd1;

fn sealed(format: Format, session: u64, body: Body<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Inward {
        format,
        session,
        body,
    }
    .emit(&mut out);
    out
}

fn hello(parameters: Parameters, session: u64) -> Vec<u8> {
    let body = Body::Hello(Hello {
        parameters,
        agreement: agreement(),
    });
    sealed(parameters.format, session, body)
}

/// Any bytes with their length and CRC put right, in a session that no good opening here has the id of.
fn resealed(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(bytes.len().max(HEADER_LEN), 0);
    let len = out.len() as u16;
    out[2..4].copy_from_slice(&len.to_be_bytes());
    out[8] |= 0x80;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[..4]);
    crc.update(&out[8..]);
    out[4..8].copy_from_slice(&crc.finalize().to_be_bytes());
    out
}

/// Message `number` of any batch; a cancel or a query.
fn message(number: u32) -> Message {
    let slot = (number % 128) as u8;
    if number.is_multiple_of(3) {
        Message::Query(Query {
            slot,
            ..Job::new(0, slot, 1 + number as usize % 20, 9).query
        })
    } else {
        Message::Cancel { slot }
    }
}

/// A data datagram: mostly of the open session and true, but any of its fields may lie.
fn data(input: &mut Input<'_>, inner: &InnerSession, session: u64, batch: u16) -> Vec<u8> {
    let lies = input.byte();
    let lie = |bit: u8| lies >> bit & lies >> (bit + 1) & 1 == 1; // one in four
    let ack = inner.acked(batch)
        + match input.byte() {
            0..192 => 0,
            192..248 => 1,
            more => u64::from(more) - 247,
        };
    let missing = u16::from_be_bytes([input.byte(), input.byte()]);
    let mut pieces = Vec::new();
    for _ in 0..input.byte() % 4 {
        let ahead = input.byte();
        let ahead = u32::from(ahead % 4) + if ahead < 250 { 0 } else { 256 };
        let number = inner.taken_in(batch) + ahead;
        let mut bytes = Vec::new();
        message(number).emit(&mut bytes);
        let (from, len) = (input.byte(), usize::from(input.byte()));
        if lie(0) && len.is_multiple_of(4) {
            bytes[0] = 0; // no kind of message
        }
        // Half of the pieces are whole messages.
        let from = usize::from(from.saturating_sub(128)) % bytes.len();
        let len = if from == 0 { bytes.len() } else { len };
        let end = bytes.len().min(from + len);
        let total = bytes.len() as u32 + u32::from(lie(2) && len % 4 == 1);
        Piece {
            number,
            total,
            offset: from as u32,
            bytes: &bytes[from..end],
        }
        .emit(&mut pieces);
    }
    let digest = DIGEST ^ u64::from(lie(4) && missing.is_multiple_of(4));
    let batch = if lie(5) && missing % 4 == 1 { 2 } else { batch };
    let session = session - u64::from(lie(6));
    let data = Data::new(batch, ack, digest, missing, &pieces);
    sealed(Parameters::default().format, session, Body::Data(data))
}

/// What stands at the other end of outer's link, and outer's application.
#[derive(Default)]
struct Peer {
    calm: bool,
    session: u64,
    lanes: [Lane; 2],
}

/// A batch, as far as outer has accepted it.
#[derive(Default)]
struct Lane {
    /// Digests after the accepted frames.
    digests: Vec<u64>,
    /// Codes of the frames that outer took, accepted or not.
    taken: BTreeMap<u64, Vec<u8>>,
    /// Frames delivered and not yet accepted.
    delivered: u64,
    taken_in: u32,
}

impl Peer {
    fn open(&mut self, now: Instant, outer: &mut OuterSession) {
        *self = Self {
            calm: self.calm,
            session: self.session + 1,
            ..Self::default()
        };
        outer.open(now, self.session);
    }

    fn control(&self, now: Instant, outer: &mut OuterSession, kind: Kind) {
        let mut out = Vec::new();
        let session = self.session;
        Control { kind, session }.emit(Parameters::default().format, &mut out);
        let _counted = outer.recv(now, &out);
    }

    fn any_control(&self, now: Instant, outer: &mut OuterSession, input: &mut Input<'_>) {
        let (kind, detail) = (input.byte(), input.byte());
        let refusal = Refusal::from_code(detail % 32);
        let kind = match (kind, refusal) {
            _ if self.calm => Kind::Reply(Ok(())),
            (0..224, _) => Kind::Reply(Ok(())),
            (224..240, Ok(refusal)) => Kind::Reply(Err(refusal)),
            (240..248, _) => Held::from_code(detail).map_or(Kind::Idle, Kind::Held),
            _ => Kind::Closed(Closed::from_code(detail % 4).unwrap_or(Closed::Unknown)),
        };
        self.control(now, outer, kind);
    }

    /// A frame as inner would seal it, its digest included.
    fn seal(&self, batch: u16, number: u64, code: &[u8]) -> Vec<u8> {
        let Parameters { format, window, .. } = Parameters::default();
        let before = number.checked_sub(window.into());
        let digests = &self.lanes[usize::from(batch)].digests;
        let digest = before.map_or(0, |before| digests.get(before as usize).copied().unwrap_or(0));
        let sealed = Sealed {
            session: self.session,
            batch,
            number,
            digest,
        };
        let check = check(format, &sealed, code);
        let mut out = Vec::new();
        Repr { batch, check, code }.emit(format, &mut out);
        out
    }

    /// A frame with a number near the next one. `damage` goes into its check; then its bytes are the same each time.
    fn frame(
        &mut self,
        now: Instant,
        outer: &mut OuterSession,
        batch: u16,
        input: &mut Input<'_>,
        damage: Option<u8>,
    ) {
        let lane = &self.lanes[usize::from(batch)];
        let accepted = lane.digests.len() as u64;
        // Most are the next that is not there.
        let (near, len) = (input.byte(), usize::from(input.byte() % 8));
        let next = (accepted..).find(|number| !lane.taken.contains_key(number));
        let number = if near < 224 {
            next.unwrap_or(accepted)
        } else {
            (accepted + u64::from(near % 16)).saturating_sub(8)
        };
        let code = match lane.taken.get(&number) {
            Some(code) if self.calm || near % 32 < 16 => code.clone(),
            _ if damage.is_some() && !self.calm => Vec::new(),
            _ => strip_zeros(input.take(len)).to_vec(),
        };
        let mut frame = self.seal(batch, number, &code);
        frame[4] ^= damage.unwrap_or(0);
        if outer.recv(now, &frame).is_ok() {
            assert_eq!(damage, None, "a bad check was taken for a good one");
            let before = self.lanes[usize::from(batch)].taken.insert(number, code);
            assert_eq!(before, None, "a frame was taken twice");
        }
    }

    fn deliver(&mut self, outer: &mut OuterSession) {
        while let Some(frame) = outer.poll_frame() {
            let lane = &mut self.lanes[usize::from(frame.batch)];
            assert_eq!(frame.number, lane.digests.len() as u64 + lane.delivered);
            assert_eq!(Some(&frame.code), lane.taken.get(&frame.number));
            lane.delivered += 1;
            assert!(lane.delivered <= Parameters::default().window.into());
        }
    }

    /// Outer's application has decoded a frame, or says so.
    fn accept(&mut self, now: Instant, outer: &mut OuterSession, batch: u16, input: &mut Input<'_>) {
        let outstanding = outer.outstanding(batch) as u32;
        let lane = &mut self.lanes[usize::from(batch)];
        let (more, rest) = (u32::from(input.byte()), input.byte());
        let taken_in = match more {
            more if self.calm => lane.taken_in + (more % 4).min(outstanding),
            0..240 => lane.taken_in + (more % 4).min(outstanding),
            240..248 => lane.taken_in.wrapping_sub(more - 239),
            _ => lane.taken_in + more,
        };
        let is_true = (lane.taken_in..=lane.taken_in + outstanding).contains(&taken_in);
        let good = outer.state() == State::Open && lane.delivered > 0 && is_true;
        let (digest, live) = (DIGEST ^ u64::from(rest >> 1), rest & 1 == 1);
        assert_eq!(outer.accept(now, batch, taken_in, digest, live).is_ok(), good);
        if good {
            lane.digests.push(digest);
            lane.delivered -= 1;
            lane.taken_in = taken_in;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::XorShift;
    use proptest::prelude::*;

    /// The targets on random input and on honest traffic, so that they are known to run on stable.
    #[test]
    fn exercise_all_targets() {
        let mut rng = XorShift::new(1);
        let mut draw = |len| (0..len).map(|_| rng.draw() as u8).collect::<Vec<u8>>();
        for len in 0..300 {
            let bytes = draw(len);
            frame(&bytes);
            inward(&bytes);
            raw_inner(&bytes);
            raw_outer(&bytes);
        }
        // Long enough for every fate.
        let mut bytes = draw(1 << 20);
        let inner = raw_inner(&bytes);
        bytes[0] = 0;
        let outer = raw_outer(&bytes);
        for (counters, not_met) in [
            (inner, ["damaged", "absent"].as_slice()),
            (outer, &["absent", "overload"]),
        ] {
            let said = std::format!("{counters:?}");
            let fates = said.split(['{', ',', '}']).map(str::trim);
            let never = fates.filter_map(|fate| fate.strip_suffix(": 0"));
            assert_eq!(never.collect::<Vec<_>>(), not_met, "{said}");
        }
        // And for a leak to show: a calm session, and one with nothing but damage.
        bytes[0] = 1;
        raw_outer(&bytes);
        let mut bytes = vec![1];
        for _ in 0..10_000 {
            bytes.extend([2, 0, 7]); // damage, to the next frame, with a code of seven bytes
            bytes.extend(draw(7));
        }
        raw_outer(&bytes);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn edited_sessions_recover(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            session(&bytes);
        }
    }
}
