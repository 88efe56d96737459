use super::*;
use crate::strong::exact::Exact;
use core::ops::ControlFlow;
use std::io::Cursor;
use weir_codec::Sampling;
use weir_model::testing::{Tiny, real, tiny_gguf};
use weir_model::{Message, Model, Options, Tokenizer};

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
    Candle::load(&mut Cursor::new(file), 300, 256, positions, Kernel::detect()).unwrap()
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
        let mut exact = Exact::new(model, tiny.vocab, 8192, Kernel::detect());
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

/// Both architectures as they are used: greedy answers to a plain question have no near ties in their first words.
#[test]
fn real_models_say_what_they_say_on_the_exact_engine() {
    for name in [
        "smollm2-135m-instruct-q4_1.gguf",
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    ] {
        let Some(path) = real(name) else { continue };
        let tokenizer = Tokenizer::load(&path).unwrap();
        let question = Message {
            role: "user".to_owned(),
            content: "Count from one to ten in words, separated by commas.".to_owned(),
        };
        let query = Query {
            prompt: tokenizer.chat(&[question]).unwrap(),
            ..query(0, 12)
        };
        let options = Options {
            kv_tokens: 256,
            max_context: 256,
            ..Options::default()
        };
        let model = Model::load(&path, &options).unwrap();
        let vocab = tokenizer.vocab();
        let mut file = std::fs::File::open(&path).unwrap();
        let mut theirs = Candle::load(&mut file, vocab, 256, 256, Kernel::detect()).unwrap();
        let queries = [query];
        let theirs = answers(&mut theirs, &queries, 12);
        let ours = answers(&mut Exact::new(model, vocab, 256, Kernel::detect()), &queries, 12);
        let text = |answer: &[Vec<Token>]| String::from_utf8(tokenizer.decode(&answer[0])).unwrap();
        assert_eq!(text(&ours), text(&theirs), "{name}");
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
        Candle::load(&mut Cursor::new(&file), 301, 256, 40, Kernel::detect()),
        Err(Error::Vocabulary {
            got: 300,
            expected: 301
        })
    ));
}
