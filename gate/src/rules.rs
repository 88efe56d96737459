//! What the gate checks, and the names of what it refuses. SPEC 9.1.

use thiserror::Error;
use weir_wire::{ParameterError, Parameters, Shape};

/// What the gate holds frames against. All but the parameters is section `[rules]` of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(
    feature = "host",
    derive(serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Rules {
    /// Those of the session: layout, batches, tick, longest frame and shape count here.
    #[cfg_attr(feature = "host", serde(skip))]
    pub parameters: Parameters,
    /// Violations within `strike_ticks` that are borne; one more cuts.
    #[cfg_attr(feature = "host", serde(rename = "strikes"))]
    pub strikes_max: u32,
    /// Length of a stretch of ticks in which violations are counted; at least 1.
    pub strike_ticks: u32,
    /// Pieces in a row that may be absent in the constant shape; one more cuts.
    #[cfg_attr(feature = "host", serde(rename = "absent"))]
    pub absent_max: u32,
    /// Bytes of frames that wait for a tick.
    pub queue_bytes: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(Parameters::default())
    }
}

impl Rules {
    /// Rules with the usual thresholds: 100 violations in 600 ticks, 50 absent pieces in a row, 4 MiB of frames on a tick.
    pub const fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            strikes_max: 100,
            strike_ticks: 600,
            absent_max: 50,
            queue_bytes: 4 << 20,
        }
    }

    /// Bits that a frame can say by its id and length under these rules.
    pub fn side_bits(&self) -> u64 {
        self.parameters.shape.side_bits(&self.parameters)
    }

    /// Every tick has one piece, as long as all others.
    pub fn is_constant(&self) -> bool {
        self.parameters.shape == Shape::CONSTANT
    }

    /// The first value that is out of range.
    pub fn validate(&self) -> Result<(), ParameterError> {
        self.parameters.validate()?;
        let least = [
            ("rules.strike_ticks", self.strike_ticks as usize, 1),
            (
                "rules.queue_bytes",
                self.queue_bytes,
                usize::from(self.parameters.mtu),
            ),
        ];
        for (name, value, least) in least {
            if value < least {
                let (value, range) = (
                    value as u64,
                    "larger: strike_ticks 1, queue_bytes the mtu at least",
                );
                return Err(ParameterError { name, value, range });
            }
        }
        Ok(())
    }
}

/// Why a datagram from inside will not leave. All but the last two are violations: no correct inner does that on a link
/// that keeps order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Dropped {
    /// Shorter than id and check, longer than the mtu, or of a length that the shape does not have.
    #[error("a length that the shape does not have")]
    Length,
    /// Its id is neither of a batch in use nor the control id.
    #[error("a batch id out of range")]
    Range,
    /// Its id is below that of a frame before it on this tick.
    #[error("batch ids that do not ascend")]
    Order,
    /// There is one of its batch on this tick already; in the constant shape, any at all.
    #[error("a second frame on one tick")]
    Second,
    /// No room for more frames on this tick.
    #[error("more bytes on one tick than the queue holds")]
    Full,
    /// The gate is cut.
    #[error("the gate is cut")]
    Cut,
}

impl Dropped {
    /// Whether it counts towards the cut.
    pub const fn is_violation(self) -> bool {
        !matches!(self, Self::Full | Self::Cut)
    }
}

/// Why nothing leaves any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Cut {
    /// Too many violations of the rules.
    #[error("inner broke the rules too often")]
    Violations,
    /// Too many frames on inside's interface that are not the link's.
    #[error("inner sent too much beside the link")]
    Strays,
    /// Too many absent pieces in a row.
    #[error("inner left out too many pieces")]
    Absent,
    /// The budget is spent.
    #[error("the budget is spent")]
    Spent,
    /// Counters that should agree do not.
    #[error("counters disagree")]
    Counters,
    /// The ledger cannot be written.
    #[error("the ledger cannot be written")]
    Ledger,
    /// Packets may pass beside the gate.
    #[error("the machine does not protect the link any more")]
    Machine,
    /// An operator said so.
    #[error("an operator cut it")]
    Operator,
}
