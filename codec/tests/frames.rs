//! Encoder against decoder on a toy model: whole batches with slots that come, go, stall, end and are cut.

use weir_codec::testing::{Markov, letters};
use weir_codec::{Decoder, Encoder, End, Error, Offer, Query, Sampler, Sampling, Settings};
use weir_exact::{Kernel, Token};

const END: Token = 5;

/// A strong model on the side: answers of one query, drawn with its seed.
struct Strong {
    model: Markov,
    weak: Markov,
    sampler: Sampler,
}

impl Strong {
    fn new(vocab: usize) -> Self {
        Self {
            model: Markov::new(vocab).relative(1),
            weak: Markov::new(vocab),
            sampler: Sampler::new(Kernel::detect()),
        }
    }

    fn answer(&mut self, query: &Query, len: usize) -> Vec<Token> {
        let mut context = query.prompt.clone();
        for position in 0..len {
            let (strong, weak) = (self.model.logits(&context), self.weak.logits(&context));
            let (sampling, seed) = (&query.sampling, &query.seed);
            let token = self
                .sampler
                .sample_lossy(strong, weak, sampling, seed, position as u32)
                .unwrap();
            context.push(token);
        }
        context.split_off(query.prompt.len())
    }
}

fn query(n: u8, temperature: f32) -> Query {
    Query {
        seed: [n; 16],
        sampling: Sampling {
            temperature,
            top_p: if n.is_multiple_of(2) { 1.0 } else { 0.9 },
            top_k: 0,
            tau: [1.0, 1.0, 0.3, 1.0, 0.05][usize::from(n % 5)],
        },
        max_tokens: 1000,
        stop: Vec::new(),
        prompt: vec![u32::from(n) + 10, 11, 12],
    }
}

fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Both ends of a batch, with what inner still has to say.
struct Pair {
    encoder: Encoder<Markov>,
    decoder: Decoder<Markov>,
    waiting: Vec<Option<(Query, Vec<Token>)>>,
    got: Vec<Vec<Token>>,
}

impl Pair {
    fn new(vocab: usize) -> Self {
        let settings = Settings::default();
        let vocabulary = letters(vocab, END);
        Self {
            encoder: Encoder::new(Markov::new(vocab), vocabulary.clone(), settings, Kernel::detect()),
            decoder: Decoder::new(Markov::new(vocab), vocabulary, settings, Kernel::detect()),
            waiting: vec![None; 128],
            got: vec![Vec::new(); 128],
        }
    }

    /// One frame: opens `queries`, offers what `count(slot)` says of each live slot, and compares both ends.
    fn frame(
        &mut self,
        queries: &[(u8, Query, Vec<Token>)],
        limit: usize,
        count: &mut dyn FnMut(u8) -> usize,
    ) -> (usize, Vec<(u8, End)>) {
        for (slot, query, answer) in queries {
            self.encoder.slots().open(*slot, query).unwrap();
            self.waiting[usize::from(*slot)] = Some((query.clone(), answer.clone()));
            self.got[usize::from(*slot)].clear();
        }
        let live: Vec<u8> = self.encoder.live().collect();
        let tokens: Vec<Vec<Token>> = live
            .iter()
            .map(|&slot| {
                let answer = &self.waiting[usize::from(slot)].as_ref().unwrap().1;
                answer[..answer.len().min(count(slot))].to_vec()
            })
            .collect();
        let offers: Vec<_> = live
            .iter()
            .zip(&tokens)
            .map(|(&slot, t)| (slot, Offer::Tokens(t)))
            .collect();
        let mut code = Vec::new();
        let sealed = self
            .encoder
            .frame(queries.len() as u32, &offers, limit, &mut code)
            .unwrap();
        assert!(code.len() <= limit, "{} of {limit}", code.len());
        assert_eq!(code.len(), sealed.stats.bytes);

        code.extend([0; 2]); // padding of a link
        let mut begun = self.decoder.begin(&code).unwrap();
        assert_eq!(begun.taken_in(), queries.len() as u32);
        for (slot, query, _) in queries {
            begun.slots().open(*slot, query).unwrap();
        }
        let decoded = begun.finish().unwrap();
        assert_eq!(decoded.digest, sealed.digest);
        assert_eq!(
            (decoded.stats.tokens, &decoded.stats.slots),
            (sealed.stats.tokens, &sealed.stats.slots)
        );
        let bits = sealed.stats.coded_bits + sealed.stats.framing_bits;
        assert!(
            (sealed.stats.bytes as f64) <= bits / 8.0 + 1.1,
            "{} bytes, {bits} bits",
            sealed.stats.bytes
        );
        assert!(self.encoder.live().eq(self.decoder.live()));

        let mut ends = Vec::new();
        for (answer, &(slot, coded)) in decoded.answers.iter().zip(&sealed.coded) {
            assert_eq!((answer.slot, answer.tokens.len()), (slot, coded));
            let sent: Vec<_> = self.waiting[usize::from(slot)]
                .as_mut()
                .unwrap()
                .1
                .drain(..coded)
                .collect();
            assert_eq!(answer.tokens, sent);
            self.got[usize::from(slot)].extend(sent);
            assert_eq!(answer.end.is_some(), sealed.ended.contains(&slot));
            ends.extend(answer.end.map(|end| (slot, end)));
        }
        (sealed.stats.bytes, ends)
    }
}

#[test]
fn slots_come_and_go() {
    let vocab = 600;
    let mut strong = Strong::new(vocab);
    let mut pair = Pair::new(vocab);
    let mut state = 3;
    let (mut ended, mut tokens, mut cuts) = (0, 0, 0);
    for frame in 0..120 {
        let mut queries = Vec::new();
        for slot in 0..20 {
            if pair.encoder.live().all(|live| live != slot) && random(&mut state).is_multiple_of(8) {
                let mut query = query(slot ^ frame, [0.0, 0.3, 0.7, 1.0][usize::from(slot % 4)]);
                query.max_tokens = 5 + random(&mut state) as u32 % 60;
                if slot % 5 == 0 {
                    query.stop = vec![b"ab".to_vec(), b"q".to_vec()];
                }
                let answer = strong.answer(&query, 70);
                queries.push((slot, query, answer));
            }
        }
        let live = pair.encoder.live().count() + queries.len();
        let limit = if frame % 3 == 0 {
            Settings::least_limit(live)
        } else {
            1400
        };
        let stalled = frame % 7 == 0;
        let (_, ends) = pair.frame(&queries, limit, &mut |_| {
            if stalled {
                random(&mut state) as usize % 12
            } else {
                10
            }
        });
        for (slot, end) in ends {
            ended += 1;
            let got = &pair.got[usize::from(slot)];
            let (query, _) = pair.waiting[usize::from(slot)].clone().unwrap();
            match end {
                End::Token => assert_eq!(got.last(), Some(&END)),
                End::MaxTokens => assert_eq!(got.len(), query.max_tokens as usize),
                End::Stop(found) => assert!(found.stop < 2 && found.consumed == 1),
                End::Refused | End::Failed => unreachable!(),
            }
            tokens += got.len();
        }
        cuts += usize::from(limit < 1400);
    }
    assert!(
        ended > 50 && tokens > 1000 && cuts > 10,
        "{ended} ended, {tokens} tokens, {cuts}"
    );
}

#[test]
fn a_cut_carries_the_rest() {
    let mut strong = Strong::new(600);
    let mut pair = Pair::new(600);
    let queries: Vec<_> = (0..8)
        .map(|slot| {
            let query = query(slot, 2.0);
            let mut answer = strong.answer(&query, 40);
            answer
                .iter_mut()
                .for_each(|token| *token += u32::from(*token == END));
            (slot, query, answer)
        })
        .collect();
    let limit = Settings::least_limit(8);
    pair.frame(&queries, limit, &mut |_| 40);
    let first: Vec<usize> = pair.got[..8].iter().map(Vec::len).collect();
    assert!(
        first[0] > 0 && first[0] < 40 && first.iter().all(|&n| n == first[0]),
        "{first:?}"
    );
    let mut frames = 1;
    while pair.got[0].len() < 40 {
        pair.frame(&[], limit, &mut |_| 40);
        frames += 1;
    }
    assert!(frames < 40);
    for (slot, (_, _, answer)) in queries.iter().enumerate() {
        assert_eq!(&pair.got[slot], answer);
    }
}

#[test]
fn frames_of_nothing_are_empty() {
    let mut pair = Pair::new(300);
    for _ in 0..50 {
        assert!(pair.frame(&[], 16, &mut |_| 0).0 <= 1);
    }
}

#[test]
fn refused_failed_cancelled() {
    let vocabulary = letters(300, END);
    let mut encoder = Encoder::new(
        Markov::new(300),
        vocabulary.clone(),
        Settings::default(),
        Kernel::detect(),
    );
    let mut decoder = Decoder::new(
        Markov::new(300),
        vocabulary,
        Settings::default(),
        Kernel::detect(),
    );
    for slot in [0, 1, 2, 127] {
        encoder.slots().open(slot, &query(slot, 1.0)).unwrap();
        decoder.slots().open(slot, &query(slot, 1.0)).unwrap();
    }
    let offers = [
        (0, Offer::Refused),
        (1, Offer::Tokens(&[7, 8])),
        (2, Offer::Failed),
        (127, Offer::Tokens(&[9])),
    ];
    let mut code = Vec::new();
    let sealed = encoder.frame(4, &offers, 100, &mut code).unwrap();
    assert_eq!(sealed.ended, [0, 2]);
    let begun = decoder.begin(&code).unwrap();
    let decoded = begun.finish().unwrap();
    assert_eq!(decoded.digest, sealed.digest);
    let ends: Vec<_> = decoded.answers.iter().map(|a| a.end).collect();
    assert_eq!(ends, [Some(End::Refused), None, Some(End::Failed), None]);
    assert_eq!(decoded.answers[1].tokens, [7, 8]);

    // A cancel frees the slot on both ends, and the number can be used again.
    encoder.slots().close(1);
    encoder.slots().open(1, &query(9, 0.0)).unwrap();
    assert!(matches!(
        encoder.slots().open(1, &query(9, 0.0)),
        Err(Error::Slot { slot: 1, .. })
    ));
    code.clear();
    let offers = [(1, Offer::Tokens(&[1, 2, 3][..])), (127, Offer::Tokens(&[]))];
    let sealed = encoder.frame(2, &offers, 100, &mut code).unwrap();
    let mut begun = decoder.begin(&code).unwrap();
    assert_eq!(begun.taken_in(), 2);
    begun.slots().close(1);
    begun.slots().open(1, &query(9, 0.0)).unwrap();
    let decoded = begun.finish().unwrap();
    assert_eq!(
        (decoded.digest, decoded.answers[0].tokens.as_slice()),
        (sealed.digest, &[1, 2, 3][..])
    );
}

#[test]
fn misuse_is_told_and_harmless() {
    let mut encoder = Encoder::new(
        Markov::new(300),
        letters(300, END),
        Settings::default(),
        Kernel::detect(),
    );
    encoder.slots().open(3, &query(1, 1.0)).unwrap();
    let mut out = Vec::new();
    let mut frame = |taken, offers: &[(u8, Offer<'_>)], limit| encoder.frame(taken, offers, limit, &mut out);
    assert!(matches!(frame(0, &[], 99), Err(Error::Offers)));
    assert!(matches!(
        frame(0, &[(3, Offer::Tokens(&[0; 65]))], 99),
        Err(Error::Offers)
    ));
    assert!(matches!(
        frame(0, &[(3, Offer::Tokens(&[300]))], 99),
        Err(Error::Token {
            token: 300,
            vocab: 300
        })
    ));
    assert!(matches!(
        frame(0, &[(3, Offer::Tokens(&[]))], 24),
        Err(Error::Limit { limit: 24, least: 25 })
    ));
    assert!(matches!(
        frame(1 << 16, &[(3, Offer::Tokens(&[]))], 99),
        Err(Error::TakenIn)
    ));
    frame(1, &[(3, Offer::Tokens(&[1]))], 25).unwrap();
    for (bad, what) in [
        (
            Query {
                prompt: vec![],
                ..query(0, 1.0)
            },
            "prompt",
        ),
        (
            Query {
                prompt: vec![300],
                ..query(0, 1.0)
            },
            "prompt",
        ),
        (
            Query {
                max_tokens: 5000,
                ..query(0, 1.0)
            },
            "positions",
        ),
        (
            Query {
                max_tokens: 0,
                ..query(0, 1.0)
            },
            "max_tokens",
        ),
        (
            Query {
                stop: vec![vec![]],
                ..query(0, 1.0)
            },
            "stop",
        ),
        (query(0, f32::NAN), "temperature"),
        (query(0, -1.0), "temperature"),
    ] {
        assert!(
            encoder
                .slots()
                .open(4, &bad)
                .unwrap_err()
                .to_string()
                .contains(what)
        );
    }
    assert!(encoder.slots().open(128, &query(0, 1.0)).is_err());
}

/// How frames are cut out of the answers changes nothing but framing: the same tokens cost about the same.
#[test]
fn any_grouping_decodes() {
    let mut strong = Strong::new(600);
    let queries: Vec<_> = (0..6)
        .map(|slot| (slot, query(slot, 1.0)))
        .map(|(s, q)| (s, q.clone(), strong.answer(&q, 60)))
        .collect();
    let mut sizes = Vec::new();
    for step in [1, 7, 10, 64] {
        let mut pair = Pair::new(600);
        let mut bytes = pair.frame(&queries, 4000, &mut |_| step).0;
        while pair.encoder.live().count() > 0 && pair.waiting.iter().flatten().any(|w| !w.1.is_empty()) {
            bytes += pair.frame(&[], 4000, &mut |_| step).0;
        }
        sizes.push(bytes);
    }
    // Sixty seals and counts against one.
    assert!(sizes[3] <= sizes[0] && sizes[0] < sizes[3] + 60, "{sizes:?}");
}

#[test]
fn damaged_codes_never_panic() {
    let mut strong = Strong::new(400);
    let (q, vocabulary) = (query(1, 1.0), letters(400, END));
    let answer = strong.answer(&q, 20);
    let mut encoder = Encoder::new(
        Markov::new(400),
        vocabulary.clone(),
        Settings::default(),
        Kernel::detect(),
    );
    encoder.slots().open(0, &q).unwrap();
    let mut code = Vec::new();
    let sealed = encoder
        .frame(1, &[(0, Offer::Tokens(&answer[..10]))], 200, &mut code)
        .unwrap();
    let mut refused = 0;
    for at in 0..code.len() * 8 + code.len() {
        let mut bad = code.clone();
        if at < code.len() * 8 {
            bad[at / 8] ^= 1 << (at % 8);
        } else {
            bad.truncate(at - code.len() * 8);
        }
        let mut decoder = Decoder::new(
            Markov::new(400),
            vocabulary.clone(),
            Settings::default(),
            Kernel::detect(),
        );
        let mut begun = decoder.begin(&bad).unwrap();
        begun.slots().open(0, &q).unwrap();
        match begun.finish() {
            Err(Error::NotCanonical) => {
                refused += 1;
                assert!(matches!(decoder.begin(&bad), Err(Error::Broken)));
            }
            Err(error) => panic!("{error}"),
            // Some bytes are the code of other tokens: then the digest tells.
            Ok(decoded) => assert_ne!(decoded.digest, sealed.digest),
        }
    }
    assert!(refused > 0);
}

/// SPEC 4.6: what another tokenizer's tokens were drawn with says nothing of these. A frame is the same under any seed, and
/// plain where the noise would have been believed; at temperature 0 it is what it was.
#[test]
fn retokenized_answers_do_not_look_at_the_seed() {
    let frame = |n: u8, temperature: f32, retokenized: bool| {
        let settings = Settings {
            retokenized,
            ..Settings::default()
        };
        let query = Query {
            seed: [n; 16],
            ..query(0, temperature)
        };
        let answer = Strong::new(300).answer(&query, 10);
        let (mut encoder, mut decoder) = (
            Encoder::new(Markov::new(300), letters(300, END), settings, Kernel::detect()),
            Decoder::new(Markov::new(300), letters(300, END), settings, Kernel::detect()),
        );
        // Tokens of one seed, said to be of another.
        let other = Query {
            seed: [n ^ 1; 16],
            ..query
        };
        encoder.slots().open(0, &other).unwrap();
        decoder.slots().open(0, &other).unwrap();
        let mut code = Vec::new();
        let sealed = encoder
            .frame(1, &[(0, Offer::Tokens(&answer))], 400, &mut code)
            .unwrap();
        let begun = decoder.begin(&code).unwrap();
        let decoded = begun.finish().unwrap();
        assert!(answer.starts_with(&decoded.answers[0].tokens));
        assert_eq!(decoded.digest, sealed.digest);
        (code, sealed.stats.coded_bits, sealed.stats.plain_bits)
    };
    let total = |retokenized| {
        (0..20).fold((0.0, 0.0), |(coded, plain), n| {
            let (_, more, all) = frame(n, 1.0, retokenized);
            (coded + more, plain + all)
        })
    };
    let ((misled, _), (coded, plain)) = (total(false), total(true));
    assert!(coded < misled && coded < 1.1 * plain, "{coded} {misled} {plain}");
    assert_eq!(frame(2, 0.0, true), frame(2, 0.0, false));
    assert_ne!(frame(2, 1.0, true).0, frame(2, 1.0, false).0);

    let answer = Strong::new(300).answer(&query(0, 1.0), 10);
    let under = |seed: u8, retokenized| {
        let settings = Settings {
            retokenized,
            ..Settings::default()
        };
        let mut encoder = Encoder::new(Markov::new(300), letters(300, END), settings, Kernel::detect());
        let query = Query {
            seed: [seed; 16],
            ..query(0, 1.0)
        };
        encoder.slots().open(0, &query).unwrap();
        let mut code = Vec::new();
        let sealed = encoder
            .frame(1, &[(0, Offer::Tokens(&answer))], 400, &mut code)
            .unwrap();
        (code, sealed.digest)
    };
    assert_eq!(under(7, true), under(8, true));
    assert_ne!(under(7, false), under(8, false));
}
