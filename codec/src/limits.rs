//! Sizes of a batch that both ends rely on (SPEC 4.8).

/// Slots of a batch are numbered 0..128.
pub const MAX_SLOTS: usize = 128;

/// Most tokens that one slot brings in one frame.
pub const MAX_COUNT: usize = 64;
