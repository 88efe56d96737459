//! What a frame takes on the line, and when it is too much.

/// Sums since the state file began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Total {
    /// Frames, with those that were not seen.
    pub(crate) frames: u64,
    /// Bytes on the line.
    pub(crate) bytes: u64,
    /// Frames that were not seen.
    pub(crate) drops: u64,
    /// Frames that the kernel has joined from several, as it says or as their length shows.
    pub(crate) joined: u64,
}

/// A frame as the kernel hands it over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Frame {
    /// Bytes from MAC header to payload, without a tag that the kernel has taken off.
    pub(crate) len: usize,
    pub(crate) has_tag: bool,
    /// Payload bytes of each of the frames that this one was joined from; 0 if they are not known.
    pub(crate) joined: Option<u16>,
}

impl Frame {
    /// Joined from several, and no more is known.
    pub(crate) const UNKNOWN: Self = Self {
        len: 0,
        has_tag: false,
        joined: Some(0),
    };
}

/// Counts against the limits.
#[derive(Debug)]
pub(crate) struct Count {
    total: Total,
    cap: u64,
    drops_max: u64,
}

impl Count {
    pub(crate) fn new(before: Total, cap: u64, drops_max: u64) -> Self {
        Self {
            total: before,
            cap,
            // Of this run.
            drops_max: before.drops.saturating_add(drops_max),
        }
    }

    pub(crate) fn frame(&mut self, frame: &Frame) {
        let len = frame.len as u64 + if frame.has_tag { TAG } else { 0 };
        self.total.joined += u64::from(frame.joined.is_some() || len > LONGEST);
        if let Some(payload) = frame.joined {
            // At most so many, as each had some of the payload.
            self.longest(len.div_ceil(u64::from(payload).max(1)).max(1));
        } else {
            self.total.frames = self.total.frames.saturating_add(1);
            self.total.bytes = self.total.bytes.saturating_add(len.max(SHORTEST) + AROUND);
        }
    }

    /// Frames that were not seen.
    pub(crate) fn drops(&mut self, drops: u64) {
        self.total.drops = self.total.drops.saturating_add(drops);
        self.longest(drops);
    }

    /// So many frames that may have been as long as they can be.
    const fn longest(&mut self, frames: u64) {
        self.total.frames = self.total.frames.saturating_add(frames);
        let bytes = frames.saturating_mul(LONGEST + AROUND);
        self.total.bytes = self.total.bytes.saturating_add(bytes);
    }

    pub(crate) const fn total(&self) -> Total {
        self.total
    }

    /// Why the link must go down.
    pub(crate) const fn verdict(&self) -> Result<(), &'static str> {
        if self.total.joined > 0 {
            Err(
                "frames were joined from several, or longer than Ethernet's: switch GRO and LRO off on this interface",
            )
        } else if self.total.drops > self.drops_max {
            Err("too many frames were not seen; give it a larger --buffer or a faster machine")
        } else if self.total.bytes >= self.cap {
            Err("the cap is reached")
        } else {
            Ok(())
        }
    }
}

/// The socket's count of frames beside the interface's own, since the two were first read.
#[derive(Debug)]
pub(crate) struct Compare {
    /// What the socket was offered, and what was said to be missing.
    known: u64,
    start: u64,
    /// What the interface had counted at the looks before, the older first.
    received: [u64; 2],
}

impl Compare {
    /// `received` is what the interface has counted in its life.
    pub(crate) const fn new(received: u64) -> Self {
        Self {
            known: 0,
            start: received,
            received: [received; 2],
        }
    }

    /// The frames that the interface had two looks ago and the socket still has not, each said once. In the time between
    /// two looks a frame gets from one to the other. `None` if the interface's counter has gone back.
    pub(crate) fn look(&mut self, offered: u64, received: u64) -> Option<u64> {
        let [settled, last] = self.received;
        self.known = self.known.saturating_add(offered);
        let missing = settled.saturating_sub(self.start).saturating_sub(self.known);
        self.known += missing;
        self.received = [last, received];
        (received >= last).then_some(missing)
    }
}

/// Preamble 8, check sequence 4, gap 12.
const AROUND: u64 = 24;
/// MAC header and the least payload; shorter frames are padded.
const SHORTEST: u64 = 60;
/// What a VLAN takes.
const TAG: u64 = 4;
/// MAC header, one tag and 1500 bytes.
const LONGEST: u64 = 1514 + TAG;
