//! Many answers side by side: a query that ends makes room for the next.

use anyhow::{Context as _, Result};
use weir_codec::{Query, Sampler};
use weir_model::{Predict, Slot, Token};

/// The models that answer.
pub(crate) struct Models<'a, P> {
    pub(crate) strong: &'a mut P,
    /// Asked for queries with a `tau` below 1, which there must not be without it.
    pub(crate) weak: Option<&'a mut P>,
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
            // Models may pad a vocabulary that they share to different lengths.
            let both = logits.len().min(width);
            let (strong, weak) = match weak.and_then(|_| opinions.next()) {
                Some(opinion) => (&logits[..both], Some(&opinion[..both])),
                None => (logits, None),
            };
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
