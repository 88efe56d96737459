//! Messages from their pieces: any order, any overlap, under caps. SPEC 6.5.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use crate::error::{Dropped, Misbehaviour};
use crate::inward::Piece;
use crate::message::{Caps, MESSAGE_BYTES_MAX, Message};

/// Most messages of a batch that wait to be taken in.
pub const OUTSTANDING_MAX: usize = 256;
/// Most message bytes a batch buffers; the next message in order is let in beyond it, so that nothing jams.
pub const BUFFERED_BYTES_MAX: usize = 4 << 20;
/// Most separate stretches of one message; further pieces wait for a repeat.
const STRETCHES_MAX: usize = 1024;

/// The messages of one batch that have not been handed out.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    /// Number of the message at the front of `parts`.
    next: u32,
    parts: VecDeque<Option<Part>>,
    /// Bytes of the messages in `parts`, complete or not.
    buffered: usize,
}

#[derive(Debug)]
enum Part {
    Gathering {
        bytes: Vec<u8>,
        /// What of `bytes` is there: sorted, apart from each other.
        got: Vec<Range<u32>>,
    },
    Done {
        message: Message,
        len: usize,
    },
}

impl Assembler {
    /// Puts a piece in its place.
    pub(crate) fn add(&mut self, piece: &Piece<'_>, caps: Caps) -> Result<(), Dropped> {
        let Some(index) = piece.number.checked_sub(self.next).map(|index| index as usize) else {
            return Err(Dropped::Duplicate);
        };
        if index >= OUTSTANDING_MAX {
            return Err(Dropped::Overload);
        }
        let total = piece.total as usize;
        if total > MESSAGE_BYTES_MAX {
            return Err(Dropped::Misbehaved(Misbehaviour::MessageLength));
        }
        if self.parts.get(index).is_none_or(Option::is_none) {
            if index > 0 && self.buffered + total > BUFFERED_BYTES_MAX {
                return Err(Dropped::Overload);
            }
            if self.parts.len() <= index {
                self.parts.resize_with(index + 1, || None);
            }
            self.buffered += total;
        }
        let part = self.parts[index].get_or_insert_with(|| Part::Gathering {
            bytes: alloc::vec![0; total],
            got: Vec::new(),
        });
        let Part::Gathering { bytes, got } = part else {
            return Err(Dropped::Duplicate);
        };
        if bytes.len() != total {
            return Err(Dropped::Misbehaved(Misbehaviour::MessageLength));
        }
        let range = piece.offset..piece.offset + piece.bytes.len() as u32;
        if !insert(got, range.clone())? {
            return Err(Dropped::Duplicate);
        }
        bytes[range.start as usize..range.end as usize].copy_from_slice(piece.bytes);
        if got.first() == Some(&(0..piece.total)) {
            let message = Message::parse(bytes, caps)
                .map_err(|_| Dropped::Misbehaved(Misbehaviour::MessageMalformed))?;
            *part = Part::Done { message, len: total };
        }
        Ok(())
    }

    /// The next message in order, if it is complete.
    pub(crate) fn take(&mut self) -> Option<Message> {
        self.has_next().then_some(())?;
        let Some(Some(Part::Done { message, len })) = self.parts.pop_front() else {
            return None;
        };
        self.buffered -= len;
        self.next += 1;
        Some(message)
    }

    /// Is the next message in order complete?
    pub(crate) fn has_next(&self) -> bool {
        matches!(self.parts.front(), Some(Some(Part::Done { .. })))
    }

    /// Messages handed out so far.
    pub(crate) const fn taken(&self) -> u32 {
        self.next
    }
}

/// Adds `new` to sorted, separate ranges; false if it was there already.
fn insert(got: &mut Vec<Range<u32>>, new: Range<u32>) -> Result<bool, Dropped> {
    // Ranges that overlap `new` or touch it merge with it.
    let first = got.partition_point(|range| range.end < new.start);
    let last = got.partition_point(|range| range.start <= new.end);
    let touched = &got[first..last];
    if touched
        .iter()
        .any(|range| range.start <= new.start && new.end <= range.end)
    {
        return Ok(false);
    }
    if touched.is_empty() && got.len() >= STRETCHES_MAX {
        return Err(Dropped::Overload);
    }
    let start = touched
        .first()
        .map_or(new.start, |range| range.start.min(new.start));
    let end = touched.last().map_or(new.end, |range| range.end.max(new.end));
    got.splice(first..last, core::iter::once(start..end));
    Ok(true)
}

#[cfg(test)]
mod tests;
