//! The gate: a small program on a machine of its own, between inner and outer, that an auditor can read in an hour.
//! DESIGN 6, SPEC 9.1.
//!
//! It has no model, no keys of sessions, and reads no more of a frame than its id and length. What it does:
//!
//! - [`Valve`]: takes frames from inside, holds each against the rules (id in range, ascending, one per batch and tick, length
//!   allowed by the shape), and on its own tick lets out those for which the governor gives a permit. Enough violations
//!   and it cuts: nothing leaves any more until an operator says so;
//! - `host` (feature of that name): links, the loop, control socket, configuration. The rest is `no_std` and without I/O.
//!
//! ```
//! use weir_gate::{Rules, Valve};
//! use weir_meter::{Governor, Instant, Limits, LinkCost};
//! use weir_wire::Parameters;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let rules = Rules::new(Parameters::default());
//! let limits = Limits { side_bits: rules.side_bits(), ..Limits::default() };
//! let mut governor = Governor::new(Instant::ZERO, LinkCost::UdpIpv4, limits)?;
//! let mut valve = Valve::new(rules)?;
//!
//! assert!(valve.offer(&[0, 1, 2, 3, 4, 5]).is_ok());    // batch 0
//! assert!(valve.offer(&[0, 9, 9, 9, 9, 9]).is_err());   // a second frame of batch 0 on one tick
//! let mut out = vec![];
//! valve.tick(Instant::ZERO, &mut governor, |leaving| out.extend(leaving.map(|(_permit, frame)| frame.to_vec())))?;
//! assert_eq!(out, [[0, 1, 2, 3, 4, 5]]);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(not(any(test, feature = "host")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub use rules::{Cut, Dropped, Rules};
pub use valve::{Counters, Valve};

#[cfg(feature = "host")]
mod host;
mod queue;
mod rules;
mod valve;

#[cfg(feature = "host")]
pub use host::{Cable, Cables, Command, Config, ConfigArgs, command, exit_code};
