//! The frames that wait for a tick, one behind the other in one block of memory that is taken at the start.

use alloc::vec::Vec;

/// Frames in the order in which they came, which the valve has seen to be that of their ids.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Never grows beyond its first capacity.
    bytes: Vec<u8>,
    /// Where each frame ends; never grows beyond its first capacity.
    ends: Vec<usize>,
}

impl Queue {
    pub(crate) fn new(frames: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(frames),
        }
    }

    /// False, if there is no room for it.
    pub(crate) fn push(&mut self, frame: &[u8]) -> bool {
        let Self { bytes, ends } = self;
        let is_room = frame.len() <= bytes.capacity() - bytes.len() && ends.len() < ends.capacity();
        if is_room {
            bytes.extend_from_slice(frame);
            ends.push(bytes.len());
        }
        is_room
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Brings all of it into the processor's caches, so that sending takes as long for what came early as for what came late.
    pub(crate) fn warm(&self) {
        core::hint::black_box(self.bytes.iter().fold(0, |sum, byte| sum ^ byte));
    }

    pub(crate) const fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = core::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .map(|(&start, &end)| &self.bytes[start..end])
    }
}
