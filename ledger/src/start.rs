//! Whether a program may begin: what the witnesses, the clocks and earlier starts say. SPEC 7.5, 7.6.

use crate::error::LedgerError;
use crate::moment::Moment;
use crate::record::State;
use crate::replay::Chain;
use crate::witness::Held;

/// Whether a witness has seen what the ledger holds. It may lack the last write, which crashed before it could be told;
/// nothing was permitted on its strength. SPEC 7.5.
///
/// # Errors
/// How they differ.
pub fn compare(chain: &Chain, index: u16, held: Held) -> Result<(), LedgerError> {
    let head = held.head().ok_or(LedgerError::WitnessMissing { index })?;
    let (is_torn, held, seq) = (held, head.seq, chain.seq);
    if head.id != chain.id {
        return Err(LedgerError::WitnessForeign { index });
    }
    if held > seq {
        return Err(LedgerError::Behind { index, held, seq });
    }
    // A write that a crash tore was of a record that the ledger has. Where it has none, a later head was wiped.
    if held == seq && matches!(is_torn, Held::Torn(_)) {
        return Err(LedgerError::WitnessMissing { index });
    }
    let behind = LedgerError::WitnessBehind { index, held, seq };
    // Records that came after it; 0 if it has the last one.
    let later = usize::try_from(seq - held).map_err(|_| behind)?;
    let known = chain.records.len().checked_sub(later).ok_or(behind)?;
    let hash = match known.checked_sub(1) {
        Some(last) => chain.records[last].0,
        None => chain.older,
    };
    if hash != head.hash {
        return Err(LedgerError::Forked { index, held });
    }
    let writes = chain.records[known..].iter();
    let writes = writes.filter(|(_, entry)| !entry.is_carried()).count();
    if writes > 1 { Err(behind) } else { Ok(()) }
}

/// The ledger's time at a start: only what has passed for certain. SPEC 7.6.
pub(crate) fn ledger_time(last: &State, moment: Moment) -> Result<u64, LedgerError> {
    let now = moment.since_boot.micros();
    let passed = if moment.boot == last.boot {
        let last = last.boot_micros;
        now.checked_sub(last)
            .ok_or(LedgerError::ClockWentBack { now, last })?
    } else {
        // Of the time between two boots only the wall clock speaks, which anybody sets.
        now
    };
    Ok(last.time.saturating_add(passed))
}

/// The wall clock's time at a start, `time` being the ledger's: never before what it must be by the last record.
pub(crate) fn wall_time(last: &State, time: u64, moment: Moment) -> u64 {
    let passed = time / SECOND - last.time / SECOND;
    moment.wall.max(last.wall.saturating_add(passed))
}

/// Starts in the last hour of the ledger's time, or a little more than that.
pub(crate) fn starts_within_an_hour(chain: &Chain, time: u64) -> u32 {
    let before = chain.before(time, 3_600_000_000);
    chain.state.starts - before.map_or(0, |state| state.starts)
}

/// Microseconds.
pub(crate) const SECOND: u64 = 1_000_000;
