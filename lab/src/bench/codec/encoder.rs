//! Inner's side of the bench: slots filled from the trace, one frame after the other.

use std::collections::VecDeque;

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use weir_codec::{Offer, Settings, Vocabulary, pieces};
use weir_meter::LinkCost;
use weir_model::{Kernel, Predict, Token};
use weir_setup::coding::BatchEncoder;
use weir_wire::frame::{self, Repr, Sealed};
use weir_wire::{Message, Parameters, Query, Source};

use super::Job;
use super::decoder::Process;
use super::report::Totals;
use super::timed::Timed;
use weir_setup::tool::clock::Stopwatch;

/// How the trace is coded.
pub(in crate::bench) struct Encoding {
    pub(in crate::bench) slots: usize,
    /// Of these the format, the tokens of a tick, the longest frame and the shape matter.
    pub(in crate::bench) parameters: Parameters,
    /// Passes over the vocabulary; no choice changes a bit.
    pub(in crate::bench) kernel: Kernel,
}

/// A live answer.
#[derive(Clone, Copy)]
struct Live {
    job: usize,
    /// Tokens sent.
    sent: usize,
}

/// What leaves, and what is known to have come.
struct Line<'a> {
    parameters: Parameters,
    peer: Option<&'a mut Process>,
    digests: Vec<u64>,
    /// Of each slot the tokens that are coded and were not decoded yet.
    coded: Vec<VecDeque<Token>>,
}

impl Encoding {
    /// Codes all jobs. Where there is a `peer`, each frame is decoded before the next is begun, so that both ends have the
    /// machine to themselves.
    pub(in crate::bench) fn run<P: Predict>(
        &self,
        model: P,
        vocabulary: Vocabulary,
        jobs: &[Job],
        peer: Option<&mut Process>,
        bar: &ProgressBar,
    ) -> Result<Totals> {
        let (model, spent) = Timed::new(model);
        let settings = Settings {
            full: u8::try_from(self.parameters.tokens_per_tick)?,
            ..Settings::default()
        };
        let piece = self.parameters.piece_len();
        let mut encoder = BatchEncoder::new(model, vocabulary, settings, self.kernel, piece);
        let mut waiting = jobs.iter().enumerate();
        let mut slots: Vec<Option<Live>> = vec![None; self.slots];
        let mut totals = Totals::default();
        let mut line = Line {
            parameters: self.parameters,
            peer,
            digests: Vec::new(),
            coded: vec![VecDeque::new(); self.slots],
        };
        loop {
            let mut taken_in = 0;
            for (slot, place) in (0u8..).zip(&mut slots).filter(|(_, place)| place.is_none()) {
                let Some((job, Job { query, .. })) = waiting.next() else {
                    break;
                };
                encoder.slots().open(slot, query)?;
                if let Some(peer) = &mut line.peer {
                    peer.send_message(&message(slot, query))?;
                }
                *place = Some(Live { job, sent: 0 });
                taken_in += 1;
            }
            let offers = self.offers(jobs, &slots);
            if offers.is_empty() {
                break;
            }
            let before = spent.seconds();
            let watch = Stopwatch::start();
            let mut code = Vec::new();
            let sealed = encoder.code(taken_in, &offers, self.parameters.code_limit(), &mut code)?;
            totals.encode_seconds += watch.seconds();
            totals.encode_forward += spent.seconds() - before;

            for stats in &sealed.stats.slots {
                if let Some(live) = slots[usize::from(stats.slot)] {
                    let (plain, coded) = (stats.plain_bits, stats.coded_bits);
                    totals.paired.add(live.job, stats.tokens, plain, coded);
                }
            }
            for &(slot, count) in &sealed.coded {
                let tokens = &rest(jobs, slots[usize::from(slot)])[..count];
                line.coded[usize::from(slot)].extend(tokens);
                if let Some(live) = &mut slots[usize::from(slot)] {
                    live.sent += count;
                    bar.inc(count as u64);
                }
            }
            for &slot in &sealed.ended {
                let live = slots[usize::from(slot)].take();
                let over = live.is_some_and(|live| live.sent == jobs[live.job].tokens.len());
                ensure!(
                    over,
                    "the trace goes on after a token that ends an answer: it was made with another model"
                );
            }
            totals.coded(&sealed.stats);
            match &mut encoder {
                BatchEncoder::Frames(_) => line.send(&code, sealed.digest, &mut totals)?,
                BatchEncoder::Pieces(encoder) => {
                    // As inner does: a piece is due on every tick, and is ended where a tick's tokens do not fill it.
                    if !encoder.has_piece() {
                        encoder.pad();
                    }
                    line.send_pieces(encoder, &mut totals)?;
                }
            }
        }
        if let BatchEncoder::Pieces(encoder) = &mut encoder {
            encoder.pad();
            line.send_pieces(encoder, &mut totals)?;
        }
        totals.same &= line.peer.is_none() || line.coded.iter().all(VecDeque::is_empty);
        Ok(totals)
    }

    /// Next tokens of every live slot.
    fn offers<'a>(&self, jobs: &'a [Job], slots: &[Option<Live>]) -> Vec<(u8, Offer<'a>)> {
        let most = usize::from(self.parameters.tokens_per_tick);
        let offer = |tokens: &'a [Token]| Offer::Tokens(&tokens[..tokens.len().min(most)]);
        let live = (0u8..).zip(slots).filter(|(_, live)| live.is_some());
        live.map(|(slot, live)| (slot, offer(rest(jobs, *live))))
            .collect()
    }
}

impl Line<'_> {
    /// Sends a frame, and compares what comes back.
    fn send(&mut self, code: &[u8], digest: u64, totals: &mut Totals) -> Result<()> {
        let Parameters { format, shape, .. } = self.parameters;
        let mut datagram = Vec::new();
        let seal = Sealed {
            session: SESSION,
            batch: 0,
            number: self.digests.len() as u64,
            digest: behind(&self.digests),
        };
        let check = frame::check(format, &seal, code);
        Repr {
            batch: 0,
            check,
            code,
        }
        .emit(format, &mut datagram);
        datagram.resize(shape.padded(&self.parameters, datagram.len()), 0);
        if let Some(peer) = &mut self.peer {
            let up = peer.decode(&datagram)?;
            totals.decode_seconds += up.seconds;
            totals.decode_forward += up.forward;
            totals.same &= up.digest == digest;
            for (slot, tokens) in up.answers {
                let coded = &mut self.coded[usize::from(slot)];
                totals.same &= tokens.into_iter().all(|token| coded.pop_front() == Some(token));
            }
            // A frame that is sealed says all that it holds.
            let is_whole = self.coded.iter().all(VecDeque::is_empty);
            totals.same &= is_whole || self.parameters.piece_len().is_some();
        }
        let link = LinkCost::UdpIpv4
            .bits(datagram.len())
            .context("a frame is longer than a datagram")?;
        totals.frame(code.len(), datagram.len(), link);
        self.digests.push(digest);
        Ok(())
    }

    fn send_pieces<P: Predict>(
        &mut self,
        encoder: &mut pieces::Encoder<P>,
        totals: &mut Totals,
    ) -> Result<()> {
        let mut code = Vec::new();
        while let Some(digest) = encoder.piece(&mut code) {
            self.send(&code, digest, totals)?;
            code.clear();
        }
        Ok(())
    }
}

/// What of a live answer has not been sent.
fn rest(jobs: &[Job], live: Option<Live>) -> &[Token] {
    live.map_or(&[], |live| &jobs[live.job].tokens[live.sent..])
}

fn message(slot: u8, query: &weir_codec::Query) -> Message {
    let weir_codec::Query {
        seed,
        sampling,
        max_tokens,
        stop,
        prompt,
    } = query.clone();
    let weir_codec::Sampling {
        temperature,
        top_p,
        top_k,
        tau,
    } = sampling;
    Message::Query(Query {
        slot,
        seed,
        temperature,
        top_p,
        top_k,
        tau,
        max_tokens,
        stop,
        prompt,
        source: Source::Tokens,
    })
}

/// The digest that a frame's check vouches for: that of W frames before.
pub(super) fn behind(digests: &[u64]) -> u64 {
    digests
        .len()
        .checked_sub(WINDOW)
        .map_or(0, |index| digests[index])
}

/// W.
const WINDOW: usize = 4;
/// The session that the checks of the bench's frames belong to.
pub(super) const SESSION: u64 = 1;
