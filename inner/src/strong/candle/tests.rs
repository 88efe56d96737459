use super::*;
use crate::strong::exact::Exact;
use core::ops::ControlFlow;
use std::io::Cursor;
use weir_model::testing::{Tiny, tiny_gguf};
use weir_model::{Model, Options};

fn query(index: u32, max_tokens: u32) -> Query {
    let prompt = (0..5 + index).map(|i| (i * 37 + index * 11) % 250).collect();
    Query {
        seed: [index as u8; 16],
        sampling: Sampling::GREEDY,
        max_tokens,
        stop: Vec::new(),
        prompt,
    }
}

fn candle(file: &[u8], positions: usize) -> Candle {
    Candle::load(&mut Cursor::new(file), 300, 256, positions).unwrap()
}

/// The answers to several queries, `count` tokens each, side by side.
fn answers(engine: &mut dyn Strong, queries: &[Query], count: usize) -> Vec<Vec<Token>> {
    let wants: Vec<_> = (0..queries.len())
        .map(|index| (Handle(index as u32), count))
        .collect();
    let mut answers = vec![Vec::new(); queries.len()];
    for ((handle, _), query) in wants.iter().zip(queries) {
        engine.admit(*handle, query).unwrap();
    }
    engine.advance(&wants, &mut |handle, token| {
        answers[handle.0 as usize].push(token.unwrap());
        ControlFlow::Continue(())
    });
    wants.iter().for_each(|(handle, _)| engine.dismiss(*handle));
    answers
}

#[test]
fn says_what_the_exact_engine_says() {
    for tiny in Tiny::GOLDEN {
        let file = tiny_gguf(&tiny);
        let queries: Vec<_> = (0..12).map(|index| query(index, 4)).collect();
        let model = Model::from_bytes("tiny", &file, &Options::default()).unwrap();
        let mut exact = Exact::new(model, tiny.vocab, 8192);
        let ours = answers(&mut exact, &queries, 4);
        let theirs = answers(&mut candle(&file, 8192), &queries, 4);
        // Activations are rounded differently, so that near ties of a random model may turn out otherwise.
        let same = ours
            .iter()
            .zip(&theirs)
            .filter(|(ours, theirs)| ours == theirs)
            .count();
        assert!(
            same >= 8,
            "{tiny:?}: {same} of 12 answers are the same: {ours:?} {theirs:?}"
        );
    }
}

#[test]
fn queries_do_not_see_each_other() {
    for tiny in Tiny::GOLDEN {
        let file = tiny_gguf(&tiny);
        let queries: Vec<_> = (0..4).map(|index| query(index, 6)).collect();
        let mut engine = candle(&file, 8192);
        let together = answers(&mut engine, &queries, 6);
        for (query, answer) in queries.iter().zip(&together) {
            assert_eq!(&answers(&mut engine, core::slice::from_ref(query), 6)[0], answer);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_room_comes_back() {
    let file = tiny_gguf(&Tiny::default());
    let mut engine = candle(&file, 40);
    assert_eq!(engine.admit(Handle(0), &query(0, 300)), Err(Refused::TooLong));
    assert_eq!(engine.admit(Handle(0), &query(0, 20)), Ok(()));
    assert_eq!(engine.admit(Handle(1), &query(0, 20)), Err(Refused::Full));
    engine.dismiss(Handle(0));
    assert_eq!(engine.admit(Handle(1), &query(0, 20)), Ok(()));
    let foreign = Query {
        prompt: vec![300],
        ..query(0, 1)
    };
    assert_eq!(engine.admit(Handle(2), &foreign), Err(Refused::BadPrompt));
    assert!(matches!(
        Candle::load(&mut Cursor::new(&file), 301, 256, 40),
        Err(Error::Vocabulary {
            got: 300,
            expected: 301
        })
    ));
}
