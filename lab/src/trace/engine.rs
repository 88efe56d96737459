//! Many answers side by side: a query that ends makes room for the next.

use anyhow::{Context as _, Result};
use weir_codec::{Query, Sampler};
use weir_model::{Predict, Slot, Token};

/// The models that answer.
pub(crate) struct Models<'a, P> {
    strong: &'a mut P,
    /// Asked for queries with a `tau` below 1, which there must not be without it.
    weak: Option<&'a mut P>,
    /// V of SPEC 4.5: tokens that may be said. Models may pad their rows to more.
    vocab: usize,
}

/// What a token was chosen by.
pub(crate) struct Choice<'a> {
    /// Index of the query.
    pub(crate) index: usize,
    pub(crate) token: Token,
    pub(crate) strong: &'a [f32],
    /// Where the weak model had a say.
    pub(crate) weak: Option<&'a [f32]>,
}

impl<'a, P: Predict> Models<'a, P> {
    /// Models that say only tokens below `vocab`, the size of their tokenizer, for which each should have a logit.
    pub(crate) fn new(strong: &'a mut P, weak: Option<&'a mut P>, vocab: usize) -> Self {
        let rows = weak.iter().map(|weak| weak.vocab()).chain([strong.vocab()]);
        let vocab = rows.fold(vocab, usize::min);
        Self { strong, weak, vocab }
    }
}

/// Answers `queries`, at most `live` at a time; `chosen` hears of each token, `done` the index of each query that ends. End
/// tokens are kept.
pub(crate) fn answers<P: Predict>(
    models: &mut Models<'_, P>,
    end: &[Token],
    queries: &[Query],
    live: usize,
    mut chosen: impl FnMut(&Choice<'_>),
    mut done: impl FnMut(usize),
) -> Result<Vec<Vec<Token>>> {
    let mut answers: Vec<Vec<Token>> = vec![Vec::new(); queries.len()];
    let mut sampler = Sampler::default();
    let mut waiting = queries.iter().enumerate();
    let mut busy: Vec<Busy<'_>> = Vec::new();
    let mut opinions = Vec::new();
    loop {
        while busy.len() < live
            && let Some((index, query)) = waiting.next()
        {
            busy.push(Busy::begin(models, index, query)?);
        }
        if busy.is_empty() {
            return Ok(answers);
        }
        let width = consult(models, &busy, &mut opinions)?;
        let mut opinions = opinions.chunks(width);
        let vocab = models.vocab;
        let rows: Vec<(Slot, Token)> = busy.iter().map(|one| (one.slot, one.pending)).collect();
        let mut outcome = Ok(());
        models.strong.step(&rows, &mut |row, logits| {
            let Busy {
                index,
                query,
                pending,
                weak,
                ..
            } = &mut busy[row];
            let answer = &mut answers[*index];
            let position = u32::try_from(answer.len()).expect("max_tokens is a u32");
            let strong = &logits[..vocab];
            let weak = weak.and_then(|_| opinions.next()).map(|row| &row[..vocab]);
            let (sampling, seed) = (&query.sampling, &query.seed);
            let token = match weak {
                Some(weak) => sampler.sample_lossy(strong, weak, sampling, seed, position),
                None => sampler.sample(strong, sampling, seed, position),
            };
            match token {
                Ok(token) => {
                    chosen(&Choice {
                        index: *index,
                        token,
                        strong,
                        weak,
                    });
                    *pending = token;
                    answer.push(token);
                }
                Err(error) => outcome = Err(error),
            }
        })?;
        outcome?;
        busy.retain(|one| {
            let over =
                end.contains(&one.pending) || answers[one.index].len() >= one.query.max_tokens as usize;
            if over {
                one.close(models);
                done(one.index);
            }
            !over
        });
    }
}

/// Fills `opinions` with the weak model's logits for those that ask it, and gives the length of a row.
fn consult<P: Predict>(
    models: &mut Models<'_, P>,
    busy: &[Busy<'_>],
    opinions: &mut Vec<f32>,
) -> Result<usize> {
    opinions.clear();
    let Some(weak) = &mut models.weak else {
        return Ok(1);
    };
    let rows: Vec<(Slot, Token)> = busy
        .iter()
        .filter_map(|one| Some((one.weak?, one.pending)))
        .collect();
    if !rows.is_empty() {
        weak.step(&rows, &mut |_, logits| opinions.extend_from_slice(logits))?;
    }
    Ok(weak.vocab())
}

struct Busy<'a> {
    index: usize,
    query: &'a Query,
    slot: Slot,
    /// Its slot in the weak model, if that has a say.
    weak: Option<Slot>,
    /// Fed by the next step.
    pending: Token,
}

impl<'a> Busy<'a> {
    fn begin<P: Predict>(models: &mut Models<'_, P>, index: usize, query: &'a Query) -> Result<Self> {
        let (&pending, before) = query.prompt.split_last().context("a prompt has no tokens")?;
        let open = |model: &mut P| -> Result<Slot> {
            let slot = model.open()?;
            model.prefill(slot, before)?;
            Ok(slot)
        };
        let weak = match (&mut models.weak, query.sampling.is_lossy()) {
            (_, false) => None,
            (Some(weak), true) => Some(open(weak)?),
            (None, true) => anyhow::bail!("a tau below 1 needs the weak model"),
        };
        Ok(Self {
            index,
            query,
            slot: open(models.strong)?,
            weak,
            pending,
        })
    }

    fn close<P: Predict>(&self, models: &mut Models<'_, P>) {
        models.strong.close(self.slot);
        if let (Some(weak), Some(slot)) = (&mut models.weak, self.weak) {
            weak.close(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::ops::ControlFlow;

    use weir_codec::Sampling;
    use weir_codec::testing::Markov;
    use weir_inner::strong::adviser::Adviser;
    use weir_inner::strong::exact::Exact;
    use weir_inner::strong::{Handle, Strong as _};

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
        let (mut strong, mut weak) = (strong.relative(5), weak);
        let mut models = Models::new(&mut strong, Some(&mut weak), vocab);
        answers(&mut models, &[], &queries(), 4, |_| (), |_| ()).unwrap()
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

    /// A trace is what inner says.
    #[test]
    fn inner_says_the_same() {
        let traced = said([60, 30], VOCAB);
        let adviser = Adviser::new(Box::new(Markov::new(VOCAB + 30)), 4096, 0.1);
        let mut inner =
            Exact::new(Markov::new(VOCAB + 60).relative(5), VOCAB, 4096).with_adviser(Some(adviser));
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
