//! The ledger of `weir-meter` on a file system.
//!
//! - [`FileStore`]: a [`weir_meter::Store`] of files, with a lock that a second writer meets; [`locked`] gives it or says what is in the way;
//! - [`WitnessAt`]: a witness by its address, a file or a program on another machine;
//! - [`open`] and [`init`]: a ledger and its witnesses by path; [`read`]: a look at one that may be in use;
//! - [`MeterConfig`]: a program's settings, and the governor that they make;
//! - [`moment`]: the time as a ledger needs it.
//!
//! All that decides anything is in `weir-meter`; here are paths, locks and the system's errors.
#![forbid(unsafe_code)]

mod clock;
mod config;
mod files;
mod paths;
mod remote;

pub use clock::moment;
pub use config::{ConfigError, MeterConfig, WindowConfig, exit_code};
pub use files::{Busy, FileStore, archive};
pub use paths::{Error, Paths, init, locked, look, open, read, read_key, read_public};
pub use remote::{WitnessAt, WitnessSocket};
