//! The upload budget of Weir: what a datagram costs on the physical link, and whether it may leave. SPEC 7.
//!
//! - [`LinkCost`]: bits on the physical link for a datagram of a given length, headers and gaps included;
//! - [`Governor`]: rate, burst, total and rolling windows; shares of them for repeats and handshakes, so that noise on the
//!   way in cannot burn the whole; alarms;
//! - [`Permit`]: leave to send one datagram of one length, once. A link that sends only against permits
//!   (`weir_link::Metered`) makes "no byte leaves uncounted" a fact of types;
//! - [`ledger`]: the budget on a [`Store`], where neither a crash nor a copy can undo what was charged; [`Echo`] is what
//!   another machine says of it, and [`Receipts`] holds that against one's own count;
//! - [`order`]: what operators must sign before a limit of the ledger rises.
//!
//! Time is an argument, in microseconds on a monotonic clock: with a ledger, since boot. All arithmetic is in integers and
//! checked: what would overflow is refused.
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

extern crate alloc;
#[cfg(test)]
extern crate std;

pub use cost::LinkCost;
pub use echo::{ECHO_LEN, Echo};
pub use exit::Exit;
pub use governor::{
    Alarm, Counters, Governor, Limits, LimitsError, Refused, Release, Span, Spent, Wait, side_bits,
};
pub use permit::{Mismatch, Permit, Purpose};
pub use receipts::{Count, Disagreement, Receipts};
pub use store::{Store, StoreError};

mod cost;
mod echo;
mod exit;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod governor;
pub mod ledger;
pub mod order;
mod permit;
mod receipts;
mod store;
#[cfg(test)]
mod vectors;
mod window;
