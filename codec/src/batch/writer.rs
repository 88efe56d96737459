//! What both encoders do: the tokens of all live slots to symbols (SPEC 4.8).

use weir_exact::{Kernel, Predict, Slot, Token};

use super::state::Batch;
use crate::Error;
use crate::coder;
use crate::counts::{Before, Count, Framing};
use crate::limits::MAX_COUNT;
use crate::query::{Settings, Vocabulary};
use crate::stats::{FrameStats, SlotStats};
use crate::symbol::Port;

/// What a live slot has for the next frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer<'a> {
    /// Its next tokens, at most 64; none if it has none yet.
    Tokens(&'a [Token]),
    /// The query is not taken; the slot ends.
    Refused,
    /// The answer cannot go on; the slot ends.
    Failed,
}

/// What became of a frame's offers.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sealed {
    /// Of each live slot that offered tokens: how many are in the frame. The others are to be offered again, except
    /// those of slots that ended.
    pub coded: Vec<(u8, usize)>,
    /// Slots that are free now.
    pub ended: Vec<u8>,
    /// What it cost.
    pub stats: FrameStats,
    /// Digest of the state after this frame, equal to the decoder's.
    pub digest: u64,
}

/// One slot's part of a frame in the making.
#[derive(Clone, Copy, Debug)]
struct Planned {
    slot: u8,
    handle: Slot,
    /// Tokens that belong to the answer.
    count: usize,
    coded: usize,
    ended: bool,
    /// Positions fed before the frame.
    fed: usize,
    stats: SlotStats,
}

/// A batch, and the code that is being written.
#[derive(Debug)]
pub(crate) struct Writer<P> {
    pub(crate) batch: Batch<P>,
    pub(crate) coder: coder::Encoder,
    plan: Vec<Planned>,
    rows: Vec<(Slot, Token)>,
    /// Of each row: index into `plan`, and the token to code.
    coded: Vec<(usize, Token)>,
}

impl<P: Predict> Writer<P> {
    pub(crate) fn new(model: P, vocabulary: Vocabulary, settings: Settings, kernel: Kernel) -> Self {
        Self {
            batch: Batch::new(model, vocabulary, settings, kernel),
            coder: coder::Encoder::default(),
            plan: Vec::new(),
            rows: Vec::new(),
            coded: Vec::new(),
        }
    }

    /// Refuses what no frame can say. The batch is as before.
    pub(crate) fn check_arguments(&self, taken_in: u32, offers: &[(u8, Offer<'_>)]) -> Result<(), Error> {
        if taken_in > 0xffff {
            return Err(Error::TakenIn);
        }
        if !self
            .batch
            .live()
            .map(|(slot, _)| slot)
            .eq(offers.iter().map(|(slot, _)| *slot))
        {
            return Err(Error::Offers);
        }
        let vocab = self.batch.model.vocab();
        for (_, offer) in offers {
            let Offer::Tokens(tokens) = offer else { continue };
            if tokens.len() > MAX_COUNT {
                return Err(Error::Offers);
            }
            if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
                return Err(Error::Token { token, vocab });
            }
        }
        Ok(())
    }

    /// Adds everything to the code but what ends it.
    pub(crate) fn code(
        &mut self,
        taken_in: u32,
        offers: &[(u8, Offer<'_>)],
        limit: Option<usize>,
    ) -> Result<Sealed, Error> {
        let mut sealed = Sealed::default();
        self.head(taken_in, offers, &mut sealed);
        self.list_rows(offers);
        self.run(limit, &mut sealed.stats)?;
        self.settle(&mut sealed);
        Ok(sealed)
    }

    /// Codes what comes before the tokens, and plans them. SPEC 4.8.
    fn head(&mut self, taken_in: u32, offers: &[(u8, Offer<'_>)], sealed: &mut Sealed) {
        let Batch {
            model,
            vocabulary,
            slots,
            framing,
            ..
        } = &mut self.batch;
        let bits = &mut sealed.stats.framing_bits;
        let mut port = Port::Write(&mut self.coder);
        framing.taken_in(&mut port, taken_in, bits);
        self.plan.clear();
        let full = framing.full();
        let mut short = false;
        for (slot, offer) in offers {
            let Some(live) = &mut slots[usize::from(*slot)] else {
                continue;
            };
            let (count, ended, symbol) = match offer {
                Offer::Tokens(tokens) => {
                    let (count, ended) = live.measure(tokens, vocabulary);
                    // SPEC 4.8: an answer that ends says the full count, unless it needs more.
                    (
                        count,
                        ended,
                        Count::Cap(if ended { full.max(count) } else { count }),
                    )
                }
                Offer::Refused => (0, true, Count::Refused),
                Offer::Failed => (0, true, Count::Failed),
            };
            framing.count(&mut port, live.before, short, symbol, bits);
            short = symbol != Count::Cap(full);
            live.before = if short { Before::Short } else { Before::Full };
            self.plan.push(Planned {
                slot: *slot,
                handle: live.handle,
                count,
                coded: 0,
                ended,
                fed: model.len(live.handle),
                stats: SlotStats {
                    slot: *slot,
                    ..SlotStats::default()
                },
            });
        }
    }

    /// Lists the rows of the forward pass in coding order: token-major. SPEC 4.8.
    fn list_rows(&mut self, offers: &[(u8, Offer<'_>)]) {
        self.rows.clear();
        self.coded.clear();
        let rounds = self.plan.iter().map(|plan| plan.count).max().unwrap_or(0);
        for round in 0..rounds {
            for (index, (plan, (_, offer))) in self.plan.iter().zip(offers).enumerate() {
                let Offer::Tokens(tokens) = offer else { continue };
                if round < plan.count {
                    let pending = self.batch.slots[usize::from(plan.slot)]
                        .as_ref()
                        .map_or(0, |l| l.pending);
                    let fed = if round == 0 { pending } else { tokens[round - 1] };
                    self.rows.push((plan.handle, fed));
                    self.coded.push((index, tokens[round]));
                }
            }
        }
    }

    /// One pass of the model over all rows, coding as the logits come; stops coding at a cut, if there is a limit.
    fn run(&mut self, limit: Option<usize>, stats: &mut FrameStats) -> Result<(), Error> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let Self {
            batch,
            coder,
            plan,
            rows,
            coded,
            ..
        } = self;
        let Batch {
            model,
            vocabulary,
            slots,
            predictor,
            ..
        } = batch;
        let mut failed = None;
        let mut is_cut = false;
        let mut round = 0;
        // Where this round began, to go back to if it does not fit; the first always does.
        let mut begin = None;
        let mut points = Vec::with_capacity(plan.len());
        model.step(rows, &mut |row, logits| {
            if is_cut || failed.is_some() {
                return;
            }
            let (index, token) = coded[row];
            let Some(live) = &mut slots[usize::from(plan[index].slot)] else {
                return;
            };
            if plan[index].coded > round {
                round = plan[index].coded;
                points.clear();
                if limit.is_some() {
                    begin = Some((coder.mark(), *predictor.learned(), stats.framing_bits));
                    Framing::cut(&mut Port::Write(coder), false, &mut stats.framing_bits);
                }
            }
            points.push((index, live.point(), plan[index].stats));
            let drawn = live.drawn();
            let drawn = drawn.as_ref().map(|(sampling, noise)| (*sampling, noise));
            if let Err(error) = predictor.prepare(logits, drawn, &live.own) {
                failed = Some(error);
                return;
            }
            let prediction = predictor.prediction();
            let (_, bits) = Port::Write(coder).token(prediction, token);
            plan[index].stats.add(bits, prediction.plain_bits(token));
            plan[index].coded += 1;
            predictor.learn(token, &mut live.own);
            live.accept(token, vocabulary);

            let round_ends = coded.get(row + 1).is_none_or(|next| plan[next.0].coded > round);
            let (Some(limit), Some((mark, learned, framing_bits))) = (limit, &begin) else {
                return;
            };
            if round_ends && coder.len() + CUT > limit {
                coder.restore(mark);
                predictor.restore(learned);
                stats.framing_bits = *framing_bits;
                for &(index, point, before) in &points {
                    plan[index].coded -= 1;
                    plan[index].stats = before;
                    if let Some(live) = &mut slots[usize::from(plan[index].slot)] {
                        live.restore(point);
                    }
                }
                Framing::cut(&mut Port::Write(coder), true, &mut stats.framing_bits);
                is_cut = true;
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Brings model and slots to where the coded tokens lead, and reports.
    fn settle(&mut self, sealed: &mut Sealed) {
        for plan in &self.plan {
            let is_over = plan.ended && plan.coded == plan.count;
            sealed.coded.push((plan.slot, plan.coded));
            sealed.stats.push(plan.stats);
            if is_over {
                sealed.ended.push(plan.slot);
                self.batch.close(plan.slot);
            } else if plan.coded < plan.count {
                self.batch.model.truncate(plan.handle, plan.fed + plan.coded);
            }
        }
    }
}

/// Bytes that a cut symbol and the tail may add to those shifted out.
const CUT: usize = 3;
