//! What a frame takes on the line, and when it is too much.

use std::fmt;

/// Sums since the state file began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Total {
    /// Frames, with those that were not seen.
    pub(crate) frames: u64,
    /// Bytes on the line.
    pub(crate) bytes: u64,
    /// Frames that were not seen.
    pub(crate) drops: u64,
    /// Frames longer than the interface can have received in one piece: the kernel has joined several.
    pub(crate) joined: u64,
}

/// Whether the link may stay up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Go,
    /// One more of the longest frames could be above the cap.
    Cap,
    Drops,
    Joined,
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

    /// A frame of `len` bytes from MAC header to payload.
    pub(crate) fn frame(&mut self, len: usize) {
        let len = len as u64;
        self.total.frames += 1;
        self.total.bytes = self.total.bytes.saturating_add(len.max(SHORTEST) + AROUND);
        self.total.joined += u64::from(len > LONGEST);
    }

    /// Frames that were not seen.
    pub(crate) fn drops(&mut self, drops: u64) {
        self.total.frames += drops;
        self.total.drops += drops;
        self.total.bytes = self
            .total
            .bytes
            .saturating_add(drops.saturating_mul(LONGEST + AROUND));
    }

    pub(crate) const fn total(&self) -> Total {
        self.total
    }

    pub(crate) const fn verdict(&self) -> Verdict {
        if self.total.joined > 0 {
            Verdict::Joined
        } else if self.total.drops > self.drops_max {
            Verdict::Drops
        } else if self.total.bytes >= self.cap {
            Verdict::Cap
        } else {
            Verdict::Go
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Go => "all is well",
            Self::Cap => "the cap is reached",
            Self::Drops => "too many frames were not seen; give it a larger --buffer or a faster machine",
            Self::Joined => "frames longer than Ethernet's: switch off GRO on this interface (ethtool -K NAME gro off lro off)",
        })
    }
}

/// Preamble 8, check sequence 4, gap 12.
const AROUND: u64 = 24;
/// MAC header and the least payload; shorter frames are padded.
const SHORTEST: u64 = 60;
/// MAC header and 1500 bytes.
const LONGEST: u64 = 1514;
