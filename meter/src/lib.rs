//! The upload budget of Weir: what a datagram costs on the physical link, and whether it may leave. SPEC 7.1-7.3.
//!
//! ```text
//!   a datagram of so many bytes, at a moment (time), for a purpose (permit)
//!        |
//!        v
//!   +- governor ------------------------------------------------------------+
//!   | cost      bits on the link, headers and gaps included                 |
//!   | limits    rate, burst, total, shares; bits for length and moment      |
//!   | bucket    rate and burst          spans, window   bits in any hour .. |
//!   | refused   the limit in the way    alarm   what an operator must hear  |
//!   +----+-----------------------------------------------+------------------+
//!        | draws its charge                              |
//!        v                                               v
//!     account: what is remembered over a restart      permit: leave for this one datagram, once
//!     (the crate weir-ledger has one)                 (weir_link::Metered sends against nothing else)
//! ```
//!
//! - [`LinkCost`]: bits on the physical link for a datagram of a given length, headers and gaps included;
//! - [`Governor`]: rate, burst, total and rolling windows; shares of them for repeats and handshakes, so that noise on the
//!   way in cannot burn the whole; alarms;
//! - [`Permit`]: leave to send one datagram of one length, once. A link that sends only against permits
//!   (`weir_link::Metered`) makes "no byte leaves uncounted" a fact of types;
//! - [`Account`]: what a governor needs of a ledger. A permit is made when the account has drawn its charge, and not before. An
//!   embedder whose budget lives elsewhere writes one; [`Memory`] is that of a demo.
//!
//! Time is an argument, an [`Instant`] on one monotonic clock. Sizes are in bytes, budgets in bits. All arithmetic is in integers and
//! checked: what would overflow is refused. The crate needs `alloc`, reads no clock and no environment, and holds no global but a
//! counter that numbers governors.
//!
//! ```
//! use weir_meter::{Governor, Instant, Limits, LinkCost, Purpose, Release};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits { rate: 8_000, burst: 1_600, total: 1_000_000, ..Limits::default() };
//! let mut governor = Governor::new(Instant::ZERO, LinkCost::UdpIpv4, limits)?;
//! let Release::Go(permit) = governor.release(Instant::ZERO, 30, Purpose::Frame) else { panic!("the burst allows it") };
//! // 8 + 14 + 20 + 8 + 30 + 4 + 12 bytes, and 12 bits for length and timing.
//! assert_eq!(permit.bits(), 96 * 8 + 12);
//! assert_eq!(permit.redeem(governor.id(), 30), Ok(()));
//!
//! // 820 bits of the burst are left, and a longer one has to wait for 240 more: 30 ms.
//! let Release::At(until) = governor.release(Instant::ZERO, 65, Purpose::Frame) else { panic!("it has to wait") };
//! assert_eq!(until, Instant::from_micros(30_000));
//! # Ok(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub use account::{Account, Charge, Denied, Lifetime, Memory};
pub use alarm::Alarm;
pub use cost::LinkCost;
pub use governor::{Counters, Governor, Release, Spent, Wait};
pub use limits::{Limits, LimitsError, Span, side_bits};
pub use permit::{Mismatch, Permit, Purpose};
pub use refused::Refused;
pub use time::Instant;

mod account;
mod alarm;
mod bucket;
mod cost;
mod governor;
mod limits;
mod permit;
mod refused;
mod spans;
mod time;
mod window;
