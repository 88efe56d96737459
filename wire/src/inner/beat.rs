//! When ticks begin: by inner's own clock, or as a gate tells. SPEC 6.4.

use crate::time::Instant;

/// Ticks by number. They never go back, and a gate moves each beginning by half a tick at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    /// Length in microseconds; at least 1.
    length: u64,
    /// Tick `number` began at `began`, in microseconds; those after it follow at equal distances.
    number: u64,
    began: u64,
    /// The last tick whose beginning was told.
    told: Option<u64>,
    /// A tick of which the gate's word came too late, or first: at the gate it may be over, or have a frame already.
    passed: Option<u64>,
}

impl Beat {
    pub(super) const fn new(length: u32) -> Self {
        Self {
            length: length as u64,
            number: 0,
            began: 0,
            told: None,
            passed: None,
        }
    }

    /// The tick of this moment.
    pub(super) const fn at(&self, now: Instant) -> u64 {
        self.number + now.micros().saturating_sub(self.began) / self.length
    }

    /// When a tick begins.
    pub(super) const fn begins(&self, number: u64) -> Instant {
        let after = number.saturating_sub(self.number);
        Instant::from_micros(self.began.saturating_add(after.saturating_mul(self.length)))
    }

    /// The first tick that does not begin before `at`.
    pub(super) const fn from(&self, at: Instant) -> u64 {
        self.number + at.micros().saturating_sub(self.began).div_ceil(self.length)
    }

    /// A tick begins now: the one that has just begun, or that is about to, by our own count. Each is told once at most, so that
    /// whoever floods inner with ticks neither stops the count nor more than doubles its rate.
    pub(super) fn tell(&mut self, now: Instant) {
        let current = self.at(now);
        let number = current + u64::from(self.elapsed(current, now) * 2 >= self.length);
        if self.told.is_none_or(|told| told < number) {
            let is_passed = self.told.is_none() || self.is_beyond(number, now);
            *self = Self {
                length: self.length,
                number,
                began: now.micros(),
                told: Some(number),
                passed: is_passed.then_some(number),
            };
        }
    }

    /// Whether what is sent now can miss the tick at a gate that tells of ticks: then it would be there on the next one, with
    /// what is sent on that.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        let tick = self.at(now);
        self.told.is_some() && (self.passed == Some(tick) || self.is_beyond(tick, now))
    }

    /// Whether the part of a tick is over in which frames are in time, its first eighth. A gate tells of a tick at least a quarter
    /// before it begins.
    const fn is_beyond(&self, number: u64, now: Instant) -> bool {
        self.elapsed(number, now) > self.length / IN_TIME
    }

    /// Microseconds since a tick began; 0 before.
    const fn elapsed(&self, number: u64, now: Instant) -> u64 {
        now.micros().saturating_sub(self.begins(number).micros())
    }
}

/// The part of a tick in which frames for a gate may leave.
const IN_TIME: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn without_a_gate_ticks_are_multiples() {
        let beat = Beat::new(1000);
        assert_eq!((beat.at(at(0)), beat.at(at(999)), beat.at(at(1000))), (0, 0, 1));
        assert_eq!(
            (beat.from(at(0)), beat.from(at(1)), beat.from(at(1000))),
            (0, 1, 1)
        );
        assert_eq!(beat.begins(7), at(7000));
    }

    #[test]
    fn told_ticks_move_the_nearest_beginning() {
        let mut beat = Beat::new(1000);
        beat.tell(at(5300)); // tick 5 has begun late
        assert_eq!(
            (beat.at(at(5300)), beat.at(at(6299)), beat.at(at(6300))),
            (5, 5, 6)
        );
        beat.tell(at(6200)); // tick 6 begins early
        assert_eq!((beat.at(at(6200)), beat.begins(7)), (6, at(7200)));
        assert_eq!(beat.from(at(7201)), 8);
        // A tick that is over began when it began.
        assert_eq!(beat.begins(3), at(6200));
    }

    #[test]
    fn late_is_what_a_gate_may_not_wait_for() {
        let mut beat = Beat::new(1000);
        assert!(!beat.is_late(at(5999)), "nobody waits");
        beat.tell(at(5300));
        assert!(
            beat.is_late(at(5300)),
            "the first word: something may have been sent before it"
        );
        beat.tell(at(6310));
        assert!(!beat.is_late(at(6435)), "the first eighth");
        assert!(beat.is_late(at(6436)));
        assert!(!beat.is_late(at(7310)), "by its own count, if a word is lost");
        beat.tell(at(7500));
        assert!(beat.is_late(at(7500)), "the word itself is late");
        beat.tell(at(8310));
        assert!(!beat.is_late(at(8310)), "early by its own count, and in time");
    }

    #[test]
    fn a_flood_neither_stops_ticks_nor_more_than_doubles_them() {
        for step in [1, 7, 300, 499, 500, 501, 999] {
            let mut beat = Beat::new(1000);
            let mut last = 0;
            for now in (0..1_000_000).step_by(step) {
                beat.tell(at(now));
                assert!(beat.at(at(now)) >= last, "step {step}");
                last = beat.at(at(now));
            }
            assert!((600..=2_000).contains(&last), "step {step}: {last}");
        }
    }
}
