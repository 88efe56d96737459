//! Many answers side by side, in the loop by which inner serves: a query that ends makes room for the next.

use anyhow::{Context as _, Result, ensure};
use weir_codec::{Query, Vocabulary};
use weir_inner::engine::{Answers, End};
use weir_inner::strong::adviser::Adviser;
use weir_inner::strong::exact::Exact;
use weir_inner::strong::{Handle, Strong, Watch};
use weir_model::{Kernel, Predict, Token};
use weir_wire::Source;

/// Inner's exact engine on models with a pool of `positions` each. The weak one is asked for queries with a `tau` below 1, which
/// there must not be without it. Only tokens below `vocab` are said, the size of the tokenizer: models may pad their rows
/// to more. `watch` hears of each token.
pub(crate) fn exact<P: Predict + 'static>(
    strong: P,
    weak: Option<P>,
    vocab: usize,
    positions: usize,
    kernel: Kernel,
    watch: Option<Watch>,
) -> Box<dyn Strong> {
    let vocab = weak.iter().map(P::vocab).fold(vocab, usize::min);
    // Whatever tau is asked for: a trace is nobody's session.
    let adviser = weak.map(|weak| Adviser::new(Box::new(weak), positions, 0.0));
    let engine = Exact::new(strong, vocab, positions, kernel).with_adviser(adviser);
    match watch {
        Some(watch) => Box::new(engine.watched(watch)),
        None => Box::new(engine),
    }
}

/// Answers `queries`, at most `live` at a time; `done` hears the index of each query that ends. End tokens are kept.
pub(crate) fn answers(
    strong: Box<dyn Strong>,
    vocabulary: Vocabulary,
    queries: &[Query],
    live: usize,
    mut done: impl FnMut(usize),
) -> Result<Vec<Vec<Token>>> {
    let mut engine = Answers::new(strong, vocabulary, None);
    let mut said = vec![Vec::new(); queries.len()];
    let mut waiting = (0..).zip(queries);
    loop {
        while engine.len() < live
            && let Some((index, query)) = waiting.next()
        {
            let begun = engine.begin(Handle(index), query, &Source::Tokens);
            begun.with_context(|| format!("query {} of the run", index + 1))?;
        }
        if engine.is_empty() {
            return Ok(said);
        }
        engine.speak(1, |_| true);
        let mut failed = false;
        engine.hear(|query, tokens, end| {
            let index = query.0 as usize;
            said[index].extend_from_slice(tokens);
            failed |= end == Some(End::Failed);
            if end.is_some() {
                done(index);
            }
        });
        ensure!(!failed, "a model could not go on; the log says why");
    }
}

#[cfg(test)]
mod tests {
    use core::ops::ControlFlow;

    use weir_codec::Sampling;
    use weir_codec::testing::Markov;

    use super::*;

    const VOCAB: usize = 200;

    fn queries() -> Vec<Query> {
        let mut queries = Vec::new();
        for tau in [1.0, 0.3] {
            for temperature in [0.0, 0.7, 1.5] {
                queries.push(Query {
                    seed: [queries.len() as u8; 16],
                    sampling: Sampling {
                        tau,
                        ..Sampling::at(temperature)
                    },
                    max_tokens: 40,
                    stop: Vec::new(),
                    prompt: vec![1, 2, 3],
                });
            }
        }
        queries
    }

    /// Answers of models with so many rows of padding behind their tokens.
    fn said(padding: [usize; 2], vocab: usize) -> Vec<Vec<Token>> {
        let [strong, weak] = padding.map(|padding| Markov::new(VOCAB + padding));
        let engine = exact(
            strong.relative(5),
            Some(weak),
            vocab,
            4096,
            Kernel::detect(),
            None,
        );
        let vocabulary = Vocabulary {
            bytes: vec![Box::default(); VOCAB + 60].into(),
            end: Vec::new(),
        };
        answers(engine, vocabulary, &queries(), 4, |_| ()).unwrap()
    }

    /// Padding is never said, lossless or not; what is said is what it would be without.
    #[test]
    fn rows_of_padding_say_nothing() {
        let plain = said([0, 0], VOCAB);
        for padding in [[60, 0], [0, 60], [60, 30]] {
            assert_eq!(said(padding, VOCAB), plain, "{padding:?}");
        }
        let padded = said([60, 60], VOCAB + 60);
        for (padded, query) in padded.iter().zip(queries()) {
            assert!(
                padded.iter().any(|&token| token as usize >= VOCAB),
                "{:?}: the test needs padding that would be said",
                query.sampling
            );
        }
    }

    /// Whoever is beside it, and however many tokens are asked for at once.
    #[test]
    fn inner_says_the_same() {
        let traced = said([60, 30], VOCAB);
        let adviser = Adviser::new(Box::new(Markov::new(VOCAB + 30)), 4096, 0.1);
        let mut inner = Exact::new(Markov::new(VOCAB + 60).relative(5), VOCAB, 4096, Kernel::detect())
            .with_adviser(Some(adviser));
        for (query, traced) in queries().iter().zip(traced) {
            let (handle, mut tokens) = (Handle(0), Vec::new());
            inner.admit(handle, query).unwrap();
            inner.advance(&[(handle, traced.len())], &mut |_, token| {
                tokens.push(token.unwrap());
                ControlFlow::Continue(())
            });
            inner.dismiss(handle);
            assert_eq!(tokens, traced, "{:?}", query.sampling);
        }
    }
}
