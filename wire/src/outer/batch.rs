//! One batch of outer's: frames that come, messages that wait to be taken in. SPEC 6.3, 6.4.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::OuterConfig;
use crate::assembly::OUTSTANDING_MAX;
use crate::error::{Dropped, Misbehaviour, Misuse};
use crate::frame::{self, Frame, Sealed};
use crate::inward::Piece;
use crate::message::Message;
use crate::time::{Backoff, Instant};

#[derive(Debug)]
pub(super) struct Batch {
    window: u64,
    /// Frames 0..accepted are decoded.
    accepted: u64,
    /// Frames accepted..delivered are with the application.
    delivered: u64,
    /// Codes of frames accepted..accepted + W as far as they are there. They stay until accepted, so that a second
    /// frame of the same number can be compared.
    held: VecDeque<Option<Vec<u8>>>,
    /// What is remembered of the last W accepted frames, oldest first.
    past: VecDeque<Past>,
    /// Frames below this number exist, as far as is known.
    seen: u64,
    /// Next request for known gaps.
    ask: Backoff,
    /// Next request for a frame that may exist: an answer is owed, and the last frame may have been lost.
    probe: Backoff,
    reorder: core::time::Duration,
    /// One of each number at most, so at most W.
    failed: Vec<Failed>,
    /// A frame was accepted, and inner has not been told.
    ack_due: bool,
    live: bool,
    pub(super) taken_in: u32,
    /// Messages taken_in.., oldest first.
    outbox: VecDeque<Outgoing>,
    retry: Backoff,
}

#[derive(Debug)]
struct Past {
    digest: u64,
    code: Vec<u8>,
}

/// A frame that failed its check, how often these very bytes came, and when they were last counted.
#[derive(Debug)]
struct Failed {
    number: u64,
    check: u32,
    code: Vec<u8>,
    times: u32,
    at: Instant,
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    /// Bytes already sent in the present round.
    offset: usize,
    retry: Backoff,
}

/// Content of a data datagram.
pub(super) struct Told {
    pub(super) ack: u64,
    pub(super) digest: u64,
    pub(super) missing: u16,
    pub(super) pieces: Vec<u8>,
}

impl Batch {
    pub(super) fn new(config: &OuterConfig) -> Self {
        let backoff = Backoff::new(config.retry, config.retry_cap);
        Self {
            window: u64::from(config.parameters.window),
            accepted: 0,
            delivered: 0,
            held: (0..config.parameters.window).map(|_| None).collect(),
            past: VecDeque::new(),
            seen: 0,
            ask: backoff,
            probe: backoff,
            reorder: config.reorder,
            failed: Vec::new(),
            ack_due: false,
            live: false,
            taken_in: 0,
            outbox: VecDeque::new(),
            retry: backoff,
        }
    }

    /// Whether a message would get a number that is never used: the session is at its end.
    pub(super) fn is_exhausted(&self) -> bool {
        let submitted = u64::from(self.taken_in) + self.outbox.len() as u64;
        submitted >= u64::from(u32::MAX)
    }

    pub(super) fn submit(&mut self, now: Instant, message: &Message) -> Result<u32, Misuse> {
        // Number u32::MAX is never used.
        let number = u32::try_from(self.outbox.len())
            .ok()
            .and_then(|len| self.taken_in.checked_add(len));
        let number = number.filter(|&number| number < u32::MAX && self.outbox.len() < OUTSTANDING_MAX);
        let number = number.ok_or(Misuse::Full)?;
        let mut bytes = Vec::with_capacity(message.buffer_len());
        message.emit(&mut bytes);
        let mut retry = self.retry;
        retry.arm(now, core::time::Duration::ZERO);
        self.outbox.push_back(Outgoing {
            bytes,
            offset: 0,
            retry,
        });
        self.probe.arm(now, self.probe.first());
        Ok(number)
    }

    /// SPEC 5.2, 6.3.
    pub(super) fn recv(
        &mut self,
        now: Instant,
        session: u64,
        config: &OuterConfig,
        batch: u16,
        frame: &Frame<&[u8]>,
    ) -> Result<(), Dropped> {
        let format = config.parameters.format;
        let modulus = 1_u64 << format.check.number_bits();
        let ahead = u64::from(frame.number_bits()).wrapping_sub(self.accepted) % modulus;
        // Of all numbers with these low bits inner can have sent one: in the window, or among the W before it.
        let number = if ahead < self.window {
            self.accepted + ahead
        } else if modulus - ahead <= self.window.min(self.accepted) {
            self.accepted - (modulus - ahead)
        } else {
            return Err(Dropped::Damaged);
        };
        let sealed = Sealed {
            session,
            batch,
            number,
            digest: self.digest_for(number),
        };
        let good = frame.check() == frame::check(format, &sealed, frame.code());
        if number < self.accepted {
            return self.old(number, good, frame.code());
        }
        if !good {
            return self.fail(now, number, frame);
        }
        let slot = &mut self.held[ahead as usize];
        if let Some(held) = slot {
            let same = held == frame.code();
            return Err(if same {
                Dropped::Duplicate
            } else {
                Dropped::Misbehaved(Misbehaviour::TwoFrames)
            });
        }
        *slot = Some(frame.code().to_vec());
        self.failed.retain(|failed| failed.number != number);
        self.ask.ease(now);
        self.expect(now, number + 1);
        Ok(())
    }

    /// The next frame in order that the application has not seen.
    pub(super) fn deliver(&mut self) -> Option<(u64, Vec<u8>)> {
        let code = self
            .held
            .get((self.delivered - self.accepted) as usize)?
            .clone()?;
        let number = self.delivered;
        self.delivered += 1;
        Some((number, code))
    }

    pub(super) fn accept(
        &mut self,
        now: Instant,
        taken_in: u32,
        digest: u64,
        live: bool,
    ) -> Result<(), Misuse> {
        if self.delivered == self.accepted {
            return Err(Misuse::NothingDelivered);
        }
        let taken = taken_in.checked_sub(self.taken_in).map(|taken| taken as usize);
        let Some(taken) = taken.filter(|&taken| taken <= self.outbox.len()) else {
            return Err(Misuse::Misbehaved(Misbehaviour::TakenIn));
        };
        self.outbox.drain(..taken);
        self.taken_in = taken_in;
        self.live = live;
        let code = self
            .held
            .pop_front()
            .flatten()
            .expect("a delivered frame is held");
        self.held.push_back(None);
        self.past.push_back(Past { digest, code });
        if self.past.len() as u64 > 2 * self.window {
            self.past.pop_front();
        }
        self.accepted += 1;
        self.ack_due = true;
        self.expect(now, self.accepted);
        Ok(())
    }

    /// What to tell inner now, in at most `room` bytes of pieces; `None` if nothing.
    pub(super) fn tell(&mut self, now: Instant, room: usize) -> Option<Told> {
        let asks = self.ask.is_due(now);
        let probes = self.probe.is_due(now);
        let pieces = self.pieces(now, room);
        if !(asks || probes || self.ack_due || !pieces.is_empty()) {
            return None;
        }
        let mut missing = 0;
        if asks || probes {
            let known = self.seen.saturating_sub(self.accepted);
            let beyond = self.held.iter().position(Option::is_none).filter(|_| probes);
            for (bit, held) in self.held.iter().enumerate() {
                let wanted = (bit as u64) < known || beyond == Some(bit);
                missing |= u16::from(wanted && held.is_none()) << bit;
            }
        }
        if asks {
            self.ask.fired(now);
        }
        if probes {
            self.probe.fired(now);
        }
        self.ack_due = false;
        Some(Told {
            ack: self.accepted,
            digest: self.digest_after(self.accepted),
            missing,
            pieces,
        })
    }

    pub(super) fn poll_at(&self) -> Option<Instant> {
        let outbox = self.outbox.iter().filter_map(|message| message.retry.at());
        let timers = [
            self.ask.at(),
            self.probe.at(),
            self.ack_due.then_some(Instant::ZERO),
        ];
        timers.into_iter().flatten().chain(outbox).min()
    }

    /// Is inner to say something more?
    pub(super) fn is_owed(&self) -> bool {
        self.live || !self.outbox.is_empty()
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outbox.len()
    }

    /// Digest of the coder's state after frames 0..count, 0 for none. `count` is among the last 2W accepted.
    fn digest_after(&self, count: u64) -> u64 {
        let back = (self.accepted - count) as usize + 1;
        self.past
            .len()
            .checked_sub(back)
            .map_or(0, |index| self.past[index].digest)
    }

    /// The digest that frame `number`'s check covers.
    fn digest_for(&self, number: u64) -> u64 {
        if number < self.window {
            0
        } else {
            self.digest_after(number - self.window + 1)
        }
    }

    /// A frame of a number that has been accepted: a duplicate, unless its check is good and its code is another.
    fn old(&self, number: u64, good: bool, code: &[u8]) -> Result<(), Dropped> {
        let back = (self.accepted - number) as usize;
        let past = &self.past[self.past.len() - back];
        Err(match (good, past.code == code) {
            (true, false) => Dropped::Misbehaved(Misbehaviour::TwoFrames),
            (true, true) => Dropped::Duplicate,
            (false, _) => Dropped::Damaged,
        })
    }

    /// A frame that may be `number`, but fails its check. Damage is random; what comes back byte for byte when it is
    /// asked for again was sent that way, and the states differ. Copies within one wait count once, for a link may
    /// double what it has damaged. SPEC 6.7.
    fn fail(&mut self, now: Instant, number: u64, frame: &Frame<&[u8]>) -> Result<(), Dropped> {
        self.expect(now, number + 1);
        let (check, code) = (frame.check(), frame.code());
        let known = self.failed.iter_mut().find(|failed| failed.number == number);
        match known {
            Some(failed) if failed.check == check && failed.code == code => {
                if now >= failed.at + self.retry.first() {
                    failed.times += 1;
                    failed.at = now;
                }
                if failed.times >= DIVERGED {
                    return Err(Dropped::Diverged);
                }
                return Err(Dropped::Damaged);
            }
            Some(_) => self.failed.retain(|failed| failed.number != number),
            None => {}
        }
        self.failed.push(Failed {
            number,
            check,
            code: code.to_vec(),
            times: 1,
            at: now,
        });
        Err(Dropped::Damaged)
    }

    /// Notes that frames below `seen` exist, and keeps the timers in step with what is missing. When nothing is owed
    /// nothing can be missing that matters.
    fn expect(&mut self, now: Instant, seen: u64) {
        self.seen = self.seen.max(seen);
        if !self.is_owed() {
            self.ask.clear();
            self.probe.clear();
            return;
        }
        let known = self.seen.saturating_sub(self.accepted) as usize;
        if self.held.iter().take(known).any(Option::is_none) {
            self.ask.arm(now, self.reorder);
        } else {
            self.ask.clear();
        }
        self.probe.restart(now, self.probe.first());
    }

    /// Pieces of the messages that are due, in wire form.
    fn pieces(&mut self, now: Instant, room: usize) -> Vec<u8> {
        let mut pieces = Vec::new();
        for (number, message) in (self.taken_in..).zip(&mut self.outbox) {
            while message.retry.is_due(now) {
                let (total, offset) = (message.bytes.len() as u32, message.offset as u32);
                let len = Piece::fit(number, total, offset, room - pieces.len());
                // A sliver is not worth a header of its own.
                if len == 0
                    || (len < SLIVER && message.offset + len < message.bytes.len() && !pieces.is_empty())
                {
                    return pieces;
                }
                let bytes = &message.bytes[message.offset..][..len];
                Piece {
                    number,
                    total,
                    offset,
                    bytes,
                }
                .emit(&mut pieces);
                message.offset += len;
                if message.offset == message.bytes.len() {
                    message.offset = 0;
                    message.retry.fired(now);
                }
            }
        }
        pieces
    }
}

/// The same bytes must fail this often.
const DIVERGED: u32 = 4;
const SLIVER: usize = 32;
