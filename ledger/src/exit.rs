//! The exit codes of all programs but the tap, which shares no code with them: one table. docs/operations.md says what to do about
//! each, and a test holds the two together.

/// Why a program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Anything that has no code of its own.
    Other = 1,
    /// Its arguments.
    Usage = 2,
    /// No ledger is there.
    NoLedger = 10,
    /// A ledger, or a witness of one, is there already.
    LedgerExists = 11,
    /// The ledger's disk failed.
    Disk = 12,
    /// The ledger is damaged.
    Damaged = 13,
    /// No witness is named, or not as many as the ledger has.
    NoWitness = 14,
    /// A witness is missing or damaged.
    WitnessMissing = 15,
    /// A witness belongs to another ledger.
    WitnessForeign = 16,
    /// A witness has seen more than the ledger holds.
    Behind = 17,
    /// A witness has seen another record of that number.
    Forked = 18,
    /// A witness is older than the ledger.
    WitnessBehind = 19,
    /// The clock since boot went back.
    ClockWentBack = 20,
    /// Too many starts within an hour.
    Restarts = 21,
    /// The total is spent.
    TotalSpent = 22,
    /// One datagram is charged more than a block.
    AboveBlock = 23,
    /// A limit would rise without an order.
    Raise = 24,
    /// An order is not valid.
    Order = 25,
    /// A witness does not hold what it was told last.
    WitnessMoved = 26,
    /// A witness does not answer, or its disk failed.
    WitnessFailed = 27,
    /// Another process has a file open.
    Locked = 30,
    /// A file cannot be used.
    File = 31,
    /// A file is no key.
    Key = 32,
    /// Outer's receipt did not come.
    Silent = 33,
    /// Outer has had more than the total.
    Beyond = 34,
    /// Others can read or change a file that must be its owner's.
    Mode = 35,
    /// The machine does not hold back what a gate must.
    Unprotected = 40,
}

impl Exit {
    /// All of them, in order.
    pub const ALL: [Self; 27] = [
        Self::Other,
        Self::Usage,
        Self::NoLedger,
        Self::LedgerExists,
        Self::Disk,
        Self::Damaged,
        Self::NoWitness,
        Self::WitnessMissing,
        Self::WitnessForeign,
        Self::Behind,
        Self::Forked,
        Self::WitnessBehind,
        Self::ClockWentBack,
        Self::Restarts,
        Self::TotalSpent,
        Self::AboveBlock,
        Self::Raise,
        Self::Order,
        Self::WitnessMoved,
        Self::WitnessFailed,
        Self::Locked,
        Self::File,
        Self::Key,
        Self::Silent,
        Self::Beyond,
        Self::Mode,
        Self::Unprotected,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}
