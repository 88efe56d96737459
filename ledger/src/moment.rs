//! The time, as a ledger needs it. SPEC 7.6.

use weir_meter::Instant;

/// What all clocks of a machine show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// The boot's number: another one after each boot.
    pub boot: u64,
    /// Since boot, on a clock that nobody sets.
    pub since_boot: Instant,
    /// Seconds since 1970 on the wall clock, which anybody sets: only orders go by it, and never back.
    pub wall: u64,
}
