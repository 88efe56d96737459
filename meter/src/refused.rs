//! What stands in the way of a datagram. SPEC 7.2.

use core::convert::Infallible;
use thiserror::Error;

/// The limit in the way. `E` is the error of the governor's [`Account`](crate::Account).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Refused<E = Infallible> {
    /// Longer than the link carries in one piece.
    #[error("{len} bytes are more than the link carries in one piece")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Its charge is more than the burst: it could never leave.
    #[error("its charge of {bits} bits is above the burst limit of {burst}")]
    AboveBurst {
        /// Its charge.
        bits: u64,
        /// The limit.
        burst: u64,
    },
    /// The total is spent: hard limit.
    #[error("the total budget is spent")]
    TotalSpent,
    /// The share of repeats in the total is spent.
    #[error("the repeats' share of the total budget is spent")]
    RepeatsSpent,
    /// The share of handshakes in the total is spent.
    #[error("the handshakes' share of the total budget is spent")]
    HandshakesSpent,
    /// Repeats come faster than their share of the rate; this one is dropped, and may be asked for again.
    #[error("repeats come faster than their share of the rate")]
    RepeatRate,
    /// Handshakes come faster than their share of the rate.
    #[error("handshakes come faster than their share of the rate")]
    HandshakeRate,
    /// Its charge is more than a window ever lets out.
    #[error("its charge of {bits} bits is above the limit of {cap} in {seconds} s")]
    AboveWindow {
        /// Its charge.
        bits: u64,
        /// The window's length.
        seconds: u32,
        /// Its limit.
        cap: u64,
    },
    /// Repeats, or everything, has used a window up; this one is dropped, and may be asked for again.
    #[error("the window of {seconds} s is used up")]
    WindowSpent {
        /// The window's length.
        seconds: u32,
    },
    /// Handshakes have used their hour up.
    #[error("the hour's budget of handshakes is spent")]
    HandshakeHour,
    /// Its charge is more than the ledger reserves at a time: it could never leave.
    #[error("ledger: a charge of {bits} bits is above the ledger's block of {block}")]
    AboveBlock {
        /// Its charge.
        bits: u64,
        /// Bits that are reserved at a time.
        block: u64,
    },
    /// The ledger lets nothing out.
    #[error("ledger: {0}")]
    Ledger(E),
}

impl<E> Refused<E> {
    /// Whether the same datagram would be refused at any later time, too.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::TooLong { .. }
            | Self::AboveBurst { .. }
            | Self::TotalSpent
            | Self::RepeatsSpent
            | Self::HandshakesSpent
            | Self::AboveWindow { .. }
            | Self::AboveBlock { .. }
            | Self::Ledger(_) => true,
            Self::RepeatRate | Self::HandshakeRate | Self::WindowSpent { .. } | Self::HandshakeHour => false,
        }
    }

    /// Whether nothing at all will leave any more.
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::TotalSpent | Self::Ledger(_))
    }
}
