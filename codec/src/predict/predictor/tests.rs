use super::*;
use crate::predict::widths::ESCAPE;
use crate::predict::{ENTRANT, ENTRANTS, GLOBAL, Hit};
use crate::testing::Markov;

fn prepared(vocab: usize, context: &[Token], temperature: f32, predictor: &mut Predictor) {
    let mut model = Markov::new(vocab);
    let noise = Noise::new(&[3; 16], context.len() as u32);
    let sampling = Sampling::at(temperature);
    let own = predictor.begin(Some(&sampling));
    predictor
        .prepare(model.logits(context), Some((&sampling, &noise)), &own)
        .unwrap();
}

#[test]
fn places_tile_both_totals() {
    for vocab in [2, 3, 100, 128, 129, 500] {
        for temperature in [0.0, 0.3, 1.0] {
            let mut predictor = Predictor::new(Kernel::Portable);
            for round in 0..4 {
                prepared(vocab, &[round, 7], temperature, &mut predictor);
                let (mut at, mut rest_at, mut escapes) = (0u64, 0u64, 0);
                for id in 0..vocab as Token {
                    let place = predictor.prediction().place(id);
                    let (start, width) = place.first;
                    assert!(width > 0);
                    match place.rest {
                        None if place.first == predictor.prediction.widths.escape => escapes += 1,
                        None => {
                            assert_eq!(u64::from(start), at);
                            at += u64::from(width);
                            for point in [start, start + (width - 1)] {
                                assert_eq!(
                                    predictor.prediction().find(point),
                                    Hit::Candidate(id, place.first)
                                );
                            }
                        }
                        Some((start, width)) => {
                            escapes += 1;
                            assert!(width > 0 && place.first.1 >= ESCAPE);
                            assert_eq!(u64::from(start), rest_at);
                            rest_at += u64::from(width);
                            for point in [start, start + (width - 1)] {
                                assert_eq!(predictor.prediction().find_rest(point), (id, (start, width)));
                            }
                            assert_eq!(predictor.prediction().find(u32::MAX), Hit::Escape(place.first));
                        }
                    }
                }
                assert_eq!(at + u64::from(predictor.prediction.widths.escape.1), 1 << 32);
                assert!(escapes < 2 || rest_at == 1 << 32);
                assert_eq!(escapes + predictor.prediction().candidates(), vocab);
                let mut own = predictor.begin(None);
                predictor.learn(round % vocab as u32, &mut own);
            }
        }
    }
}

#[test]
fn every_kernel_predicts_the_same() {
    let mut predictors: Vec<_> = Kernel::ALL
        .into_iter()
        .filter(|k| k.supported())
        .map(Predictor::new)
        .collect();
    for round in 0..20 {
        let mut first = None;
        for predictor in &mut predictors {
            prepared(3001, &[round, 1], [0.0, 0.5, 1.0][round as usize % 3], predictor);
            let token = predictor.prediction.candidates.ids[round as usize * 3];
            let mut own = predictor.begin(None);
            predictor.learn(token, &mut own);
            let all = (
                predictor.prediction.candidates.ids.clone(),
                predictor.prediction.widths.width.clone(),
                predictor.prediction.widths.escape,
                predictor.learned,
                own,
            );
            assert_eq!(*first.get_or_insert_with(|| all.clone()), all);
        }
    }
}

/// A winner whose noise and logit are known is far cheaper than a sample: the point of the seed.
#[test]
fn the_seed_saves_bits() {
    let (mut weak, mut strong) = (Markov::new(2000), Markov::new(2000).relative(5));
    let mut sampler = crate::Sampler::new(Kernel::detect());
    for (temperature, least) in [(1.0, 0.75), (0.6, 0.95)] {
        let sampling = Sampling::at(temperature);
        let mut predictor = Predictor::new(Kernel::Portable);
        let mut own = predictor.begin(Some(&sampling));
        let mut context = vec![1, 2];
        let (mut coded, mut plain) = (0.0, 0.0);
        for position in 0..600 {
            let token = sampler
                .sample(strong.logits(&context), &sampling, &[9; 16], position)
                .unwrap();
            let noise = Noise::new(&[9; 16], position);
            predictor
                .prepare(weak.logits(&context), Some((&sampling, &noise)), &own)
                .unwrap();
            coded += predictor.prediction().place(token).bits();
            plain += predictor.prediction().plain_bits(token);
            predictor.learn(token, &mut own);
            context = vec![context[1], token];
        }
        assert!(
            coded < least * plain,
            "temperature {temperature}: {coded} of {plain}"
        );
    }
}

/// Bits of 400 tokens that a relative says, with this much of a say for the model that predicts.
fn bits_of_a_relative(temperature: f32, tau: f32) -> f64 {
    let (mut weak, mut strong) = (Markov::new(2000), Markov::new(2000).relative(5));
    let sampling = Sampling {
        tau,
        ..Sampling::at(temperature)
    };
    let (mut sampler, mut predictor) = (
        crate::Sampler::new(Kernel::detect()),
        Predictor::new(Kernel::Portable),
    );
    let mut own = predictor.begin(Some(&sampling));
    let (mut context, mut bits) = (vec![1, 2], 0.0);
    for position in 0..400 {
        let m = weak.logits(&context);
        // As close as a strong model is to a weak one of its family.
        let l: Vec<f32> = strong
            .logits(&context)
            .iter()
            .zip(m)
            .map(|(l, m)| m + 0.2 * (l - m))
            .collect();
        let token = sampler
            .sample_lossy(&l, m, &sampling, &[9; 16], position)
            .unwrap();
        let noise = Noise::new(&[9; 16], position);
        predictor.prepare(m, Some((&sampling, &noise)), &own).unwrap();
        bits += predictor.prediction().place(token).bits();
        predictor.learn(token, &mut own);
        context = vec![context[1], token];
    }
    bits
}

/// What the user gives up comes back in bits, and the more the more; with next to no say of the strong model next to none
/// are left.
#[test]
fn a_deviation_saves_bits() {
    for temperature in [0.0, 0.7, 1.0] {
        let bits = [1.0, 0.3, 0.05, Sampling::MIN_TAU].map(|tau| bits_of_a_relative(temperature, tau));
        assert!(
            bits.is_sorted_by(|a, b| *b < 0.8 * a),
            "temperature {temperature}: {bits:?}"
        );
        assert!(bits[3] < 0.1 * bits[0], "temperature {temperature}: {bits:?}");
    }
}

#[test]
fn plain_bits_are_those_of_q() {
    let mut predictor = Predictor::new(Kernel::Portable);
    prepared(500, &[1], 1.0, &mut predictor);
    let mut model = Markov::new(500);
    let logits = model.logits(&[1]);
    let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
    for (id, &logit) in logits.iter().enumerate() {
        let exact = -(f64::from(logit).exp() / sum).log2();
        // The smallest have a few units of 2^32 only.
        let slack = if exact < 16.0 { 1e-3 } else { 0.3 };
        assert!(
            (predictor.prediction().plain_bits(id as Token) - exact).abs() < slack,
            "{id}: {exact}"
        );
    }
}

/// Extreme logits: one token has everything, or all are alike.
#[test]
fn extremes() {
    for logits in [
        vec![0.0; 1000],
        [vec![200.0], vec![-200.0; 999]].concat(),
        vec![f32::MAX; 300],
    ] {
        let mut predictor = Predictor::new(Kernel::Portable);
        let noise = Noise::new(&[1; 16], 0);
        let extreme = |temperature| Sampling {
            tau: Sampling::MIN_TAU,
            ..Sampling::at(temperature)
        };
        let all = [
            Sampling::GREEDY,
            Sampling::at(1.0),
            extreme(0.0),
            extreme(1.0),
            extreme(16.0),
        ];
        for sampling in all {
            let own = predictor.begin(Some(&sampling));
            predictor
                .prepare(&logits, Some((&sampling, &noise)), &own)
                .unwrap();
            let worst = (0..300)
                .map(|id| predictor.prediction().place(id).bits())
                .fold(0.0, f64::max);
            assert!(worst <= 48.0, "{worst}");
            let all: u64 = predictor
                .prediction
                .widths
                .width
                .iter()
                .map(|&w| u64::from(w))
                .sum();
            assert_eq!(all + u64::from(predictor.prediction.widths.escape.1), 1 << 32);
        }
    }
    let mut predictor = Predictor::new(Kernel::Portable);
    let own = predictor.begin(None);
    assert!(matches!(
        predictor.prepare(&[0.0], None, &own),
        Err(Error::Vocab(1))
    ));
    assert!(matches!(
        predictor.prepare(&[0.0, f32::NAN], None, &own),
        Err(Error::NotFinite)
    ));
    assert!(predictor.prepare(&[f32::MIN, f32::MAX], None, &own).is_ok());
}

/// Bits of `tokens` in answers of 100, and of q alone, if the sampler is said to be `sampling`.
fn cost(
    vocab: usize,
    sampling: Option<&Sampling>,
    tokens: impl Iterator<Item = Token>,
    parts: Ablation,
) -> (f64, f64) {
    let mut weak = Markov::new(vocab);
    let mut predictor = Predictor::with(Kernel::detect(), parts);
    let (mut coded, mut plain) = (0.0, 0.0);
    let mut context = vec![1, 2];
    let mut own = predictor.begin(sampling);
    for (position, token) in (0..).zip(tokens) {
        if position % 100 == 0 {
            own = predictor.begin(sampling);
        }
        let noise = Noise::new(&[9; 16], position);
        let drawn = sampling.map(|sampling| (sampling, &noise));
        predictor.prepare(weak.logits(&context), drawn, &own).unwrap();
        coded += predictor.prediction().place(token).bits();
        plain += predictor.prediction().plain_bits(token);
        predictor.learn(token, &mut own);
        context = vec![context[1], token];
    }
    (coded, plain)
}

/// Tokens of the model `variant`, 0 for the weak one itself, under a seed of this byte.
fn drawn(vocab: usize, variant: u64, seed: u8) -> Vec<Token> {
    let (mut model, mut sampler) = (
        Markov::new(vocab).relative(variant),
        crate::Sampler::new(Kernel::detect()),
    );
    let mut context = vec![1, 2];
    let draw = |position| {
        let logits = model.logits(&context);
        let token = sampler
            .sample(logits, &Sampling::at(1.0), &[seed; 16], position)
            .unwrap();
        context = vec![context[1], token];
        token
    };
    (0..3000).map(draw).collect()
}

/// Tokens that neither the model nor the noise foretells, or not as they should.
fn strangers(vocab: usize) -> [(&'static str, Vec<Token>); 4] {
    let mut state = 5u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as Token % vocab as Token
    };
    [
        ("uniform", (0..3000).map(|_| random()).collect()),
        ("repeated", vec![7; 3000]),
        ("another model", drawn(vocab, 77, 9)),
        ("another seed", drawn(vocab, 0, 4)),
    ]
}

/// Whatever the tokens are, q alone would not have been much better.
#[test]
fn never_much_worse_than_plain() {
    const VOCAB: usize = 2000;
    let top_p = Sampling {
        top_p: 0.9,
        ..Sampling::at(0.7)
    };
    let all = [
        Sampling::GREEDY,
        Sampling::at(1.0),
        Sampling::at(0.3),
        Sampling::at(16.0),
        top_p,
    ];
    for (name, tokens) in strangers(VOCAB) {
        for sampling in all.iter().map(Some).chain([None]) {
            for len in [30, 100, 3000] {
                let (coded, plain) = cost(VOCAB, sampling, tokens[..len].iter().copied(), Ablation::ALL);
                assert!(
                    coded <= 1.01 * plain + 64.0,
                    "{name} {sampling:?}: {coded} of {plain}"
                );
            }
        }
    }
}

/// All ways to give up something, from little to nearly all of it.
fn lossy() -> impl Iterator<Item = Sampling> {
    let at = |tau| {
        move |temperature| Sampling {
            tau,
            ..Sampling::at(temperature)
        }
    };
    [0.7, 0.3, 0.01]
        .into_iter()
        .flat_map(move |tau| [0.0, 0.7, 1.0].map(at(tau)))
}

/// Bits beside one per cent of plain. Who gave up something and then says what nobody foretold pays more: the experts of such
/// regimes are surer of themselves, and the plain one begins with hardly any weight.
fn slack(sampling: &Sampling) -> f64 {
    if sampling.is_lossy() { 128.0 } else { 64.0 }
}

#[test]
fn lossy_answers_are_not_much_worse_than_plain_either() {
    const VOCAB: usize = 2000;
    for (name, tokens) in strangers(VOCAB) {
        for sampling in lossy() {
            for len in [30, 100, 3000] {
                let tokens = tokens[..len].iter().copied();
                let (coded, plain) = cost(VOCAB, Some(&sampling), tokens, Ablation::ALL);
                assert!(
                    coded <= 1.01 * plain + slack(&sampling),
                    "{name} {sampling:?}: {coded} of {plain}"
                );
            }
        }
    }
}

/// Whoever knows the state and takes of all candidates the one that loses most to plain coding, each time.
#[test]
fn the_worst_of_each_prediction_costs_no_more() {
    let mut weak = Markov::new(2000);
    for sampling in lossy().chain([Sampling::GREEDY, Sampling::at(1.0), Sampling::at(0.3)]) {
        let mut predictor = Predictor::new(Kernel::detect());
        let (mut coded, mut plain) = (0.0, 0.0);
        let mut context = vec![1, 2];
        let mut own = predictor.begin(Some(&sampling));
        for position in 0..1000 {
            if position % 100 == 0 {
                own = predictor.begin(Some(&sampling));
            }
            let noise = Noise::new(&[9; 16], position);
            let logits = weak.logits(&context);
            predictor
                .prepare(logits, Some((&sampling, &noise)), &own)
                .unwrap();
            let all = predictor.prediction.candidates.ids.clone().into_iter();
            let losses = all.map(|token| {
                let loss =
                    predictor.prediction().place(token).bits() - predictor.prediction().plain_bits(token);
                (token, loss)
            });
            let (token, _) = losses.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            coded += predictor.prediction().place(token).bits();
            plain += predictor.prediction().plain_bits(token);
            predictor.learn(token, &mut own);
            context = vec![context[1], token];
            // Lossless or not: 64 bits are not enough for it (docs/research.md).
            assert!(
                coded <= 1.01 * plain + 128.0,
                "{position} {sampling:?}: {coded} of {plain}"
            );
        }
    }
}

/// Without its parts the prediction is q, and no part stands in for another.
#[test]
fn parts_can_be_taken_away() {
    let drawn = drawn(500, 0, 4);
    let tokens = || drawn[..300].iter().copied();
    for sampling in [Sampling::GREEDY, Sampling::at(1.0)] {
        let (coded, plain) = cost(500, Some(&sampling), tokens(), Ablation::NONE);
        assert!((coded - plain).abs() < 1e-3 * plain, "{coded} {plain}");
        let whole = cost(500, Some(&sampling), tokens(), Ablation::ALL).0;
        for parts in [
            Ablation {
                blends: false,
                ..Ablation::ALL
            },
            Ablation {
                network: false,
                ..Ablation::ALL
            },
            Ablation {
                history: false,
                ..Ablation::ALL
            },
            Ablation {
                learning: false,
                ..Ablation::ALL
            },
        ] {
            assert_ne!(cost(500, Some(&sampling), tokens(), parts).0, whole, "{parts:?}");
        }
    }
}

/// The passes of the network against its sums as SPEC 4.6 writes them, row by row.
#[test]
fn the_network_is_what_its_layout_says() {
    use crate::predict::network::{HIDDEN, layout};
    for (vocab, temperature) in [(3000, 1.0), (3000, 0.0), (40, 0.7)] {
        let mut predictor = Predictor::new(Kernel::detect());
        prepared(vocab, &[5, 6], temperature, &mut predictor);
        let net = network::of(predictor.regime).unwrap();
        let contest = &predictor.features;
        assert_eq!(contest.entrants().len(), vocab.min(ENTRANTS));
        let sum = |bias: f32, at: usize, x: &[f32]| {
            let terms = net[at..].iter().zip(x);
            terms.fold(bias, |sum, (weight, x)| sum + weight * x)
        };
        let slope = |k: usize| {
            let at = layout::SLOPES + k * (1 + GLOBAL);
            sum(net[at], at + 1, contest.shared())
        };
        for (row, &i) in contest.entrants().iter().enumerate() {
            let numbers: Vec<f32> = contest.columns().iter().map(|column| column[row]).collect();
            let first: Vec<f32> = (0..HIDDEN)
                .map(|unit| {
                    let bias = net[layout::FIRST_BIAS + unit];
                    let bias = sum(bias, layout::SHARED + unit * GLOBAL, contest.shared());
                    sum(bias, layout::FIRST + unit * ENTRANT, &numbers).max(0.0)
                })
                .collect();
            let second: Vec<f32> = (0..HIDDEN)
                .map(|unit| {
                    sum(
                        net[layout::SECOND_BIAS + unit],
                        layout::SECOND + unit * HIDDEN,
                        &first,
                    )
                    .max(0.0)
                })
                .collect();
            let score = sum(
                slope(0) * numbers[0] + slope(1) * numbers[1],
                layout::OUT,
                &second,
            );
            assert_eq!(predictor.scores[i as usize], score);
        }
        for (i, &score) in predictor.scores.iter().enumerate() {
            if !contest.entrants().contains(&(i as u32)) {
                assert_eq!(score, net[layout::OTHERS] + contest.behind()[i]);
            }
        }
    }
}
