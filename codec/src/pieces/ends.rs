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

/// A coder that looks at so many bytes behind those shifted out needs no others: SPEC 4.2's window.
const WINDOW: u64 = 8;
