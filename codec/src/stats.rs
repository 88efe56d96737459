//! Code lengths, for reports only: nothing here reaches the code.

/// What one slot put into one frame.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct SlotStats {
    /// The slot.
    pub slot: u8,
    /// Tokens coded, end tokens included.
    pub tokens: u32,
    /// Bits of the tokens under the winner prediction.
    pub coded_bits: f64,
    /// Bits of the same tokens under the weak model alone at temperature 1.
    pub plain_bits: f64,
}

impl SlotStats {
    pub(crate) fn add(&mut self, coded_bits: f64, plain_bits: f64) {
        self.tokens += 1;
        self.coded_bits += coded_bits;
        self.plain_bits += plain_bits;
    }
}

/// What one frame cost.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FrameStats {
    /// Tokens coded in all slots.
    pub tokens: u32,
    /// Bits of all tokens under the winner prediction.
    pub coded_bits: f64,
    /// Bits of all tokens under the weak model alone.
    pub plain_bits: f64,
    /// Bits of the symbols that are not tokens: taken in, counts, cuts.
    pub framing_bits: f64,
    /// Bytes of the sealed code, as written.
    pub bytes: usize,
    /// One entry for each slot that was live, ascending.
    pub slots: Vec<SlotStats>,
}

impl FrameStats {
    pub(crate) fn push(&mut self, slot: SlotStats) {
        self.tokens += slot.tokens;
        self.coded_bits += slot.coded_bits;
        self.plain_bits += slot.plain_bits;
        self.slots.push(slot);
    }
}

/// Bits of a symbol of `width` out of 2^32.
pub(crate) fn bits(width: u32) -> f64 {
    32.0 - f64::from(width).log2()
}
