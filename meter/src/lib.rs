//! The upload budget of Weir: what a datagram costs on the physical link, and whether it may leave. SPEC 7.
//!
//! - [`LinkCost`]: bits on the physical link for a datagram of a given length, headers and gaps included;
//! - [`Governor`]: rate, burst and total; shares of both for repeats and handshakes, so that noise on the way in
//!   cannot burn the whole;
//! - [`Permit`]: leave to send one datagram of one length, once. A link that sends only against permits
//!   (`weir_link::Metered`) makes "no byte leaves uncounted" a fact of types.
//!
//! Time is an argument, in microseconds on any monotonic clock. All arithmetic is in integers and checked: what would
//! overflow is refused. The budget lives in memory: it starts afresh with the process.
//!
//! ```
//! use weir_meter::{Governor, Limits, LinkCost, Purpose, Release};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits { rate: 8_000, burst: 16_000, total: 1_000_000, ..Limits::default() };
//! let mut governor = Governor::new(0, LinkCost::UdpIpv4, limits)?;
//! let Release::Go(permit) = governor.release(0, 30, Purpose::Frame) else { panic!("the burst allows it") };
//! // 8 + 14 + 20 + 8 + 30 + 4 + 12 bytes, and 12 bits for length and timing.
//! assert_eq!(permit.bits(), 96 * 8 + 12);
//! assert_eq!(permit.redeem(governor.id(), 30), Ok(()));
//! # Ok(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub use cost::LinkCost;
pub use governor::{Counters, Governor, Limits, LimitsError, Refused, Release, Spent};
pub use permit::{Mismatch, Permit, Purpose};

mod cost;
mod governor;
mod permit;
