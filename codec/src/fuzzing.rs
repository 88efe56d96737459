//! Bodies of the fuzz targets: the same functions that tests call, on a toy model.

use core::ops::ControlFlow;

use crate::pieces::{self, Step};
use crate::query::{Query, Sampling, Settings};
use crate::testing::{Markov, letters};
use crate::text::{Window, compress, decompress};
use crate::{Answer, Decoder, Encoder, End, Error, Offer};
use weir_exact::Kernel;

const VOCAB: usize = 300;
const SLOTS: u8 = 4;

fn query(slot: u8) -> Query {
    Query {
        seed: [slot; 16],
        sampling: Sampling {
            tau: [1.0, 1.0, 0.3, 0.05][usize::from(slot % 4)],
            ..Sampling::at(f32::from(slot % 3) * 0.4)
        },
        max_tokens: 40,
        stop: vec![b"abc".to_vec()],
        prompt: vec![1, u32::from(slot)],
    }
}

/// Whether answers are retokenized, as the first byte says, and the bytes after it.
fn settings(data: &[u8]) -> (Settings, &[u8]) {
    let (&first, rest) = data.split_first().unwrap_or((&0, &[]));
    let settings = Settings {
        retokenized: first & 1 == 1,
        ..Settings::default()
    };
    (settings, rest)
}

/// Decodes `data` as settings and frames of a batch with a few slots: each is a length byte and as many bytes. Whatever
/// decodes must encode to the same bytes, and to the same state.
///
/// # Panics
/// If it does not.
pub fn decode(data: &[u8]) {
    let (settings, mut rest) = settings(data);
    let vocabulary = letters(VOCAB, 7);
    let mut encoder = Encoder::new(Markov::new(VOCAB), vocabulary.clone(), settings, Kernel::detect());
    let mut decoder = Decoder::new(Markov::new(VOCAB), vocabulary, settings, Kernel::detect());
    for slot in 0..SLOTS {
        encoder
            .slots()
            .open(slot, &query(slot))
            .expect("the model has room");
        decoder
            .slots()
            .open(slot, &query(slot))
            .expect("the model has room");
    }
    while let Some((&len, tail)) = rest.split_first() {
        let (code, tail) = tail.split_at(tail.len().min(usize::from(len)));
        rest = tail;
        let begun = decoder.begin(code).expect("the batch is sound");
        let taken_in = begun.taken_in();
        match begun.finish() {
            Ok(decoded) => {
                let offers = decoded.answers.iter().map(offer);
                let mut again = Vec::new();
                let sealed = encoder
                    .frame(taken_in, &offers.collect::<Vec<_>>(), 4096, &mut again)
                    .expect("what was decoded can be offered");
                // A frame that was cut has larger counts, so its bytes are others.
                let is_cut = decoded
                    .answers
                    .iter()
                    .any(|a| a.end.is_none() && a.tokens.len() < a.cap);
                if is_cut {
                    return;
                }
                let len = code
                    .iter()
                    .rposition(|&byte| byte != 0)
                    .map_or(0, |last| last + 1);
                assert_eq!(again, code[..len]);
                assert_eq!(decoded.digest, sealed.digest);
            }
            Err(Error::NotCanonical) => return,
            Err(error) => panic!("{error}"),
        }
        if decoder.live().next().is_none() {
            return;
        }
    }
}

/// Decodes `data`, a length and pieces, as a continuous code. Every segment and PAD that decodes must encode to the same bytes, and
/// to the same states.
///
/// # Panics
/// If it does not.
pub fn pieces(data: &[u8]) {
    let Some((&len, data)) = data.split_first() else {
        return;
    };
    let len = 9 + usize::from(len % 64);
    let vocabulary = letters(VOCAB, 7);
    let mut encoder = pieces::Encoder::new(
        Markov::new(VOCAB),
        vocabulary.clone(),
        Settings::default(),
        Kernel::detect(),
        len,
    );
    let mut decoder = pieces::Decoder::new(
        Markov::new(VOCAB),
        vocabulary,
        Settings::default(),
        Kernel::detect(),
        len,
    );
    for slot in 0..SLOTS {
        encoder
            .slots()
            .open(slot, &query(slot))
            .expect("the model has room");
        decoder
            .slots()
            .open(slot, &query(slot))
            .expect("the model has room");
    }
    let (mut sent, mut digests) = (Vec::new(), Vec::new());
    // The segment that is being read: messages taken in, and what there is of it.
    let mut segment: Option<(u32, Vec<Answer>)> = None;
    let mut again = Vec::new();
    for piece in data.chunks(len) {
        sent.extend(piece);
        sent.resize(sent.len().next_multiple_of(len), 0);
        decoder.piece(piece).expect("the batch is sound");
        let mut begun = 0;
        loop {
            let step = match decoder.advance() {
                Ok(step) => step,
                Err(Error::NotCanonical | Error::Unfilled | Error::Empty) => return,
                Err(error) => panic!("{error}"),
            };
            // SPEC 4.15: whatever the bytes are, a piece begins no more.
            begun += usize::from(matches!(step, Some(Step::TakenIn(_))));
            assert!(begun <= 3);
            let ends = match &step {
                Some(Step::TakenIn(_)) => true,
                Some(Step::Tokens(_)) => false,
                None => decoder.is_over(),
            };
            if ends && let Some((taken_in, answers)) = segment.take() {
                let offers: Vec<_> = answers.iter().map(offer).collect();
                // As inner does: what stands leaves before more is coded.
                while let Some(digest) = encoder.piece(&mut again) {
                    assert_eq!(digest, digests[again.len() / len - 1]);
                }
                encoder
                    .segment(taken_in, &offers)
                    .expect("what was decoded can be offered");
            }
            match step {
                Some(Step::TakenIn(count)) => segment = Some((count, Vec::new())),
                Some(Step::Tokens(decoded)) => {
                    let (_, answers) = segment.as_mut().expect("a segment begins with what it takes in");
                    for more in decoded.answers {
                        match answers.iter_mut().find(|answer| answer.slot == more.slot) {
                            Some(answer) => {
                                answer.tokens.extend(more.tokens);
                                answer.end = more.end;
                            }
                            None => answers.push(more),
                        }
                    }
                }
                None => break,
            }
        }
        digests.push(decoder.digest());
        if decoder.is_over() {
            encoder.pad();
        }
        while let Some(digest) = encoder.piece(&mut again) {
            assert!(sent.starts_with(&again));
            assert_eq!(digest, digests[again.len() / len - 1]);
        }
        if decoder.is_over() {
            assert_eq!(again, sent);
        }
        if sent.len() > 4096 {
            return;
        }
    }
}

/// What an encoder is told of an answer to write it.
fn offer(answer: &Answer) -> (u8, Offer<'_>) {
    let offer = match answer.end {
        Some(End::Refused) => Offer::Refused,
        Some(End::Failed) => Offer::Failed,
        _ => Offer::Tokens(&answer.tokens),
    };
    (answer.slot, offer)
}

/// Codes and decodes tokens taken from `data`, with settings, slots, counts and limits as it says.
///
/// # Panics
/// If the decoder does not give back what went in.
pub fn roundtrip(data: &[u8]) {
    let (settings, data) = settings(data);
    let vocabulary = letters(VOCAB, 7);
    let mut encoder = Encoder::new(Markov::new(VOCAB), vocabulary.clone(), settings, Kernel::detect());
    let mut decoder = Decoder::new(Markov::new(VOCAB), vocabulary, settings, Kernel::detect());
    let mut bytes = data.iter().copied();
    let mut next = || bytes.next().map(usize::from);
    loop {
        let Some(opened) = next() else { return };
        let slot = opened as u8 % SLOTS;
        let is_new = !encoder.live().any(|live| live == slot);
        if is_new {
            encoder
                .slots()
                .open(slot, &query(slot))
                .expect("the model has room");
        }
        let live: Vec<u8> = encoder.live().collect();
        let mut tokens = Vec::new();
        for _ in &live {
            let Some(count) = next() else { return };
            let part: Vec<u32> = (0..count % 13).map_while(|_| next()).map(|t| t as u32).collect();
            tokens.push((count, part));
        }
        let offers: Vec<_> = live
            .iter()
            .zip(&tokens)
            .map(|(&slot, (count, part))| match count {
                254 => (slot, Offer::Refused),
                255 => (slot, Offer::Failed),
                _ => (slot, Offer::Tokens(part)),
            })
            .collect();
        let Some(room) = next() else { return };
        let limit = Settings::least_limit(live.len()) + room;
        let mut code = Vec::new();
        let sealed = encoder
            .frame(u32::from(is_new), &offers, limit, &mut code)
            .expect("offers are sound");
        assert!(code.len() <= limit);
        let mut begun = decoder.begin(&code).expect("the batch is sound");
        assert_eq!(begun.taken_in(), u32::from(is_new));
        if is_new {
            begun
                .slots()
                .open(slot, &query(slot))
                .expect("the model has room");
        }
        let decoded = begun.finish().expect("an encoder's code");
        assert_eq!(decoded.digest, sealed.digest);
        for ((answer, (_, part)), (_, coded)) in decoded.answers.iter().zip(&tokens).zip(&sealed.coded) {
            assert_eq!(answer.tokens, part[..*coded]);
        }
    }
}

/// Decodes `data`, a count and a code, as one text. Whatever decodes must encode to the same bytes.
///
/// # Panics
/// If it does not.
pub fn stream(data: &[u8]) {
    let Some((&count, code)) = data.split_first() else {
        return;
    };
    let window = Window { size: 16, overlap: 5 };
    let (mut model, count) = (Markov::new(VOCAB), usize::from(count));
    let each = &mut |_| ControlFlow::Continue(());
    match decompress(&mut model, Kernel::detect(), window, 0, code, count, each) {
        Ok(tokens) => {
            let mut again = Vec::new();
            compress(
                &mut model,
                Kernel::detect(),
                window,
                0,
                &tokens,
                &mut again,
                &mut |_| {},
            )
            .expect("what was decoded can be coded");
            let len = code
                .iter()
                .rposition(|&byte| byte != 0)
                .map_or(0, |last| last + 1);
            assert_eq!(again, code[..len]);
        }
        Err(Error::NotCanonical) => {}
        Err(error) => panic!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn decode(data in prop::collection::vec(any::<u8>(), 0..200)) {
            super::decode(&data);
        }

        #[test]
        fn pieces(data in prop::collection::vec(any::<u8>(), 0..300)) {
            super::pieces(&data);
        }

        #[test]
        fn stream(data in prop::collection::vec(any::<u8>(), 0..100)) {
            super::stream(&data);
        }

        #[test]
        fn roundtrip(data in prop::collection::vec(any::<u8>(), 0..400)) {
            super::roundtrip(&data);
        }
    }
}
