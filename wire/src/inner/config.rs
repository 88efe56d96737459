//! Inner's settings, and what it tells its application.

use core::time::Duration;

use crate::error::{Dropped, Refusal};
use crate::message::Caps;
use crate::parameters::{Agreement, Parameters};
use crate::settings::Difference;

/// Inner's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InnerConfig {
    /// Numbers that outer must have set alike.
    pub parameters: Parameters,
    /// Hashes that outer must have alike.
    pub agreement: Agreement,
    /// Bounds on messages.
    pub caps: Caps,
    /// After its start inner is deaf for this long: the longest life of a datagram on the link. An opening from
    /// before a restart must not be taken for a new one. SPEC 6.2.
    pub quarantine: Duration,
    /// A frame is not repeated twice within this time.
    pub repeat_guard: Duration,
    /// Least time between control frames.
    pub control_interval: Duration,
}

impl InnerConfig {
    /// Settings with the usual times: 1 s of quarantine, 2 ticks between repeats, 200 ms between control frames.
    pub const fn new(parameters: Parameters, agreement: Agreement) -> Self {
        Self {
            parameters,
            agreement,
            caps: Caps {
                prompt_tokens: crate::message::PROMPT_MAX,
            },
            quarantine: Duration::from_secs(1),
            repeat_guard: Duration::from_micros(2 * parameters.tick as u64),
            control_interval: Duration::from_millis(200),
        }
    }
}

/// News for inner's application; drain them after every `recv`, before any other call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InnerEvent {
    /// A session is open; whatever an earlier one had in its slots is gone.
    Opened {
        /// The new session.
        session: u64,
    },
    /// The session was closed by an error; all slots are gone.
    Closed {
        /// The session that was.
        session: u64,
        /// Whose fault.
        reason: Dropped,
    },
    /// An opening was refused; reported once per session id.
    Refused {
        /// The session that outer asked for.
        session: u64,
        /// Why.
        refusal: Refusal,
        /// What both ends have, if that is why.
        difference: Option<Difference>,
    },
}

/// What a datagram that leaves inner is for: each has its own budget.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Purpose {
    /// A new frame.
    Frame,
    /// A frame that outer asked for again.
    Repeat,
    /// A control frame: answer to an opening, or notice that there is no such session.
    Control,
    /// The constant shape's frame for a tick on which there is nothing to say.
    Idle,
}

/// A datagram of inner's, ready to leave; its bytes are in the caller's buffer.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Which budget it is charged to.
    pub purpose: Purpose,
    /// The batch id at its front.
    pub batch: u16,
}
