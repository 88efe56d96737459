//! A ledger as the account of a governor, and the governor on it. SPEC 7.2, 7.6.

use weir_meter::{Account, Charge, Denied, Instant, Lifetime, Purpose, Span};

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::record::Limit;

/// A governor on a ledger, or on none: then the budget begins anew at every start.
pub type Governor = weir_meter::Governor<Option<Ledger>>;

/// What such a governor says of a datagram.
pub type Release = weir_meter::Release<LedgerError>;

/// Why such a governor refuses.
pub type Refused = weir_meter::Refused<LedgerError>;

/// What an operator must hear of such a governor.
pub type Alarm = weir_meter::Alarm<LedgerError>;

impl Account for Ledger {
    type Error = LedgerError;

    fn lifetime(&self) -> Option<Lifetime> {
        let state = self.state();
        Some(Lifetime {
            total: self.total(),
            spent: state.spent,
            repeats: state.repeats,
            handshakes: state.handshakes,
        })
    }

    fn windows(&self) -> impl Iterator<Item = Span> {
        let caps = self.chain().caps.iter();
        caps.filter_map(|cap| match cap.limit {
            Limit::Window(seconds) => Some(Span {
                seconds,
                bits: cap.bits,
            }),
            Limit::Weights | Limit::Total => None,
        })
    }

    /// What was charged between two states counts at the later.
    fn past(&self) -> impl Iterator<Item = Charge> {
        self.chain().past.array_windows().map(|[before, now]| Charge {
            time: Instant::from_micros(now.time),
            bits: now.spent.saturating_sub(before.spent),
            repeats: now.repeats.saturating_sub(before.repeats),
            handshakes: now.handshakes.saturating_sub(before.handshakes),
        })
    }

    fn time(&self, now: Instant) -> Instant {
        Self::time(self, now)
    }

    fn draw(&mut self, now: Instant, bits: u64, purpose: Purpose) -> Result<(), Denied<LedgerError>> {
        Self::draw(self, now, bits, purpose).map_err(|why| match why {
            LedgerError::TotalSpent => Denied::TotalSpent,
            LedgerError::AboveBlock { bits, block } => Denied::AboveBlock { bits, block },
            why => Denied::Broken(why),
        })
    }

    fn draw_reserved(&mut self, bits: u64) -> u64 {
        Self::draw_reserved(self, bits)
    }

    fn prepare(&mut self, now: Instant) -> Result<(), LedgerError> {
        Self::prepare(self, now)
    }

    fn close(self, now: Instant) -> Result<(), LedgerError> {
        Self::close(self, now)
    }

    fn broken(&self) -> Option<LedgerError> {
        Self::broken(self)
    }
}

#[cfg(test)]
mod tests;
