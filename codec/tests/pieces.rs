//! The continuous code: segments in, pieces out, whatever the lengths; both ends in step after every piece.

use std::collections::VecDeque;

use proptest::prelude::*;
use weir_codec::pieces::{Decoder, Encoder, Step};
use weir_codec::testing::{Markov, letters};
use weir_codec::{End, Error, Offer, Query, Sampling, Settings};
use weir_exact::{Kernel, Token};

const VOCAB: usize = 300;
const END: Token = 5;

fn query(slot: u8, max_tokens: u32) -> Query {
    Query {
        seed: [slot; 16],
        sampling: Sampling::at([0.0, 0.7, 1.0][usize::from(slot % 3)]),
        max_tokens,
        stop: vec![b"abc".to_vec()],
        prompt: vec![1, u32::from(slot), 9],
    }
}

/// Both ends, what is under way between them, and what either has seen.
struct Line {
    encoder: Encoder<Markov>,
    decoder: Decoder<Markov>,
    len: usize,
    /// Queries that inner has opened and no segment has taken in, or that the decoder has not come to.
    opening: VecDeque<(u8, Query)>,
    untold: u32,
    said: Vec<Vec<Token>>,
    heard: Vec<Vec<Token>>,
    ended: Vec<(u8, End)>,
    pieces: usize,
    /// Segments that the decoder has begun.
    begun: usize,
}

impl Line {
    fn new(len: usize) -> Self {
        let vocabulary = letters(VOCAB, END);
        Self {
            encoder: Encoder::new(
                Markov::new(VOCAB),
                vocabulary.clone(),
                Settings::default(),
                Kernel::detect(),
                len,
            ),
            decoder: Decoder::new(
                Markov::new(VOCAB),
                vocabulary,
                Settings::default(),
                Kernel::detect(),
                len,
            ),
            len,
            opening: VecDeque::new(),
            untold: 0,
            said: vec![Vec::new(); 128],
            heard: vec![Vec::new(); 128],
            ended: Vec::new(),
            pieces: 0,
            begun: 0,
        }
    }

    fn open(&mut self, slot: u8, query: Query) {
        self.encoder.slots().open(slot, &query).unwrap();
        self.opening.push_back((slot, query));
        self.untold += 1;
    }

    fn segment(&mut self, offers: &[(u8, Offer<'_>)]) {
        let sealed = self.encoder.segment(self.untold, offers).unwrap();
        self.untold = 0;
        for (&(slot, count), (_, offer)) in sealed.coded.iter().zip(offers) {
            if let Offer::Tokens(tokens) = offer {
                self.said[usize::from(slot)].extend(&tokens[..count]);
            }
        }
    }

    /// What inner does when a piece is due (SPEC 4.15): codes a segment only if none stands, ends the code if none stands then.
    fn turn(&mut self, offers: &[(u8, Offer<'_>)]) -> bool {
        if !self.encoder.has_piece() && (self.untold > 0 || !offers.is_empty()) {
            self.segment(offers);
        }
        if !self.encoder.has_piece() {
            self.encoder.pad();
        }
        self.piece()
    }

    /// Sends a piece if there is one; tells whether there was.
    fn piece(&mut self) -> bool {
        let mut code = Vec::new();
        let Some(digest) = self.encoder.piece(&mut code) else {
            return false;
        };
        assert_eq!(code.len(), self.len);
        self.pieces += 1;
        // As the wire brings it.
        let end = code
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        self.decoder.piece(&code[..end]).unwrap();
        let before = self.begun;
        while let Some(step) = self.decoder.advance().unwrap() {
            match step {
                Step::TakenIn(count) => {
                    self.begun += 1;
                    for (slot, query) in self.opening.drain(..count as usize) {
                        self.decoder.slots().open(slot, &query).unwrap();
                    }
                }
                Step::Tokens(decoded) => {
                    for answer in decoded.answers {
                        self.heard[usize::from(answer.slot)].extend(&answer.tokens);
                        self.ended.extend(answer.end.map(|end| (answer.slot, end)));
                    }
                }
            }
        }
        assert_eq!(self.decoder.digest(), digest);
        // SPEC 4.15: a segment is coded for one piece, and its beginning is known at the latest with the next.
        assert!(self.begun <= self.pieces && self.begun <= before + 2);
        for (said, heard) in self.said.iter().zip(&self.heard) {
            assert!(said.starts_with(heard), "{said:?} {heard:?}");
        }
        true
    }

    /// Ends the code and sends all of it.
    fn flush(&mut self) {
        self.encoder.pad();
        while self.piece() {}
        assert!(!self.encoder.is_behind());
        assert_eq!(self.said, self.heard);
        assert!(self.opening.len() == self.untold as usize);
        assert!(self.encoder.live().eq(self.decoder.live()));
    }
}

fn tokens(state: &mut u32, count: usize) -> Vec<Token> {
    (0..count)
        .map(|_| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let token = (*state >> 8) % VOCAB as u32;
            // Mostly the likely ones' letters, seldom an end.
            if token == END && *state >> 30 != 0 {
                END + 1
            } else {
                token
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_ends_keep_step(
        len in prop_oneof![4 => 26..90usize, 2 => 90..1500usize, 1 => Just(65_501usize)],
        seed in any::<u32>(),
        turns in prop::collection::vec((0..16u8, any::<[u8; 4]>(), 0..6u8), 1..40),
    ) {
        let mut line = Line::new(len);
        let mut state = seed;
        for (slot, counts, what) in turns {
            if !line.encoder.live().any(|live| live == slot) {
                line.open(slot, query(slot, 1 + u32::from(counts[0])));
            }
            let live: Vec<u8> = line.encoder.live().collect();
            let parts: Vec<_> = live.iter().map(|&slot| {
                let count = match counts[usize::from(slot % 4)] { n @ 0..=20 => usize::from(n), _ => 10 };
                (slot, counts[usize::from(slot % 4)], tokens(&mut state, count))
            }).collect();
            let offers: Vec<_> = parts.iter().map(|(slot, count, part)| match count {
                254 => (*slot, Offer::Refused),
                255 => (*slot, Offer::Failed),
                _ => (*slot, Offer::Tokens(part)),
            }).collect();
            // Where pieces stand no segment is coded, so what was offered is offered again.
            while line.encoder.has_piece() {
                line.piece();
            }
            line.turn(&offers);
            match what {
                0 => line.flush(),
                1 => while line.encoder.has_piece() { line.piece(); },
                _ => {}
            }
        }
        line.flush();
    }
}

/// With much to say no byte is lost: all pieces together are as long as the code, up to the last one's zeros.
#[test]
fn pieces_are_full() {
    let mut line = Line::new(40);
    for slot in 0..6 {
        line.open(slot, query(slot, 4000));
    }
    let (mut state, mut bits) = (1, 0.0);
    for _ in 0..60 {
        let parts: Vec<_> = (0..6).map(|_| tokens(&mut state, 10)).collect();
        let parts: Vec<Vec<Token>> = parts
            .into_iter()
            .map(|part| {
                part.into_iter()
                    .map(|token| token + u32::from(token == END))
                    .collect()
            })
            .collect();
        let live: Vec<u8> = line.encoder.live().collect();
        let offers: Vec<_> = live
            .iter()
            .map(|&slot| (slot, Offer::Tokens(&parts[usize::from(slot)])))
            .collect();
        while line.encoder.has_piece() {
            line.piece();
        }
        let sealed = line.encoder.segment(line.untold, &offers).unwrap();
        line.untold = 0;
        bits += sealed.stats.coded_bits + sealed.stats.framing_bits;
        for (&(slot, count), (_, offer)) in sealed.coded.iter().zip(&offers) {
            let Offer::Tokens(tokens) = offer else {
                unreachable!()
            };
            line.said[usize::from(slot)].extend(&tokens[..count]);
        }
        while line.piece() {}
    }
    line.flush();
    let bytes = line.pieces * line.len;
    assert!(
        bytes as f64 * 8.0 < bits + 8.0 * (line.len as f64 + 3.0),
        "{bytes} bytes for {bits} bits"
    );
}

/// What a piece determines is told with it, not with the end of its segment.
#[test]
fn tokens_come_as_soon_as_they_are_settled() {
    let mut line = Line::new(26);
    line.open(0, query(0, 4000));
    let part: Vec<Token> = (0..64).map(|token| token * 4 + 7).collect();
    line.segment(&[(0, Offer::Tokens(&part))]);
    let mut before = 0;
    while line.piece() {
        let heard = line.heard[0].len();
        assert!(heard > before && heard < 64, "{heard}");
        before = heard;
    }
    line.flush();
    assert_eq!(line.heard[0].len(), 64);
}

/// Whatever is changed in a piece with a PAD behind the PAD is refused; elsewhere it is refused or says something else.
#[test]
fn nothing_is_said_behind_a_pad() {
    let code = |len: usize| {
        let mut line = Line::new(len);
        line.open(1, query(1, 100));
        line.encoder
            .segment(1, &[(1, Offer::Tokens(&[7, 8, 9]))])
            .unwrap();
        line.encoder.pad();
        let mut code = Vec::new();
        let digest = line.encoder.piece(&mut code).unwrap();
        (line, code, digest)
    };
    let (_, clean, digest) = code(60);
    let end = clean.iter().rposition(|&byte| byte != 0).unwrap();
    let mut refused = 0;
    for bit in 0..60 * 8 {
        let (mut line, mut bad, _) = code(60);
        bad[bit / 8] ^= 1 << (bit % 8);
        line.decoder.piece(&bad).unwrap();
        let (mut heard, mut opened) = (Vec::new(), false);
        let result = loop {
            match line.decoder.advance() {
                Ok(Some(Step::TakenIn(_))) if !opened => {
                    line.decoder.slots().open(1, &query(1, 100)).unwrap();
                    opened = true;
                }
                Ok(Some(Step::TakenIn(_))) => {}
                Ok(Some(Step::Tokens(decoded))) => {
                    heard.extend(decoded.answers.into_iter().flat_map(|answer| answer.tokens));
                }
                other => break other,
            }
        };
        match result {
            Err(Error::NotCanonical | Error::Unfilled | Error::Empty) => {
                refused += 1;
                assert!(matches!(line.decoder.advance(), Err(Error::Broken)));
            }
            Ok(None) => assert!(heard != [7, 8, 9] || line.decoder.digest() != digest),
            other => panic!("{other:?}"),
        }
        if bit / 8 > end + 2 {
            assert!(matches!(line.decoder.advance(), Err(Error::Broken)), "bit {bit}");
        }
    }
    assert!(refused > 8 * (60 - end - 3), "{refused}");
}

/// An encoder writes nothing that a decoder refuses, and says why at once.
#[test]
fn segments_that_no_decoder_takes_are_refused() {
    let mut line = Line::new(26);
    assert!(matches!(line.encoder.segment(0, &[]), Err(Error::Empty)));
    line.open(0, query(0, 4000));
    line.segment(&[(0, Offer::Tokens(&[7]))]);
    assert!(!line.encoder.has_piece());
    // Too early: no piece was filled.
    let early = line.encoder.segment(0, &[(0, Offer::Tokens(&[8]))]);
    assert!(matches!(early, Err(Error::Unfilled)));
    line.flush();
    let long: Vec<Token> = (0..64).map(|token| token * 4 + 9).collect();
    line.segment(&[(0, Offer::Tokens(&long))]);
    assert!(line.encoder.has_piece());
    // Too early: a piece still stands.
    line.piece();
    assert!(line.encoder.has_piece());
    let early = line.encoder.segment(0, &[(0, Offer::Tokens(&[8]))]);
    assert!(matches!(early, Err(Error::Unfilled)));
    while line.piece() {}
    line.segment(&[(0, Offer::Tokens(&[8]))]);
    line.flush();
}

#[test]
fn bytes_that_no_encoder_writes_are_refused() {
    let mut decoder = Decoder::new(
        Markov::new(VOCAB),
        letters(VOCAB, END),
        Settings::default(),
        Kernel::detect(),
        40,
    );
    decoder.piece(&[0xff; 40]).unwrap();
    assert!(matches!(decoder.advance(), Err(Error::NotCanonical)));
}
