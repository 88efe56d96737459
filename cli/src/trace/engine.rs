//! Many answers side by side: a query that ends makes room for the next.

use anyhow::{Context as _, Result};
use weir_codec::{Query, Sampler};
use weir_model::{Predict, Slot, Token};

/// Answers `queries`, at most `live` at a time; `done` hears the index of each that ends. End tokens are kept.
pub(crate) fn answers<P: Predict>(
    model: &mut P,
    end: &[Token],
    queries: &[Query],
    live: usize,
    mut done: impl FnMut(usize),
) -> Result<Vec<Vec<Token>>> {
    let mut answers: Vec<Vec<Token>> = vec![Vec::new(); queries.len()];
    let mut sampler = Sampler::default();
    let mut waiting = queries.iter().enumerate();
    let mut busy: Vec<Busy<'_>> = Vec::new();
    loop {
        while busy.len() < live
            && let Some((index, query)) = waiting.next()
        {
            busy.push(Busy::begin(model, index, query)?);
        }
        if busy.is_empty() {
            return Ok(answers);
        }
        let rows: Vec<(Slot, Token)> = busy.iter().map(|one| (one.slot, one.pending)).collect();
        let mut outcome = Ok(());
        model.step(&rows, &mut |row, logits| {
            let Busy {
                index,
                query,
                pending,
                ..
            } = &mut busy[row];
            let answer = &mut answers[*index];
            let position = u32::try_from(answer.len()).expect("max_tokens is a u32");
            match sampler.sample(logits, &query.sampling, &query.seed, position) {
                Ok(token) => {
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
                model.close(one.slot);
                done(one.index);
            }
            !over
        });
    }
}

struct Busy<'a> {
    index: usize,
    query: &'a Query,
    slot: Slot,
    /// Fed by the next step.
    pending: Token,
}

impl<'a> Busy<'a> {
    fn begin<P: Predict>(model: &mut P, index: usize, query: &'a Query) -> Result<Self> {
        let (&pending, before) = query.prompt.split_last().context("a prompt has no tokens")?;
        let slot = model.open()?;
        model.prefill(slot, before)?;
        Ok(Self {
            index,
            query,
            slot,
            pending,
        })
    }
}
