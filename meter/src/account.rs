//! What outlives a governor: the seam between a budget's decisions and its memory. SPEC 7.2, 7.6.

use core::convert::Infallible;
use core::error::Error;

use crate::limits::Span;
use crate::permit::Purpose;
use crate::time::Instant;

/// A memory of what was charged since the weights were made. A [`Governor`](crate::Governor) owns one, and a permit is made only when the
/// account has drawn its charge. `weir_ledger::Ledger` is one that neither a crash nor a copy can set back; [`Memory`] forgets.
///
/// Every call that takes a moment takes it on one clock, the governor's.
pub trait Account {
    /// Why nothing may leave any more.
    type Error: Error + Copy + Eq;

    /// What was charged so far and may be charged in all; `None` if nothing is remembered.
    fn lifetime(&self) -> Option<Lifetime>;

    /// Limits on any stretch of time, besides the governor's own.
    fn windows(&self) -> impl Iterator<Item = Span>;

    /// What was charged before, oldest first, each at a moment of [`Account::time`]: as far back as the longest window.
    fn past(&self) -> impl Iterator<Item = Charge>;

    /// The account's own time at `now`: it goes on from start to start, so windows run on it.
    fn time(&self, now: Instant) -> Instant;

    /// Charges `bits` at `now`. When it returns, nothing that happens to the machine undoes that.
    ///
    /// # Errors
    /// Why not; then nothing was charged.
    fn draw(&mut self, now: Instant, bits: u64, purpose: Purpose) -> Result<(), Denied<Self::Error>>;

    /// Charges up to `bits` for what cannot be refused any more, without waiting for a disk: how many bits that is.
    fn draw_reserved(&mut self, bits: u64) -> u64;

    /// Takes the time that a disk needs now, so that `draw` need not.
    ///
    /// # Errors
    /// Nothing may leave any more.
    fn prepare(&mut self, now: Instant) -> Result<(), Self::Error>;

    /// Ends, and gives back what was put aside and not charged.
    ///
    /// # Errors
    /// What was put aside counts as charged.
    fn close(self, now: Instant) -> Result<(), Self::Error>;

    /// Why nothing may leave any more, if so.
    fn broken(&self) -> Option<Self::Error>;
}

/// Bits charged since an account began, and what it may charge in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lifetime {
    /// The most that may ever be charged.
    pub total: u64,
    /// Charged so far, for all purposes.
    pub spent: u64,
    /// Of these, for repeats.
    pub repeats: u64,
    /// Of these, for handshakes.
    pub handshakes: u64,
}

/// Bits that were charged by a moment and after the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Charge {
    /// The moment, on the account's time.
    pub time: Instant,
    /// For all purposes.
    pub bits: u64,
    /// Of these, for repeats.
    pub repeats: u64,
    /// Of these, for handshakes.
    pub handshakes: u64,
}

/// Why an account does not draw a charge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied<E> {
    /// The total would be passed.
    TotalSpent,
    /// The charge alone is more than the account puts aside at a time. Smaller ones may be drawn.
    AboveBlock {
        /// The charge in bits.
        bits: u64,
        /// Bits put aside at a time.
        block: u64,
    },
    /// Nothing may leave any more.
    Broken(E),
}

/// The account of a test or a demo: it forgets, and so limits nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory;

impl Account for Memory {
    type Error = Infallible;

    fn lifetime(&self) -> Option<Lifetime> {
        None
    }

    fn windows(&self) -> impl Iterator<Item = Span> {
        core::iter::empty()
    }

    fn past(&self) -> impl Iterator<Item = Charge> {
        core::iter::empty()
    }

    fn time(&self, now: Instant) -> Instant {
        now
    }

    fn draw(&mut self, _: Instant, _: u64, _: Purpose) -> Result<(), Denied<Infallible>> {
        Ok(())
    }

    fn draw_reserved(&mut self, bits: u64) -> u64 {
        bits
    }

    fn prepare(&mut self, _: Instant) -> Result<(), Infallible> {
        Ok(())
    }

    fn close(self, _: Instant) -> Result<(), Infallible> {
        Ok(())
    }

    fn broken(&self) -> Option<Infallible> {
        None
    }
}

/// A program's account where its settings name one; else the budget is that of [`Memory`].
impl<A: Account> Account for Option<A> {
    type Error = A::Error;

    fn lifetime(&self) -> Option<Lifetime> {
        self.as_ref()?.lifetime()
    }

    fn windows(&self) -> impl Iterator<Item = Span> {
        self.iter().flat_map(A::windows)
    }

    fn past(&self) -> impl Iterator<Item = Charge> {
        self.iter().flat_map(A::past)
    }

    fn time(&self, now: Instant) -> Instant {
        self.as_ref().map_or(now, |account| account.time(now))
    }

    fn draw(&mut self, now: Instant, bits: u64, purpose: Purpose) -> Result<(), Denied<A::Error>> {
        self.as_mut()
            .map_or(Ok(()), |account| account.draw(now, bits, purpose))
    }

    fn draw_reserved(&mut self, bits: u64) -> u64 {
        self.as_mut().map_or(bits, |account| account.draw_reserved(bits))
    }

    fn prepare(&mut self, now: Instant) -> Result<(), A::Error> {
        self.as_mut().map_or(Ok(()), |account| account.prepare(now))
    }

    fn close(self, now: Instant) -> Result<(), A::Error> {
        self.map_or(Ok(()), |account| account.close(now))
    }

    fn broken(&self) -> Option<A::Error> {
        self.as_ref()?.broken()
    }
}
