//! One batch of inner's: the send window and the messages that come in. SPEC 6.3, 6.4.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::Purpose;
use crate::assembly::Assembler;
use crate::cursor::strip_zeros;
use crate::error::{Dropped, Misbehaviour, Misuse};
use crate::frame::{self, Sealed};
use crate::inward::Data;
use crate::message::Caps;
use crate::parameters::Parameters;
use crate::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) messages: Assembler,
    /// Frames 0..acked are accepted by outer.
    acked: u64,
    /// Frames acked.. that were submitted, in order; at most W. Only the last one can be unsent.
    window: VecDeque<Entry>,
    /// Digests after the last W acknowledged frames, oldest first; fewer at the start.
    digests: VecDeque<u64>,
}

#[derive(Debug)]
struct Entry {
    frame: Vec<u8>,
    /// Digest of the coder's state after this frame.
    digest: u64,
    sent: bool,
    /// The first tick on which it may leave (for the first time or again); `None` if it need not.
    leaves: Option<u64>,
    repeated: Option<Instant>,
}

impl Batch {
    pub(super) fn submit(
        &mut self,
        parameters: &Parameters,
        session: u64,
        batch: u16,
        tick: u64,
        code: &[u8],
        digest: u64,
    ) -> Result<u64, Misuse> {
        if !self.can_send(parameters.window) {
            return Err(Misuse::WindowFull);
        }
        let code = strip_zeros(code);
        let limit = parameters.code_limit();
        if code.len() > limit {
            return Err(Misuse::CodeTooLong {
                len: code.len(),
                limit,
            });
        }
        let number = self.submitted();
        // Frame number - W is acknowledged, so its digest stands in `digests`. SPEC 5.2.
        let back = usize::from(parameters.window) - self.window.len();
        let before = self
            .digests
            .len()
            .checked_sub(back)
            .map_or(0, |index| self.digests[index]);
        let sealed = Sealed {
            session,
            batch,
            number,
            digest: before,
        };
        let check = frame::check(parameters.format, &sealed, code);
        let mut frame = Vec::with_capacity(parameters.format.header_len() + code.len());
        frame::Repr { batch, check, code }.emit(parameters.format, &mut frame);
        super::pad(parameters, &mut frame);
        self.window.push_back(Entry {
            frame,
            digest,
            sent: false,
            leaves: Some(tick),
            repeated: None,
        });
        Ok(number)
    }

    /// Acknowledgement, repeat requests, then the pieces.
    pub(super) fn data(
        &mut self,
        now: Instant,
        tick: u64,
        data: &Data<'_>,
        caps: Caps,
        guard: Duration,
    ) -> Result<(), Dropped> {
        self.acknowledge(data.ack, data.digest)?;
        for bit in (0..16).filter(|bit| data.missing >> bit & 1 == 1) {
            self.ask(now, tick, data.ack.saturating_add(bit), guard);
        }
        let mut worst = Ok(());
        let mut useful = false;
        for piece in data.pieces() {
            match self.messages.add(&piece, caps) {
                Ok(()) => useful = true,
                Err(why @ Dropped::Misbehaved(_)) => return Err(why),
                Err(why) => worst = Err(why),
            }
        }
        if useful { Ok(()) } else { worst }
    }

    /// The frame that may leave on this tick: the oldest that was asked for again, else a new one.
    pub(super) fn due(&mut self, now: Instant, tick: u64) -> Option<(Purpose, &[u8])> {
        let entry = self
            .window
            .iter_mut()
            .find(|entry| entry.leaves.is_some_and(|leaves| leaves <= tick))?;
        entry.leaves = None;
        let purpose = if entry.sent {
            Purpose::Repeat
        } else {
            Purpose::Frame
        };
        if entry.sent {
            entry.repeated = Some(now);
        }
        entry.sent = true;
        Some((purpose, &entry.frame))
    }

    /// The newest frame did not leave after all; it may from this tick on.
    pub(super) fn put_back(&mut self, tick: u64) {
        if let Some(last) = self.window.back_mut() {
            last.sent = false;
            last.leaves = Some(tick);
        }
    }

    pub(super) fn can_send(&self, window: u8) -> bool {
        self.window.len() < usize::from(window) && self.window.back().is_none_or(|last| last.sent)
    }

    /// The first tick on which a frame may leave.
    pub(super) fn ready(&self) -> Option<u64> {
        self.window.iter().filter_map(|entry| entry.leaves).min()
    }

    pub(super) const fn acked(&self) -> u64 {
        self.acked
    }

    fn submitted(&self) -> u64 {
        self.acked + self.window.len() as u64
    }

    /// SPEC 6.4: an older acknowledgement says nothing new; a newer one must name inner's own state.
    fn acknowledge(&mut self, ack: u64, digest: u64) -> Result<(), Dropped> {
        let Some(fresh) = ack.checked_sub(self.acked).filter(|&fresh| fresh > 0) else {
            return Ok(());
        };
        let sent = self.window.iter().filter(|entry| entry.sent).count() as u64;
        if fresh > sent {
            return Err(Dropped::Misbehaved(Misbehaviour::AckBeyondSent));
        }
        for _ in 0..fresh {
            let entry = self.window.pop_front().expect("fresh frames are in the window");
            self.digests.push_back(entry.digest);
        }
        while self.digests.len() > DIGESTS_MAX {
            self.digests.pop_front();
        }
        self.acked = ack;
        if self.digests.back() == Some(&digest) {
            Ok(())
        } else {
            Err(Dropped::Diverged)
        }
    }

    /// Lets a frame leave again, unless it was never sent, is acknowledged, or was repeated a moment ago.
    fn ask(&mut self, now: Instant, tick: u64, number: u64, guard: Duration) {
        let index = number
            .checked_sub(self.acked)
            .and_then(|index| usize::try_from(index).ok());
        let Some(entry) = index.and_then(|index| self.window.get_mut(index)) else {
            return;
        };
        let fresh = entry.repeated.is_some_and(|repeated| now < repeated + guard);
        if entry.sent && entry.leaves.is_none() && !fresh {
            entry.leaves = Some(tick);
        }
    }
}

/// The largest window.
const DIGESTS_MAX: usize = 16;
