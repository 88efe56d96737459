use super::adviser::Adviser;
use super::exact::Exact;
use super::{Handle, Refused, Strong};
use core::ops::ControlFlow;
use weir_codec::testing::Markov;
use weir_codec::{Query, Sampler, Sampling};
use weir_model::{Kernel, Token};

const VOCAB: usize = 300;

fn model() -> Markov {
    Markov::new(VOCAB).with_limits(16, 256)
}

/// An engine with a relative of `model`, beside which `model` may be asked in `positions`.
fn engine(positions: usize) -> Exact<Markov> {
    let adviser = Adviser::new(Box::new(model()), positions, 0.1);
    Exact::new(model().relative(5), VOCAB, 4096, Kernel::detect()).with_adviser(Some(adviser))
}

fn query(tau: f32, temperature: f32) -> Query {
    Query {
        seed: [3; 16],
        sampling: Sampling {
            tau,
            ..Sampling::at(temperature)
        },
        max_tokens: 40,
        stop: Vec::new(),
        prompt: vec![1, 2, 3],
    }
}

fn said(engine: &mut Exact<Markov>, wants: &[(Handle, usize)]) -> Vec<Vec<Token>> {
    let mut answers = vec![Vec::new(); wants.len()];
    engine.advance(wants, &mut |handle, token| {
        let index = wants.iter().position(|(own, _)| *own == handle).unwrap();
        answers[index].push(token.unwrap());
        ControlFlow::Continue(())
    });
    answers
}

/// Lossy answers are those of the sampler's definition; lossless ones beside them are what they are without an adviser.
#[test]
fn answers_are_the_sampler_s_whoever_is_beside_them() {
    let queries = [
        query(0.3, 0.0),
        query(1.0, 0.0),
        query(0.1, 0.9),
        query(1.0, 0.9),
        query(0.6, 0.9),
    ];
    let mut engine = engine(4096);
    let mut wants = Vec::new();
    for (n, query) in (0..).zip(&queries) {
        engine.admit(Handle(n), query).unwrap();
        wants.push((Handle(n), 40 - n as usize));
    }
    let answers = said(&mut engine, &wants);
    let mut sampler = Sampler::new(Kernel::detect());
    for (query, answer) in queries.iter().zip(&answers) {
        let (mut strong, mut weak) = (model().relative(5), model());
        let mut context = query.prompt.clone();
        for (position, token) in (0..).zip(answer) {
            let rows = (strong.logits(&context), weak.logits(&context));
            let expected = sampler.sample_lossy(rows.0, rows.1, &query.sampling, &query.seed, position);
            assert_eq!(*token, expected.unwrap(), "{:?} {position}", query.sampling);
            context.push(*token);
        }
    }
    assert_ne!(answers[0][..36], answers[1][..36]);
    let mut plain = Exact::new(model().relative(5), VOCAB, 4096, Kernel::detect());
    plain.admit(Handle(0), &queries[3]).unwrap();
    assert_eq!(said(&mut plain, &wants[..1])[0][..37], answers[3][..]);
}

#[test]
fn a_deviation_is_refused_where_it_is_too_large_or_nobody_can_be_asked() {
    let mut plain = Exact::new(model(), VOCAB, 4096, Kernel::detect());
    assert_eq!(plain.admit(Handle(0), &query(0.9, 1.0)), Err(Refused::Deviation));
    plain.admit(Handle(0), &query(1.0, 1.0)).unwrap();
    let mut engine = engine(4096);
    assert_eq!(
        engine.admit(Handle(0), &query(0.09, 0.0)),
        Err(Refused::Deviation)
    );
    engine.admit(Handle(0), &query(0.1, 0.0)).unwrap();
}

/// The adviser's room is counted in whole pages, given back, and no matter to lossless queries.
#[test]
fn room_beside_the_strong_model_is_kept_account_of() {
    let mut engine = engine(128);
    for n in 0..2 {
        engine.admit(Handle(n), &query(0.3, 0.0)).unwrap();
    }
    assert_eq!(engine.admit(Handle(2), &query(0.3, 0.0)), Err(Refused::Full));
    engine.admit(Handle(2), &query(1.0, 0.0)).unwrap();
    engine.dismiss(Handle(0));
    engine.admit(Handle(3), &query(0.3, 0.0)).unwrap();
    // What the strong model has no room for must not stay with the adviser.
    let adviser = Adviser::new(Box::new(model()), 64, 0.1);
    let mut small = Exact::new(
        Markov::new(VOCAB).with_limits(0, 256),
        VOCAB,
        4096,
        Kernel::detect(),
    )
    .with_adviser(Some(adviser));
    for _ in 0..2 {
        assert_eq!(small.admit(Handle(0), &query(0.3, 0.0)), Err(Refused::Full));
    }
    assert_eq!(small.admit(Handle(0), &query(1.0, 0.0)), Err(Refused::Full));
}
