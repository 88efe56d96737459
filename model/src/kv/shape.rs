//! Sizes of keys and values.

use crate::Kv;

/// Positions per page.
pub const PAGE: usize = 64;
/// What one position holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) kv: Kv,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    /// Elements of a head.
    pub(crate) width: usize,
}

impl Shape {
    /// Bytes of one position's keys and values.
    pub(crate) fn bytes(&self) -> usize {
        let head = match self.kv {
            Kv::F32 => 4 * self.width,
            Kv::Int8 => self.width + 4,
        };
        2 * self.layers * self.heads * head
    }
}
