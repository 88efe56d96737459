//! The ledger on a file system: paths, locks, keys and orders as files, clocks, witnesses by address, settings. Linux.
//!
//! Nothing here decides anything about the budget; that is the crate's core.

mod address;
mod clock;
mod config;
mod error;
mod keys;
mod paths;
mod store;

pub use address::{WitnessAt, WitnessSocket};
pub use clock::moment;
pub use config::{ConfigError, MeterConfig, WindowConfig, exit_code};
pub use error::Error;
pub use keys::{read_key, read_public};
pub use paths::{Paths, init, look, open, read};
pub use store::{Busy, FileStore, archive, locked, owned};
