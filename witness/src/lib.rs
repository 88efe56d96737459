//! A witness of ledgers: a small program on a machine of its own, which holds the head of each and lets it go only forward. SPEC 7.8.
//!
//! - [`Heads`]: what it holds and what it answers, without I/O;
//! - [`Log`]: the file behind it, which only grows, each head synced before the answer.
//!
//! A ledger that is set back, copied or written twice asks to go on from a head that the witness no longer holds: it is refused, and
//! its writer lets nothing out any more.
#![forbid(unsafe_code)]

pub use heads::{Answer, Heads};
pub use log::Log;

mod heads;
mod log;
