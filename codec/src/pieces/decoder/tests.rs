//! Pieces that no encoder writes: refused where they leave the rule, not after the work that they ask for.

use super::*;
use crate::counts::{Before, Count};
use crate::query::{Query, Sampling, Settings};
use crate::symbol::Port;
use crate::testing::{Markov, letters};
use weir_exact::Kernel;

const VOCAB: usize = 300;
const FULL: u8 = 10;

fn decoder(slots: u8, len: usize) -> Decoder<Markov> {
    let settings = Settings {
        full: FULL,
        ..Settings::default()
    };
    let mut decoder = Decoder::new(
        Markov::new(VOCAB),
        letters(VOCAB, 7),
        settings,
        Kernel::detect(),
        len,
    );
    for slot in 0..slots {
        let query = Query {
            seed: [slot; 16],
            sampling: Sampling::GREEDY,
            max_tokens: 40,
            stop: Vec::new(),
            prompt: vec![1, 2],
        };
        decoder.slots().open(slot, &query).unwrap();
    }
    decoder
}

/// A code of nothing but segments in which every slot brings no token, as long as it takes to fill `len` bytes; their number.
fn crowd(slots: u8, len: usize) -> (Vec<u8>, usize) {
    let (mut coder, mut framing, mut bits) = (coder::Encoder::default(), Framing::new(FULL), 0.0);
    let (mut before, mut segments) = (Before::Fresh, 0);
    while coder.len() < len + 16 {
        let mut port = Port::Write(&mut coder);
        if segments > 0 {
            Framing::goes_on(&mut port, true, &mut bits);
        }
        framing.taken_in(&mut port, 0, &mut bits);
        for slot in 0..slots {
            framing.count(&mut port, before, slot > 0, Count::Cap(0), &mut bits);
        }
        before = Before::Short;
        segments += 1;
    }
    let mut code = Vec::new();
    coder.end(&mut code);
    code.truncate(len);
    (code, segments)
}

/// Steps that a piece says, and the error that it ends with.
fn read(decoder: &mut Decoder<Markov>, code: &[u8]) -> (usize, Error) {
    decoder.piece(code).unwrap();
    let mut steps = 0;
    loop {
        match decoder.advance() {
            Ok(Some(_)) => steps += 1,
            Ok(None) => panic!("taken, after {steps} steps"),
            Err(error) => return (steps, error),
        }
    }
}

/// A datagram full of segments costs no more than its first.
#[test]
fn a_piece_holds_no_crowd_of_segments() {
    for (slots, len) in [(1, 1467), (3, 1467), (1, 65_500)] {
        let (code, segments) = crowd(slots, len);
        assert!(segments > 500, "{segments}");
        let mut decoder = decoder(slots, len);
        let (steps, error) = read(&mut decoder, &code);
        assert!(matches!(error, Error::Unfilled), "{error}");
        // What its first segment takes in, and its tokens.
        assert_eq!(steps, 2);
        assert!(matches!(decoder.advance(), Err(Error::Broken)));
    }
}

/// A segment without a live slot would cost a bit and a half.
#[test]
fn a_segment_says_something() {
    let (code, segments) = crowd(0, 1467);
    assert!(segments > 7000, "{segments}");
    let (steps, error) = read(&mut decoder(0, code.len()), &code);
    assert!(matches!(error, Error::Empty), "{error}");
    assert_eq!(steps, 0);
}
