//! Inner's side of the bench: slots filled from the trace, one frame after the other.

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use weir_codec::{Encoder, Offer, Sealed as Coded, Settings, Vocabulary};
use weir_meter::LinkCost;
use weir_model::{Predict, Token};
use weir_wire::frame::{self, Repr, Sealed};
use weir_wire::{Format, Message, Query, Source};

use super::Job;
use super::decoder::Process;
use super::pipe::Up;
use super::report::Totals;
use super::timed::Timed;
use crate::clock::Stopwatch;

/// How the trace is coded.
pub(in crate::bench) struct Encoding {
    pub(in crate::bench) slots: usize,
    pub(in crate::bench) tokens_per_tick: u8,
    pub(in crate::bench) format: Format,
}

/// A live answer.
#[derive(Clone, Copy)]
struct Live {
    job: usize,
    /// Tokens sent.
    sent: usize,
}

impl Encoding {
    /// Codes all jobs. Where there is a `peer`, each frame is decoded before the next is begun, so that both ends have the
    /// machine to themselves.
    pub(in crate::bench) fn run<P: Predict>(
        &self,
        model: P,
        vocabulary: Vocabulary,
        jobs: &[Job],
        mut peer: Option<&mut Process>,
        bar: &ProgressBar,
    ) -> Result<Totals> {
        let (model, spent) = Timed::new(model);
        let mut encoder = Encoder::new(
            model,
            vocabulary,
            Settings {
                full: self.tokens_per_tick,
                ..Settings::default()
            },
        );
        let mut waiting = jobs.iter().enumerate();
        let mut slots: Vec<Option<Live>> = vec![None; self.slots];
        let mut totals = Totals::default();
        let (mut code, mut digests) = (Vec::new(), Vec::new());
        loop {
            let mut taken_in = 0;
            for (slot, place) in (0u8..).zip(&mut slots).filter(|(_, place)| place.is_none()) {
                let Some((job, Job { query, .. })) = waiting.next() else {
                    break;
                };
                encoder.open(slot, query)?;
                if let Some(peer) = &mut peer {
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
            code.clear();
            let sealed = encoder.frame(taken_in, &offers, self.limit(), &mut code)?;
            totals.encode_seconds += watch.seconds();
            totals.encode_forward += spent.seconds() - before;

            let mut datagram = Vec::new();
            let number = digests.len() as u64;
            let seal = Sealed {
                session: SESSION,
                batch: 0,
                number,
                digest: behind(&digests),
            };
            let check = frame::check(self.format, &seal, &code);
            Repr {
                batch: 0,
                check,
                code: &code,
            }
            .emit(self.format, &mut datagram);
            if let Some(peer) = &mut peer {
                let up = peer.decode(&datagram)?;
                totals.decode_seconds += up.seconds;
                totals.decode_forward += up.forward;
                totals.same &= is_same(&sealed, up, jobs, &slots);
            }
            for stats in &sealed.stats.slots {
                if let Some(live) = slots[usize::from(stats.slot)] {
                    let (plain, coded) = (stats.plain_bits, stats.coded_bits);
                    totals.paired.add(live.job, stats.tokens, plain, coded);
                }
            }
            totals.frame(&sealed.stats, code.len(), datagram.len());
            let link = LinkCost::UdpIpv4
                .bits(datagram.len())
                .context("a frame is longer than a datagram")?;
            totals.link_bits += link;

            for &(slot, count) in &sealed.coded {
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
            digests.push(sealed.digest);
        }
        Ok(totals)
    }

    /// Next tokens of every live slot.
    fn offers<'a>(&self, jobs: &'a [Job], slots: &[Option<Live>]) -> Vec<(u8, Offer<'a>)> {
        let offer =
            |tokens: &'a [Token]| Offer::Tokens(&tokens[..tokens.len().min(self.tokens_per_tick.into())]);
        let live = (0u8..).zip(slots).filter(|(_, live)| live.is_some());
        live.map(|(slot, live)| (slot, offer(rest(jobs, *live))))
            .collect()
    }

    /// Bytes of code that a datagram of the link has room for.
    fn limit(&self) -> usize {
        LinkCost::UdpIpv4.mtu() - self.format.header_len()
    }
}

/// Whether what the decoder says is what was coded.
fn is_same(sealed: &Coded, up: Up, jobs: &[Job], slots: &[Option<Live>]) -> bool {
    let there = sealed.coded.iter().filter(|(_, count)| *count > 0);
    let expected: Vec<(u8, Vec<Token>)> = there
        .map(|&(slot, count)| (slot, rest(jobs, slots[usize::from(slot)])[..count].to_vec()))
        .collect();
    let got = up.answers.into_iter().filter(|(_, tokens)| !tokens.is_empty());
    got.eq(expected) && up.digest == sealed.digest
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
