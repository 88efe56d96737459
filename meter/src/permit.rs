//! Leave to send one datagram, once. SPEC 7.3.

use thiserror::Error;

/// What a datagram is for; repeats and handshakes have budgets of their own within the whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// A new frame.
    Frame,
    /// A frame that was asked for again.
    Repeat,
    /// Part of opening or refusing a session.
    Handshake,
}

/// Leave to send one datagram of one length. Only a governor makes it, it cannot be copied, and redeeming consumes it.
/// A permit that is dropped stays charged: the budget may count too much, never too little.
#[must_use = "a permit that is not redeemed is charged for nothing"]
#[derive(Debug)]
pub struct Permit {
    pub(crate) governor: u64,
    pub(crate) len: usize,
    pub(crate) bits: u64,
    pub(crate) purpose: Purpose,
}

/// A permit is not for this datagram. It is used up, and nothing may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Mismatch {
    /// The permit is for another length.
    #[error("permit is for {permitted} bytes, the datagram has {len}")]
    Length {
        /// Bytes permitted.
        permitted: usize,
        /// Bytes to be sent.
        len: usize,
    },
    /// The permit is another governor's.
    #[error("permit comes from another governor")]
    Governor,
}

impl Permit {
    /// Uses the permit for a datagram of `len` bytes, under the governor that the sender answers to.
    ///
    /// # Errors
    /// [`Mismatch`]; the permit is used up all the same.
    pub fn redeem(self, governor: u64, len: usize) -> Result<(), Mismatch> {
        if governor != self.governor {
            return Err(Mismatch::Governor);
        }
        if len != self.len {
            return Err(Mismatch::Length {
                permitted: self.len,
                len,
            });
        }
        Ok(())
    }

    /// Length of the datagram in bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True if the permit is for a datagram without bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bits charged for it.
    pub const fn bits(&self) -> u64 {
        self.bits
    }

    /// What the datagram is for.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }
}
