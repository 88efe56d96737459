//! Answers once more, through models that read them, token by token in the order of frames: whatever learns from them
//! learns as it would on the wire.

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use weir_model::{Predict, Slot, Token};

use super::jobs::Job;

/// One token of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct At {
    pub(super) job: usize,
    /// Number of the token in its answer.
    pub(super) position: u32,
    pub(super) token: Token,
}

/// How answers are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replay {
    /// Answers that are live at once.
    pub(super) slots: usize,
    /// Tokens of an answer in a frame.
    pub(super) tokens_per_tick: usize,
}

/// Some tokens of one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// Answers that begin with this frame; in its first part.
    pub(super) opened: &'a [usize],
    pub(super) tokens: &'a [At],
    /// Of each model the logits that precede the tokens: a row of its vocabulary's size for each.
    pub(super) logits: &'a [Vec<f32>],
}

/// A live answer, with its slot in each of the models.
struct Live {
    job: usize,
    handles: Vec<Slot>,
    read: usize,
}

impl Replay {
    /// Lets all `models` read all answers; `visit` gets them part by part.
    ///
    /// # Errors
    /// A model's, or what `visit` says.
    pub(super) fn run(
        &self,
        models: &mut [&mut dyn Predict],
        jobs: &[Job],
        bar: &ProgressBar,
        visit: &mut dyn FnMut(Part<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut waiting = jobs.iter().enumerate();
        let mut slots: Vec<Option<Live>> = (0..self.slots).map(|_| None).collect();
        let mut logits: Vec<Vec<f32>> = models.iter().map(|_| Vec::new()).collect();
        loop {
            // As `weir-lab bench codec` does: whatever is free is filled before each frame.
            let mut opened = Vec::new();
            for place in slots.iter_mut().filter(|place| place.is_none()) {
                let Some((job, Job { query, .. })) = waiting.next() else {
                    break;
                };
                opened.push(job);
                let (_, before) = query.prompt.split_last().context("a prompt has no tokens")?;
                let mut handles = Vec::new();
                for model in models.iter_mut() {
                    let handle = model.open()?;
                    model.prefill(handle, before)?;
                    handles.push(handle);
                }
                *place = Some(Live {
                    job,
                    handles,
                    read: 0,
                });
            }
            let frame = self.frame(jobs, &slots);
            if frame.is_empty() {
                return Ok(());
            }
            for part in frame.chunks(PASS) {
                for (index, (model, logits)) in models.iter_mut().zip(&mut logits).enumerate() {
                    let rows: Vec<_> = part
                        .iter()
                        .map(|(live, at)| (live.handles[index], fed(jobs, at)))
                        .collect();
                    logits.clear();
                    model.step(&rows, &mut |_, row| logits.extend_from_slice(row))?;
                }
                let tokens: Vec<At> = part.iter().map(|(_, at)| *at).collect();
                visit(Part {
                    opened: &opened,
                    tokens: &tokens,
                    logits: &logits,
                })?;
                opened.clear();
                bar.inc(part.len() as u64);
            }
            for place in &mut slots {
                let Some(live) = place else { continue };
                live.read = jobs[live.job].tokens.len().min(live.read + self.tokens_per_tick);
                if live.read == jobs[live.job].tokens.len() {
                    for (model, handle) in models.iter_mut().zip(&live.handles) {
                        model.close(*handle);
                    }
                    *place = None;
                }
            }
        }
    }

    /// The tokens of a frame: the first of every slot, the second of every slot, and so on (SPEC 4.8).
    fn frame<'a>(&self, jobs: &[Job], slots: &'a [Option<Live>]) -> Vec<(&'a Live, At)> {
        let mut frame = Vec::new();
        for round in 0..self.tokens_per_tick {
            for live in slots.iter().flatten() {
                let position = live.read + round;
                if let Some(&token) = jobs[live.job].tokens.get(position) {
                    let position = u32::try_from(position).expect("max_tokens is a u32");
                    frame.push((
                        live,
                        At {
                            job: live.job,
                            position,
                            token,
                        },
                    ));
                }
            }
        }
        frame
    }
}

/// The token after which `at` comes.
fn fed(jobs: &[Job], at: &At) -> Token {
    let Job { query, tokens } = &jobs[at.job];
    match at.position.checked_sub(1) {
        Some(before) => tokens[before as usize],
        None => query.prompt[query.prompt.len() - 1],
    }
}

/// Tokens of a pass: their logits are held all at once.
const PASS: usize = 64;

#[cfg(test)]
mod tests;
