//! Frames in, ticks, frames out: everything that the gate decides. Without I/O; time is an argument. SPEC 9.1.

use alloc::vec;
use alloc::vec::Vec;

use weir_meter::{Account, Governor, Instant, Permit, Purpose, Refused, Release};
use weir_wire::ParameterError;
use weir_wire::frame::Frame;

use crate::queue::Queue;
use crate::rules::{Cut, Dropped, Rules};

/// The gate's state between two ticks.
#[derive(Debug)]
pub struct Valve {
    rules: Rules,
    queue: Queue,
    /// Id of the last frame in the queue: the next one's must be above it.
    last: Option<u16>,
    /// Of the frames in the queue, in their order, while a tick begins; never grows beyond its first capacity.
    permits: Vec<Option<Permit>>,
    /// What takes the place of an absent piece.
    zeros: Vec<u8>,
    /// Violations of the present slice of a stretch of ticks, and of those before it, the latest first.
    strikes: [u64; SLICES + 1],
    /// Pieces absent in a row.
    absent: u32,
    cut: Option<Cut>,
    counters: Counters,
}

/// What came from inside, by fate; what left is in the governor's counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Ticks so far.
    pub ticks: u64,
    /// Datagrams from inside.
    pub offered: u64,
    /// Frames that came in on inside's interface beside them.
    pub strays: u64,
    /// See [`Dropped::Length`].
    pub length: u64,
    /// See [`Dropped::Range`].
    pub range: u64,
    /// See [`Dropped::Order`].
    pub order: u64,
    /// See [`Dropped::Second`].
    pub second: u64,
    /// See [`Dropped::Full`].
    pub full: u64,
    /// Frames that came while the gate was cut, or waited when it was.
    pub cut: u64,
    /// Good frames that the rate or a share of it did not allow on their tick.
    pub rate: u64,
    /// Good frames that the budget will never allow.
    pub refused: u64,
    /// Frames handed on with a permit.
    pub released: u64,
    /// Of these, zeros in the place of absent pieces.
    pub absent: u64,
}

impl Counters {
    /// Datagrams from inside that broke a rule.
    pub const fn violations(&self) -> u64 {
        self.length + self.range + self.order + self.second
    }
}

impl Valve {
    /// An open gate with nothing in it. Takes all the memory that it will ever use.
    ///
    /// # Errors
    /// A rule out of range.
    pub fn new(rules: Rules) -> Result<Self, ParameterError> {
        rules.validate()?;
        let frames = if rules.is_constant() {
            1
        } else {
            usize::from(rules.parameters.batches) + 1
        };
        let mtu = usize::from(rules.parameters.mtu);
        Ok(Self {
            queue: Queue::new(frames, rules.queue_bytes.min(frames * mtu)),
            last: None,
            permits: Vec::with_capacity(frames),
            zeros: vec![0; mtu],
            strikes: [0; SLICES + 1],
            absent: 0,
            cut: None,
            counters: Counters::default(),
            rules,
        })
    }

    /// Takes a datagram from inside; if it is as it must be it waits for the next tick.
    ///
    /// # Errors
    /// What is wrong with it; it is counted, and the caller need not act.
    pub fn offer(&mut self, datagram: &[u8]) -> Result<(), Dropped> {
        self.counters.offered += 1;
        let judged = self.judge(datagram).and_then(|id| {
            if !self.queue.push(datagram) {
                return Err(Dropped::Full);
            }
            self.last = Some(id);
            Ok(())
        });
        if let Err(why) = judged {
            *self.counters.dropped(why) += 1;
            if why.is_violation() {
                self.strike(1, Cut::Violations);
            }
        }
        judged
    }

    /// So many frames have come in on inside's interface that are not the link's. Each is a violation.
    pub fn stray(&mut self, count: u64) {
        self.counters.strays += count;
        self.strike(count, Cut::Strays);
    }

    /// A tick that begins at `now`, on the governor's clock. Decides what leaves, and calls `send` once with that,
    /// in ascending order of ids, each with its permit: so everything but sending can be done before the tick begins.
    ///
    /// # Errors
    /// Why the gate is cut; what had its permit before the budget ended on this very tick has left.
    pub fn tick(
        &mut self,
        now: Instant,
        governor: &mut Governor<impl Account>,
        send: impl FnOnce(&mut dyn Iterator<Item = (Permit, &[u8])>),
    ) -> Result<(), Cut> {
        self.counters.ticks += 1;
        let slice = self.rules.strike_ticks.div_ceil(SLICES as u32);
        if self.counters.ticks.is_multiple_of(slice.into()) {
            self.strikes.rotate_right(1);
            self.strikes[0] = 0;
        }
        let (waiting, before) = (self.queue.len() as u64, self.counters.judged());
        let result = self.decide(now, governor);
        if let Err(cut) = result {
            self.cut(cut);
            let judged = self.counters.judged() - before;
            self.counters.cut += waiting - judged;
        }
        let leaving = self.permits.drain(..).zip(self.queue.iter());
        send(&mut leaving.filter_map(|(permit, frame)| Some((permit?, frame))));
        self.queue.clear();
        self.last = None;
        result
    }

    /// From now on nothing leaves. The first reason stays.
    pub fn cut(&mut self, why: Cut) {
        self.cut.get_or_insert(why);
    }

    /// An operator has looked, and lets frames out again.
    pub fn resume(&mut self) {
        self.cut = None;
        self.strikes = [0; SLICES + 1];
        self.absent = 0;
    }

    /// Why nothing leaves, if so.
    pub const fn is_cut(&self) -> Option<Cut> {
        self.cut
    }

    /// What came, by fate.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The rules in force.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// SPEC 9.1: these checks, and no others. Returns the id.
    fn judge(&self, datagram: &[u8]) -> Result<u16, Dropped> {
        if self.cut.is_some() {
            return Err(Dropped::Cut);
        }
        let parameters = &self.rules.parameters;
        if !parameters.shape.allows(parameters, datagram.len()) {
            return Err(Dropped::Length);
        }
        let frame = Frame::new_checked(parameters.format, datagram).map_err(|_| Dropped::Length)?;
        let id = frame.batch();
        if id >= parameters.batches && id != parameters.format.id.control() {
            return Err(Dropped::Range);
        }
        match self.last {
            Some(_) if self.rules.is_constant() => Err(Dropped::Second),
            Some(last) if id == last => Err(Dropped::Second),
            Some(last) if id < last => Err(Dropped::Order),
            _ => Ok(id),
        }
    }

    fn strike(&mut self, count: u64, why: Cut) {
        // No sum of these overflows.
        self.strikes[0] += count.min(u32::MAX.into());
        // The present slice, and as many before it as the rest of a stretch reaches into, whatever tick that begins on.
        let stretch = self.rules.strike_ticks;
        let slices = 1 + (stretch - 1).div_ceil(stretch.div_ceil(SLICES as u32)) as usize;
        if self.strikes[..slices].iter().sum::<u64>() > self.rules.strikes_max.into() {
            self.cut(why);
        }
    }

    /// Asks the governor for each frame in the queue, and puts the piece there that is absent.
    fn decide(&mut self, now: Instant, governor: &mut Governor<impl Account>) -> Result<(), Cut> {
        if let Some(cut) = self.cut {
            return Err(cut);
        }
        let Self {
            rules,
            queue,
            permits,
            zeros,
            absent,
            counters,
            ..
        } = self;
        let is_constant = rules.is_constant();
        let missing = is_constant && queue.len() == 0;
        *absent = if missing { absent.saturating_add(1) } else { 0 };
        if *absent > rules.absent_max {
            return Err(Cut::Absent);
        }
        if missing {
            // There is room for one piece.
            queue.push(zeros);
        }
        queue.warm();
        let control = rules.parameters.format.id.control();
        for frame in queue.iter() {
            let view = Frame::new_checked(rules.parameters.format, frame);
            // In the constant shape whatever leaves looks like everything else.
            let is_control = !is_constant && view.is_ok_and(|view| view.batch() == control);
            let purpose = if is_control {
                Purpose::Handshake
            } else {
                Purpose::Frame
            };
            permits.push(match governor.release(now, frame.len(), purpose) {
                Release::Go(permit) => {
                    counters.released += 1;
                    counters.absent += u64::from(missing);
                    Some(permit)
                }
                Release::Refuse(why) if why.is_final() => {
                    counters.refused += u64::from(!missing);
                    match why {
                        Refused::Ledger(_) | Refused::AboveBlock { .. } => return Err(Cut::Ledger),
                        Refused::TotalSpent => return Err(Cut::Spent),
                        // A tick without its piece would be seen.
                        _ if is_constant => return Err(Cut::Spent),
                        _ => None,
                    }
                }
                Release::At(_) | Release::Refuse(_) => {
                    counters.rate += u64::from(!missing);
                    None
                }
            });
        }
        Ok(())
    }
}

impl Counters {
    /// Frames that waited for a tick and met the governor on it.
    const fn judged(&self) -> u64 {
        self.released - self.absent + self.rate + self.refused
    }

    const fn dropped(&mut self, why: Dropped) -> &mut u64 {
        match why {
            Dropped::Length => &mut self.length,
            Dropped::Range => &mut self.range,
            Dropped::Order => &mut self.order,
            Dropped::Second => &mut self.second,
            Dropped::Full => &mut self.full,
            Dropped::Cut => &mut self.cut,
        }
    }
}

/// Slices of a stretch of ticks.
const SLICES: usize = 8;
