//! The ledger of Weir's upload budget: what was charged since the weights were made, so that neither a crash nor a copy can undo it.
//! SPEC 7.4-7.8, 9.4.
//!
//! ```text
//!            weir_meter::Governor: may this datagram leave?
//!                 | draws its charge (account)
//!                 v
//!   +- ledger: the one writer ----------------------------------------------------------+
//!   | record    160 bytes, bound to those before      order      what operators signed  |
//!   | replay    bytes -> the state they end in        signature  whether they did       |
//!   | segment   a new file that carries on            start      may a program begin?   |
//!   +----+----------------------------------+------------------------------+------------+
//!        | writes, syncs, puts in place     | tells its head               | holds against
//!        v                                  v                              v
//!     store: a disk                      witness: two slots on a disk   echo, receipts: what outer
//!        ^                               remote_witness: a machine      says that it has received
//!   - - -|- - - - - - - - - - - - - - - - - - -^- - - - - - - - - - - - - - - - - - - - - - - - -
//!     files (feature): FileStore, locks, paths, clocks, witnesses by address, settings
//! ```
//!
//! - [`Ledger`] on a [`Store`]: reserves on the disk before it sends, and tells its [`Witness`]es;
//! - [`Governor`]: the governor of `weir-meter` with a ledger as its account, and the words that it then says;
//! - [`replay`]: a [`Chain`] from bytes, or what is wrong with them; [`compare`]: a chain against what a witness holds;
//! - [`order`]: what operators must sign before a limit of the ledger rises;
//! - [`Echo`]: what another machine says it has received; [`Receipts`] hold that against one's own count;
//! - [`Exit`]: the exit code for each reason that stops a program.
//!
//! Above is the core: `no_std`, no I/O, time and random numbers as arguments. Feature `files` (on by default) is a Linux machine:
//! `FileStore`, a [`Store`] of files with a lock that a second writer meets; `open` and `init`, a ledger and its witnesses by path; `read`, a
//! look at one that may be in use; `WitnessAt`, a witness by its address; `MeterConfig`, a program's settings and the governor that
//! they make; `moment`, the clocks. Feature `orders` (on by default) makes and checks signatures; a program that never obeys an order
//! leaves it out, and refuses all.
//!
//! Budgets are in bits, times are [`Instant`](weir_meter::Instant)s since boot; fields of a [`State`] are what the file has, in
//! microseconds.
//!
//! ```
//! use weir_ledger::{Cap, Genesis, Governor, Limit, Paths, Settings, WitnessAt, init, moment, open};
//! use weir_meter::{Limits, LinkCost, Purpose, Release};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! // The witness should be on another device, or `weir-witness` on another machine.
//! let witnesses = vec![WitnessAt::File(folder.join("witness"))];
//! let paths = Paths { ledger: folder.join("ledger"), witnesses };
//! let genesis = Genesis {
//!     id: [1; 32],
//!     weights: [2; 32],
//!     operators: vec![],
//!     threshold: 0,
//!     caps: vec![Cap { limit: Limit::Total, bits: 1_000_000 }],
//!     spent: 0,
//! };
//! init(&paths, moment()?, None, &genesis)?;
//!
//! let settings = Settings { block: 10_000, ..Settings::default() };
//! let (ledger, now) = (open(&paths, moment()?, settings, &[], None)?, moment()?.since_boot);
//! let mut governor = Governor::with_account(Some(ledger), now, LinkCost::UdpIpv4, Limits::default(), &[])?;
//! let Release::Go(permit) = governor.release(now, 30, Purpose::Frame) else { panic!("the budget allows it") };
//! assert_eq!(permit.bits(), 96 * 8 + 12);
//! drop(governor);
//!
//! // The program has crashed: all that it had reserved may have left, and counts.
//! assert_eq!(open(&paths, moment()?, settings, &[], None)?.state().spent, 10_000);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(not(any(test, feature = "files")), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub use account::{Alarm, Governor, Refused, Release};
pub use echo::{ECHO_LEN, Echo};
pub use error::LedgerError;
pub use exit::Exit;
pub use ledger::{Ledger, Settings};
pub use moment::Moment;
pub use receipts::{Count, Disagreement, Receipts};
pub use record::{CONTENT_LEN, Cap, Entry, Hash, Limit, Malformed, OrderId, RECORD_LEN, Record, State};
pub use remote_witness::{Ask, Carrier, REPLY_LEN, REQUEST_LEN, RemoteWitness, Reply, Request};
pub use replay::{CAPS_MAX, Chain, Corrupt, Flaw, KEYS_MAX, replay};
pub use segment::Genesis;
pub use start::compare;
pub use store::{Store, StoreError};
pub use witness::{Head, Held, SLOT_LEN, SlotWitness, Witness, WitnessError, held};

#[cfg(feature = "files")]
pub use files::{
    Busy, ConfigError, Error, FileStore, MeterConfig, Paths, WindowConfig, WitnessAt, WitnessSocket, archive,
    exit_code, init, locked, look, moment, open, owned, read, read_key, read_public,
};

mod account;
mod echo;
mod error;
mod exit;
#[cfg(feature = "files")]
mod files;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod ledger;
mod moment;
pub mod order;
mod receipts;
mod record;
mod remote_witness;
mod replay;
mod segment;
mod signature;
mod start;
mod store;
#[cfg(test)]
mod vectors;
mod witness;
