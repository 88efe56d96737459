//! Bodies of the fuzz targets; unit tests run the same functions (feature `testing`).

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::control::Control;
use crate::frame::{Frame, Repr};
use crate::inner::{InnerConfig, InnerSession};
use crate::inward::{Body, Inward};
use crate::message::{Caps, Message};
use crate::outer::OuterConfig;
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

/// Raw bytes against a fresh inner in the middle of nothing; it answers no faster than its limit allows.
pub fn raw_inner(bytes: &[u8]) {
    let mut config = InnerConfig::new(Parameters::default(), agreement());
    config.quarantine = Duration::ZERO;
    let Ok(mut inner) = InnerSession::new(Instant::ZERO, config) else {
        return;
    };
    let (mut out, mut sent) = (Vec::new(), 0);
    for (step, datagram) in (0_u64..).zip(bytes.chunks(64)) {
        let now = Instant::from_micros(step * 50_000);
        let _counted = inner.recv(now, datagram);
        while inner.poll_transmit(now, &mut out).is_some() {
            sent += 1;
            assert!(sent <= 1 + now.micros() / 200_000);
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
        for len in 0..300 {
            let bytes: Vec<u8> = (0..len).map(|_| rng.draw() as u8).collect();
            frame(&bytes);
            inward(&bytes);
            raw_inner(&bytes);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn edited_sessions_recover(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            session(&bytes);
        }
    }
}
