//! What a gate is made of, and what it has seen and said.

use std::hash::RandomState;
use std::time::Duration;

use weir_ledger::{Count, Disagreement, Governor, Receipts};
use weir_link::{Metered, Socket};
use weir_meter::Instant;

use super::alarm::Log;
use super::protect::Machine;
use super::traffic::Traffic;
use crate::{Counters, Cut, Valve};

/// Everything that the loop turns around.
pub(super) struct Gate {
    pub(super) inside: Socket,
    /// What came in on its interface, and whether the socket has been empty since that was last looked at.
    pub(super) traffic: Option<Traffic>,
    pub(super) is_empty: bool,
    pub(super) outside: Metered<Socket>,
    pub(super) governor: Governor,
    pub(super) valve: Valve,
    pub(super) receipts: Option<Receipts>,
    /// What the last receipt that was wrong said.
    pub(super) differs: Option<Disagreement>,
    /// Time without a receipt that is borne, and when the last one came.
    pub(super) silence: Option<Duration>,
    pub(super) heard: Instant,
    /// Length of a tick in microseconds.
    pub(super) tick: u64,
    /// Beginning of the next tick, in microseconds since boot: a multiple of its length.
    pub(super) due: u64,
    /// Whether inner has been told of it.
    pub(super) told: bool,
    pub(super) machine: Machine,
    /// The last tick that was late.
    pub(super) late: u64,
    pub(super) host: Host,
    /// What has been reported.
    pub(super) reported: Reported,
    /// What inner is told.
    pub(super) word: Vec<u8>,
    /// A keyed hash: of a tick, its lot.
    pub(super) lot: RandomState,
}

/// What the host saw, beside the valve's and the governor's counters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Host {
    pub(super) inward: u64,
    pub(super) inward_bytes: u64,
    /// Datagrams from outside that are not for inner.
    pub(super) inward_dropped: u64,
    /// Datagrams with a permit, and their bits on the line.
    pub(super) left: Count,
    /// Datagrams with a permit that the system did not take.
    pub(super) lost: u64,
    /// Ticks that began late by more than a millisecond.
    pub(super) late: u64,
    /// Ticks that did not happen at all.
    pub(super) missed: u64,
    /// The latest beginning of a tick, in nanoseconds.
    pub(super) latest: u64,
}

/// What has been said.
#[derive(Debug, Default)]
pub(super) struct Reported {
    pub(super) counters: Counters,
    pub(super) host: Host,
    pub(super) cut: Option<Cut>,
    /// The tick since which nothing is cut.
    pub(super) open: u64,
    pub(super) log: Log,
}
