use super::*;
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
                    let place = predictor.place(id);
                    let (start, width) = place.first;
                    assert!(width > 0);
                    match place.rest {
                        None if place.first == predictor.escape => escapes += 1,
                        None => {
                            assert_eq!(u64::from(start), at);
                            at += u64::from(width);
                            for point in [start, start + (width - 1)] {
                                assert_eq!(predictor.find(point), Hit::Candidate(id, place.first));
                            }
                        }
                        Some((start, width)) => {
                            escapes += 1;
                            assert!(width > 0 && place.first.1 >= ESCAPE);
                            assert_eq!(u64::from(start), rest_at);
                            rest_at += u64::from(width);
                            for point in [start, start + (width - 1)] {
                                assert_eq!(predictor.find_rest(point), (id, (start, width)));
                            }
                            assert_eq!(predictor.find(u32::MAX), Hit::Escape(place.first));
                        }
                    }
                }
                assert_eq!(at + u64::from(predictor.escape.1), 1 << 32);
                assert!(escapes < 2 || rest_at == 1 << 32);
                assert_eq!(escapes + predictor.candidates(), vocab);
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
            let token = predictor.ids[round as usize * 3];
            let mut own = predictor.begin(None);
            predictor.learn(token, &mut own);
            let all = (
                predictor.ids.clone(),
                predictor.width.clone(),
                predictor.escape,
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
    let mut sampler = crate::Sampler::default();
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
            coded += predictor.place(token).bits();
            plain += predictor.plain_bits(token);
            predictor.learn(token, &mut own);
            context = vec![context[1], token];
        }
        assert!(
            coded < least * plain,
            "temperature {temperature}: {coded} of {plain}"
        );
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
            (predictor.plain_bits(id as Token) - exact).abs() < slack,
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
        for sampling in [Sampling::GREEDY, Sampling::at(1.0)] {
            let own = predictor.begin(Some(&sampling));
            predictor
                .prepare(&logits, Some((&sampling, &noise)), &own)
                .unwrap();
            let worst = (0..300).map(|id| predictor.place(id).bits()).fold(0.0, f64::max);
            assert!(worst <= 48.0, "{worst}");
            let all: u64 = predictor.width.iter().map(|&w| u64::from(w)).sum();
            assert_eq!(all + u64::from(predictor.escape.1), 1 << 32);
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
