//! Outer's settings, where it stands, and what it tells its application.

use alloc::vec::Vec;
use core::time::Duration;

use thiserror::Error;

use crate::error::{Closed, Misbehaviour, ParameterError, Refusal};
use crate::held::Held;
use crate::message::Caps;
use crate::parameters::{Agreement, Parameters};

/// Outer's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OuterConfig {
    /// Numbers that inner must have set alike.
    pub parameters: Parameters,
    /// Hashes that inner must have alike.
    pub agreement: Agreement,
    /// Bounds on messages; not above inner's.
    pub caps: Caps,
    /// Longest inward datagram in bytes.
    pub inward_mtu: u16,
    /// First wait before anything is said again.
    pub retry: Duration,
    /// Longest wait before anything is said again; waits double up to it.
    pub retry_cap: Duration,
    /// How long a gap in the frames may be mere reordering before a repeat is asked for.
    pub reorder: Duration,
    /// Silence, while an answer is owed, after which inner is asked whether it still knows the session.
    pub ping_after: Duration,
    /// Silence, while an answer is owed, after which the session is lost.
    pub lost_after: Duration,
    /// At most this many datagrams leave in a `pace_interval`.
    pub pace: u32,
    /// See `pace`.
    pub pace_interval: Duration,
}

impl OuterConfig {
    /// Settings with the usual times, on the scale of the tick.
    pub fn new(parameters: Parameters, agreement: Agreement) -> Self {
        Self {
            parameters,
            agreement,
            caps: Caps::default(),
            inward_mtu: 1472,
            retry: (parameters.tick() * 4).max(Duration::from_millis(100)),
            retry_cap: Duration::from_secs(5),
            reorder: parameters.tick(),
            ping_after: Duration::from_secs(5),
            lost_after: Duration::from_secs(20),
            pace: 32,
            pace_interval: Duration::from_millis(1),
        }
    }

    pub(super) fn validate(&self) -> Result<(), ParameterError> {
        self.parameters.validate()?;
        let in_range = [
            (
                "inward_mtu",
                u64::from(self.inward_mtu),
                256,
                65_507,
                "256 to 65507 bytes",
            ),
            ("pace", u64::from(self.pace), 1, u64::from(u32::MAX), "at least 1"),
            (
                "retry",
                self.retry.as_micros() as u64,
                1,
                u64::MAX,
                "at least 1 microsecond",
            ),
            (
                "pace_interval",
                self.pace_interval.as_micros() as u64,
                1,
                u64::MAX,
                "at least 1 microsecond",
            ),
        ];
        for (name, value, least, most, range) in in_range {
            if value < least || value > most {
                return Err(ParameterError { name, value, range });
            }
        }
        Ok(())
    }
}

/// Where outer stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Not opened yet.
    Idle,
    /// The opening is repeated until inner answers.
    Connecting,
    /// Messages may be submitted.
    Open,
    /// Inner refused; `open` may try again once the cause is mended.
    Refused(Refusal),
    /// The session is gone with all its slots; `open` starts a new one.
    Lost(Lost),
}

/// Why a session was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Lost {
    /// Nothing was heard for `lost_after` though an answer was owed.
    #[error("inner is silent")]
    Silent,
    /// Nothing leaves inner, for now or for good; what is asked now will not be answered.
    #[error("{0}")]
    Held(Held),
    /// Inner closed it, or does not know it (it was restarted).
    #[error("inner closed the session: {0}")]
    Closed(Closed),
    /// Frames of this batch never match their check, byte for byte the same each time: the coders' states differ.
    #[error("the coders' states differ in batch {batch}")]
    Diverged {
        /// The batch.
        batch: u16,
    },
    /// Inner broke the protocol.
    #[error("inner misbehaved: {0}")]
    Misbehaved(Misbehaviour),
    /// A batch has used up all numbers of messages, 2^32 - 1: a new session begins with number 0.
    #[error("all numbers of messages are used up")]
    Exhausted,
    /// The application gave it up, because a frame did not decode.
    #[error("a frame did not decode")]
    Undecodable,
}

/// News for outer's application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OuterEvent {
    /// The session is open.
    Opened,
    /// Inner refused the session and said why.
    Refused(Refusal),
    /// The session is lost with all its slots.
    Lost(Lost),
}

/// A frame whose check is good, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// Its batch.
    pub batch: u16,
    /// Its number in the batch.
    pub number: u64,
    /// Its code without trailing zeros, which are implied.
    pub code: Vec<u8>,
}
