//! What both ends of a continuous code count: bytes of pieces, and where in them segments end (SPEC 4.15).

use std::collections::VecDeque;

/// States that the batch went through, by how many bytes bring the other end there for certain.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Digests after segments, each with the bytes after which it holds.
    ahead: VecDeque<(u64, u64)>,
    digest: u64,
}

impl Ends {
    /// A segment has ended after `position` bytes were shifted out; the digest after it.
    pub(crate) fn push(&mut self, position: u64, digest: u64) {
        self.ahead.push_back((position + WINDOW, digest));
    }

    /// The digest that stands for the first `bytes` bytes of pieces.
    pub(crate) fn after(&mut self, bytes: u64) -> u64 {
        while let Some((_, digest)) = self.ahead.pop_front_if(|(known, _)| *known <= bytes) {
            self.digest = digest;
        }
        self.digest
    }
}

/// What inner has coded and not yet given away.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    /// Bytes that stand; whole pieces, unless a code is running.
    pub(crate) ready: Vec<u8>,
    /// A code has begun and is not ended.
    pub(crate) is_running: bool,
    /// Since the last segment every piece that stood was given away, and there was one: only then another segment may follow.
    pub(crate) is_drained: bool,
    /// Bytes of pieces given away.
    pub(crate) sent: u64,
    pub(crate) ends: Ends,
}

/// A coder that looks at so many bytes behind those shifted out needs no others: SPEC 4.2's window.
const WINDOW: u64 = 8;
