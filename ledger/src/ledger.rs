//! The ledger: what was charged since the weights were made, so that neither a crash nor a copy can undo it. SPEC 7.4-7.7.
//!
//! [`Ledger`] is the one writer. It *reserves before it sends*: a record on the disk says "up to here may have been charged" before a
//! permit below that is given, and a crash counts all of it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use weir_meter::{Instant, Purpose};

use crate::error::LedgerError;
use crate::moment::Moment;
use crate::order::{Action, Order, OrderError, SignedOrder};
use crate::record::{Cap, Entry, Limit, NO_ORDER, RECORD_LEN, Record, State};
use crate::replay::{CAPS_MAX, Chain, Corrupt, replay};
use crate::segment::{self, Genesis};
use crate::start::{SECOND, compare, ledger_time, starts_within_an_hour, wall_time};
use crate::store::Store;
use crate::witness::{Head, Held, Witness};

/// What a program decides about the ledger that it opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The key of hashes, if the ledger has one.
    pub key: Option<[u8; 32]>,
    /// Bits that are reserved at a time, and all that a crash can count too much.
    pub block: u64,
    /// Starts within an hour of the ledger's time, at most.
    pub starts_per_hour: u32,
    /// Records of a segment, after which the next one begins.
    pub segment: u64,
}

/// 1 Mbit at a time, 12 starts per hour, segments of 2.5 MiB.
impl Default for Settings {
    fn default() -> Self {
        Self {
            key: None,
            block: 1 << 20,
            starts_per_hour: 12,
            segment: 16_384,
        }
    }
}

/// The one writer of a ledger. Every error but a refused charge or order ends its use: fail closed.
pub struct Ledger {
    store: Box<dyn Store + Send>,
    witnesses: Vec<Box<dyn Witness + Send>>,
    settings: Settings,
    chain: Chain,
    /// What was charged up to now: `chain.state` and what came since.
    live: State,
    /// What each witness was told last; none if an order is about to replace it, as it may hold what is not to be believed.
    told: Vec<Option<Head>>,
    broken: Option<LedgerError>,
    /// What the disk and the witnesses know to be reserved.
    promised: u64,
}

impl Ledger {
    /// Begins a ledger where there is none, and where no witness holds anything at all: neither a head, nor bytes that are none.
    ///
    /// # Errors
    /// [`LedgerError::Exists`], [`LedgerError::NoWitness`]; [`LedgerError::Corrupt`] if `genesis` makes no ledger.
    pub fn init(
        mut store: Box<dyn Store + Send>,
        mut witnesses: Vec<Box<dyn Witness + Send>>,
        moment: Moment,
        key: Option<&[u8; 32]>,
        genesis: &Genesis,
    ) -> Result<Head, LedgerError> {
        if witnesses.is_empty() {
            return Err(LedgerError::NoWitness);
        }
        for (index, witness) in (0..).zip(&mut witnesses) {
            let held = witness.held(&genesis.id);
            if held.map_err(LedgerError::witness(index))? != Held::Absent {
                return Err(LedgerError::Exists);
            }
        }
        if store.read()?.is_some() {
            return Err(LedgerError::Exists);
        }
        let (bytes, chain) = segment::first(key, moment, genesis, number(&witnesses))?;
        store.stage(&bytes)?;
        store.promote(None)?;
        for (index, witness) in (0..).zip(&mut witnesses) {
            witness.begin(&chain.at()).map_err(LedgerError::witness(index))?;
        }
        Ok(chain.at())
    }

    /// Reads, compares with the witnesses and with what other counters say was sent (`counts`, bits), applies an order
    /// if one is given, and begins to write.
    ///
    /// # Errors
    /// Any reason not to trust the ledger; and nothing is written, unless the order was good.
    pub fn open(
        mut store: Box<dyn Store + Send>,
        mut witnesses: Vec<Box<dyn Witness + Send>>,
        moment: Moment,
        settings: Settings,
        counts: &[u64],
        order: Option<&SignedOrder>,
    ) -> Result<Self, LedgerError> {
        let bytes = store.read()?.ok_or(LedgerError::Missing)?;
        let chain = replay(&bytes, settings.key.as_ref())?;
        if witnesses.is_empty() {
            return Err(LedgerError::NoWitness);
        }
        let time = ledger_time(&chain.state, moment)?;
        let wall = wall_time(&chain.state, time, moment);
        if let Some(order) = order {
            order.verify(&chain, wall)?;
            if let Action::Witness(index) = order.order.action
                && usize::from(index) >= witnesses.len()
            {
                return Err(OrderError::Subject.into());
            }
        }
        let named = number(&witnesses);
        expect(&chain, named, order)?;
        let mut highest = counts.iter().copied().max().unwrap_or(0);
        let mut told = Vec::with_capacity(witnesses.len());
        for (index, witness) in (0..).zip(&mut witnesses) {
            let held = witness.held(&chain.id).map_err(LedgerError::witness(index))?;
            let is_replaced = order.is_some_and(|order| order.order.action == Action::Witness(index));
            match compare(&chain, index, held) {
                Err(why) if !is_replaced => return Err(why),
                _ => {}
            }
            let head = held.head().filter(|head| head.id == chain.id);
            highest = head.map_or(highest, |head| highest.max(head.count));
            told.push(head.filter(|_| !is_replaced));
        }
        let starts = starts_within_an_hour(&chain, time);
        if starts >= settings.starts_per_hour {
            return Err(LedgerError::Restarts { starts });
        }
        // What was reserved and not given back may have been sent.
        let count = chain.state.reserved.max(highest);
        let live = State {
            time,
            boot_micros: moment.since_boot.micros(),
            wall,
            boot: moment.boot,
            spent: count,
            reserved: count,
            ..chain.state
        };
        let mut ledger = Self {
            store,
            witnesses,
            settings,
            chain,
            live,
            told,
            broken: None,
            promised: 0,
        };
        // Those that missed the last write get it before the next one.
        ledger.tell()?;
        if let Some(order) = order {
            ledger.obey(&order.order)?;
        }
        ledger.live.starts = ledger.live.starts.saturating_add(1);
        // Those that are named, where no record says how many there are.
        let witnesses = match ledger.chain.witnesses {
            0 => named,
            number => number,
        };
        ledger.append(Entry::Open { witnesses })?;
        Ok(ledger)
    }

    /// Charges `bits` at `now`, since boot; when it returns, no crash can undo that. Most calls touch no disk.
    ///
    /// # Errors
    /// [`LedgerError::TotalSpent`], [`LedgerError::AboveBlock`]: not charged. Others: nothing may be sent any more, but for
    /// handshakes that fit what is reserved already.
    pub fn draw(&mut self, now: Instant, bits: u64, purpose: Purpose) -> Result<(), LedgerError> {
        if let Some(why) = self.broken {
            // What the disk and the witnesses know to be reserved still counts, whatever happens: it may say why nothing leaves.
            let fits = self
                .live
                .spent
                .checked_add(bits)
                .is_some_and(|spent| spent <= self.promised);
            if purpose != Purpose::Handshake || !fits {
                return Err(why);
            }
        }
        let total = self.total();
        let spent = self.live.spent.checked_add(bits).filter(|&spent| spent <= total);
        let spent = spent.ok_or(LedgerError::TotalSpent)?;
        if spent > self.live.reserved {
            self.reserve(now, bits)?;
        }
        self.live.spent = spent;
        match purpose {
            Purpose::Frame => {}
            Purpose::Repeat => self.live.repeats += bits,
            Purpose::Handshake => self.live.handshakes += bits,
        }
        self.live.datagrams += 1;
        Ok(())
    }

    /// Charges what was told without a datagram, as far as it is reserved already: how many bits that is. It takes no disk.
    pub fn draw_reserved(&mut self, bits: u64) -> u64 {
        let bits = bits.min(self.live.reserved.saturating_sub(self.live.spent));
        self.live.spent += bits;
        bits
    }

    /// Reserves anew once less than half a block is left, so that `draw` hardly ever has to: for programs that must not wait
    /// for the disk when they send.
    ///
    /// # Errors
    /// The disk's; then nothing may be sent any more.
    pub fn prepare(&mut self, now: Instant) -> Result<(), LedgerError> {
        let left = self.live.reserved.saturating_sub(self.live.spent);
        if self.broken.is_some() || left >= self.settings.block / 2 || self.live.reserved >= self.total() {
            return self.broken.map_or(Ok(()), Err);
        }
        self.reserve(now, 0)
    }

    /// Gives back what is reserved and was not charged, and ends.
    ///
    /// # Errors
    /// The disk's; then the next start counts what was reserved.
    pub fn close(mut self, now: Instant) -> Result<(), LedgerError> {
        self.live.reserved = self.live.spent;
        self.advance(now);
        self.append(Entry::Close)
    }

    /// Lowers a limit, or adds one. From now on that is the limit.
    ///
    /// # Errors
    /// [`LedgerError::Cap`] if that would raise it, and nothing changes.
    pub fn lower(&mut self, now: Instant, cap: Cap) -> Result<(), LedgerError> {
        let known = self.chain.cap(cap.limit);
        if cap.limit == Limit::Weights
            || known.is_some_and(|known| cap.bits > known)
            || (known.is_none() && self.chain.caps.len() >= CAPS_MAX)
        {
            return Err(LedgerError::Cap);
        }
        self.advance(now);
        self.append(Entry::Cap { cap, order: NO_ORDER })
    }

    /// Begins a new segment with what the next programs need of this one; the old one is kept beside it.
    ///
    /// # Errors
    /// The disk's.
    pub fn rotate(&mut self, now: Instant) -> Result<(), LedgerError> {
        if let Some(why) = self.broken {
            return Err(why);
        }
        self.advance(now);
        let result = self.replace_segment();
        self.remember(result)
    }

    /// Where it ends.
    pub const fn head(&self) -> Head {
        self.chain.at()
    }

    /// What is on the disk.
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What was charged up to now.
    pub const fn state(&self) -> &State {
        &self.live
    }

    /// The total.
    pub fn total(&self) -> u64 {
        // A chain without a total is no chain: replay refuses it.
        self.chain.cap(Limit::Total).unwrap_or(0)
    }

    /// Why it lets nothing out any more.
    pub const fn broken(&self) -> Option<LedgerError> {
        self.broken
    }

    /// The ledger's time at `now` since boot: microseconds since the ledger began, as [`State::time`] has them.
    pub const fn time(&self, now: Instant) -> Instant {
        let passed = now.micros().saturating_sub(self.live.boot_micros);
        Instant::from_micros(self.live.time.saturating_add(passed))
    }

    fn reserve(&mut self, now: Instant, bits: u64) -> Result<(), LedgerError> {
        if bits > self.settings.block {
            return Err(LedgerError::AboveBlock {
                bits,
                block: self.settings.block,
            });
        }
        if self.chain.records.len() as u64 >= self.settings.segment {
            self.rotate(now)?;
        }
        // A block above what was charged, not above what was reserved: a crash counts one block too much at most.
        let block = self.live.spent.saturating_add(self.settings.block);
        self.live.reserved = block.min(self.total()).max(self.live.reserved);
        self.advance(now);
        self.append(Entry::Reserve)
    }

    fn obey(&mut self, order: &Order) -> Result<(), LedgerError> {
        let id = order.id();
        self.live.order = order.number;
        self.append(match order.action {
            Action::Cap(cap) => Entry::Cap { cap, order: id },
            Action::Witness(index) => Entry::Witness { index, order: id },
        })?;
        // Only when the ledger holds the highest count may a witness forget it.
        let head = self.chain.at();
        if let Action::Witness(index) = order.action
            && let Some(witness) = self.witnesses.get_mut(usize::from(index))
            && let Some(told) = self.told.get_mut(usize::from(index))
        {
            witness.begin(&head).map_err(LedgerError::witness(index))?;
            *told = Some(head);
        }
        Ok(())
    }

    fn advance(&mut self, now: Instant) {
        let time = self.time(now).micros();
        // Whole seconds of the ledger's time, so that the parts of all steps add up.
        self.live.wall = self
            .live
            .wall
            .saturating_add(time / SECOND - self.live.time / SECOND);
        self.live.time = time;
        self.live.boot_micros = self.live.boot_micros.max(now.micros());
    }

    /// Writes a record of the state as it is now; then the witnesses hear of it.
    fn append(&mut self, entry: Entry) -> Result<(), LedgerError> {
        if let Some(why) = self.broken {
            return Err(why);
        }
        let result = self.write(entry);
        self.remember(result)
    }

    fn write(&mut self, entry: Entry) -> Result<(), LedgerError> {
        let record = Record {
            entry,
            seq: self.chain.seq + 1,
            state: self.live,
        };
        let at = (self.chain.records.len() * RECORD_LEN) as u64;
        let before = self.chain.head;
        let (bytes, hash) = record.seal(self.settings.key.as_ref(), &before);
        // By the reader's own rules, so that nothing is ever written that would be refused.
        self.chain.take(&record, before, hash).map_err(|flaw| Corrupt {
            record: at / RECORD_LEN as u64,
            flaw,
        })?;
        self.chain.torn = 0;
        self.store.write(at, &bytes)?;
        self.store.sync()?;
        self.tell()?;
        self.promised = self.live.reserved;
        Ok(())
    }

    fn replace_segment(&mut self) -> Result<(), LedgerError> {
        let (bytes, chain) = segment::next(self.settings.key.as_ref(), &self.chain, self.live)?;
        self.store.stage(&bytes)?;
        self.store.promote(Some(self.chain.seq))?;
        self.chain = chain;
        self.tell()
    }

    /// Every witness goes from what it was told last to the head as it is now, or nothing is sent any more. SPEC 7.5.
    fn tell(&mut self) -> Result<(), LedgerError> {
        let head = self.chain.at();
        for ((index, witness), told) in (0..).zip(&mut self.witnesses).zip(&mut self.told) {
            if let Some(from) = told.filter(|from| *from != head) {
                witness
                    .advance(&from, &head)
                    .map_err(LedgerError::witness(index))?;
                *told = Some(head);
            }
        }
        Ok(())
    }

    /// The first error sticks.
    fn remember(&mut self, result: Result<(), LedgerError>) -> Result<(), LedgerError> {
        self.broken = self.broken.or_else(|| result.err());
        result
    }
}

fn number(witnesses: &[Box<dyn Witness + Send>]) -> u16 {
    u16::try_from(witnesses.len()).unwrap_or(u16::MAX)
}

/// All witnesses must be named, and no others: one that is left out could be put back, or never be asked again. An order for a place
/// brings one more, if that place is the next; or does without those behind it, which may be lost as well, and which the next start
/// demands. SPEC 7.5.
fn expect(chain: &Chain, named: u16, order: Option<&SignedOrder>) -> Result<(), LedgerError> {
    let number = chain.witnesses;
    let place = order.and_then(|order| match order.order.action {
        Action::Witness(place) => Some(place),
        Action::Cap(_) => None,
    });
    let is_good = match place {
        _ if number == 0 => true,
        Some(place) if place == number => named.checked_sub(1) == Some(number),
        Some(place) => (place..number).contains(&named.saturating_sub(1)),
        None => named == number,
    };
    if is_good {
        Ok(())
    } else {
        Err(LedgerError::Witnesses { named, number })
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Ledger");
        out.field("head", &self.head()).field("live", &self.live);
        out.field("broken", &self.broken).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
