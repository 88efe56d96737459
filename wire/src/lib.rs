//! The wire of Weir: frames that leave, datagrams that come in, and the sessions that make both reliable.
//! Sans-IO, `no_std` + alloc; SPEC.md chapters 5 and 6.
//!
//! From the bytes up:
//!
//! - [`frame`]: `batch id | check | code`, the only thing that leaves inner, besides [`control`] frames;
//! - [`Shape`]: how long a frame is made, so that its length says little;
//! - [`inward`]: what outer sends in, where bytes are free: openings, acknowledgements, repeat requests, and pieces
//!   of [`message`]s;
//! - [`inner`] and [`outer`]: the two halves of a session. Time is an argument, buffers are the caller's;
//! - `sim` (feature `testing`): a pair of sessions over a faulty link with a virtual clock.
//!
//! # Panics
//!
//! Received bytes never cause a panic: a view is made by `new_checked`, after which no accessor panics, and `parse`
//! judges everything else. `emit` appends to a `Vec` and cannot fail, given a message that passed `check`.
//!
//! # Example
//!
//! ```
//! use weir_wire::{Agreement, InnerConfig, InnerSession, Instant, Message, OuterConfig, OuterSession, Parameters};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let parameters = Parameters::default();
//! let agreement = Agreement { model: [1; 32], tokenizer: [2; 32], codec: [3; 32], service: [0; 32] };
//! let mut inner = InnerSession::new(Instant::ZERO, InnerConfig::new(parameters, agreement))?;
//! let mut outer = OuterSession::new(OuterConfig::new(parameters, agreement))?;
//! let mut now = Instant::from_micros(2_000_000); // past inner's quarantine
//! let mut datagram = Vec::new();
//!
//! // The opening goes in, the answer leaves on the next tick.
//! outer.open(now, 0x5eed);
//! assert!(outer.poll_transmit(now, &mut datagram));
//! inner.recv(now, &datagram)?;
//! now = inner.poll_at().ok_or("the answer waits")?;
//! assert!(inner.poll_transmit(now, &mut datagram).is_some());
//! outer.recv(now, &datagram)?;
//!
//! // A message goes in, a frame says that it was taken in.
//! outer.submit(now, 0, &Message::Cancel { slot: 7 })?;
//! assert!(outer.poll_transmit(now, &mut datagram));
//! inner.recv(now, &datagram)?;
//! assert_eq!(inner.take_in(0), Some(Message::Cancel { slot: 7 }));
//! inner.submit(now, 0, b"code that says: 1 taken in", 0xd1)?;
//! now = inner.poll_at().ok_or("the frame waits")?;
//! assert!(inner.poll_transmit(now, &mut datagram).is_some());
//! outer.recv(now, &datagram)?;
//! let frame = outer.poll_frame().ok_or("the frame is here")?;
//! assert_eq!((frame.batch, frame.number), (0, 0));
//! outer.accept(now, 0, 1, 0xd1, false)?;
//! # Ok(())
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub use assembly::{BUFFERED_BYTES_MAX, OUTSTANDING_MAX};
pub use error::{Closed, Counters, Dropped, Malformed, Misbehaviour, Misuse, ParameterError, Refusal};
pub use held::{Budget, Held};
pub use inner::{InnerConfig, InnerEvent, InnerSession, Purpose, Transmit};
pub use message::{Caps, Message, Query, Role, Source, Turn};
pub use outer::{Lost, OuterConfig, OuterEvent, OuterSession, Received, State};
pub use parameters::{Agreement, CheckWidth, Format, IdWidth, Parameters, VERSION};
pub use settings::{Difference, Service, Value};
pub use shape::Shape;
pub use time::Instant;

mod assembly;
pub mod control;
mod cursor;
mod error;
pub mod frame;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod held;
pub mod inner;
pub mod inward;
pub mod message;
pub mod outer;
mod parameters;
mod settings;
mod shape;
#[cfg(any(test, feature = "testing"))]
pub mod sim;
mod time;
#[cfg(test)]
mod vectors;
