//! A rolling window in exact integers and constant memory. SPEC 7.2.

use crate::time::Instant;

/// What was charged in the last `length`, never too little: the window is cut into slices of a 64th, and the
/// whole of the oldest counts as long as a part of it lies within.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    cap: u64,
    /// Its length in microseconds.
    slice: u64,
    /// By slice number modulo their count.
    slices: [u64; SLICES],
    /// Number of the latest slice.
    latest: u64,
    /// Of all slices; at most `cap`, unless the past was beyond it.
    sum: u64,
}

impl Window {
    /// An empty window of whole seconds, at least 1.
    pub(crate) const fn new(seconds: u32, cap: u64) -> Self {
        Self::of_micros(seconds as u64 * 1_000_000, cap)
    }

    const fn of_micros(length: u64, cap: u64) -> Self {
        let slice = length.div_ceil(SLICES as u64 - 1);
        Self {
            cap,
            slice: if slice == 0 { 1 } else { slice },
            slices: [0; SLICES],
            latest: 0,
            sum: 0,
        }
    }

    /// `None` if `bits` fit at `now`, else the time at which they will (the end of time if never).
    pub(crate) fn wait(&mut self, now: Instant, bits: u64) -> Option<Instant> {
        self.advance(now);
        let fits = |sum: u64| sum.checked_add(bits).is_some_and(|sum| sum <= self.cap);
        if fits(self.sum) {
            return None;
        }
        let mut sum = self.sum;
        for age in (0..SLICES as u64).rev() {
            let Some(number) = self.latest.checked_sub(age) else {
                continue;
            };
            sum -= self.slices[(number % SLICES as u64) as usize];
            if fits(sum) {
                // Then this slice is out of the window.
                let micros = (number + SLICES as u64).saturating_mul(self.slice);
                return Some(Instant::from_micros(micros));
            }
        }
        Some(Instant::END)
    }

    /// Adds what was charged at `now`.
    pub(crate) fn add(&mut self, now: Instant, bits: u64) {
        self.advance(now);
        let place = (self.latest % SLICES as u64) as usize;
        // Saturation stops everything: no cap is above it.
        let added = bits.min(u64::MAX - self.sum);
        self.slices[place] += added;
        self.sum += added;
    }

    /// Bits in the window at the last time that it was told.
    pub(crate) const fn sum(&self) -> u64 {
        self.sum
    }

    /// Most bits.
    pub(crate) const fn cap(&self) -> u64 {
        self.cap
    }

    /// Forgets what is too old. A clock that steps back changes nothing.
    fn advance(&mut self, now: Instant) {
        let number = now.micros() / self.slice;
        let steps = number.saturating_sub(self.latest);
        for step in 1..=steps.min(SLICES as u64) {
            let slice = &mut self.slices[((self.latest + step) % SLICES as u64) as usize];
            self.sum -= *slice;
            *slice = 0;
        }
        self.latest = self.latest.max(number);
    }
}

/// A 64th each, and one more because the oldest is cut by the window's edge.
const SLICES: usize = 65;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn what_is_older_than_the_window_and_a_slice_counts_no_more() {
        let mut window = Window::of_micros(64, 10);
        let at = Instant::from_micros;
        window.add(at(0), 7);
        assert_eq!(window.wait(at(0), 3), None);
        assert_eq!(window.wait(at(0), 4), Some(at(65)));
        assert_eq!(window.wait(at(64), 4), Some(at(65)));
        assert_eq!(window.wait(at(65), 10), None);
        assert_eq!(window.wait(at(65), 11), Some(Instant::END));
        assert_eq!(window.wait(Instant::END, 10), None);
    }

    #[test]
    fn sums_beyond_all_bounds_stop_everything() {
        let mut window = Window::new(3_600, u64::MAX);
        let at = Instant::from_micros;
        window.add(at(5), u64::MAX);
        window.add(at(6), 1);
        assert_eq!(window.sum(), u64::MAX);
        assert!(window.wait(at(7), 1).is_some());
    }

    proptest! {
        /// Whatever is let through: in no stretch of `length` more than the cap; and what waits as told goes then.
        #[test]
        fn no_stretch_of_the_length_holds_more_than_the_cap(
            length in 1_u64..10_000,
            cap in 1_u64..1_000,
            asks in prop::collection::vec((0_u64..500, 1_u64..200), 1..300),
        ) {
            let mut window = Window::of_micros(length, cap);
            let at = Instant::from_micros;
            let mut sent: Vec<(u64, u64)> = Vec::new();
            let mut now = 0;
            for (wait, bits) in asks {
                now += wait;
                match window.wait(at(now), bits) {
                    None => {}
                    Some(Instant::END) => {
                        prop_assert!(bits > cap);
                        continue;
                    }
                    Some(opens) => {
                        let micros = opens.micros();
                        prop_assert!(micros > now && window.wait(at(micros - 1), bits).is_some());
                        prop_assert_eq!(window.wait(opens, bits), None);
                        now = micros;
                    }
                }
                window.add(at(now), bits);
                sent.push((now, bits));
            }
            for (first, &(from, _)) in sent.iter().enumerate() {
                let within = sent[first..].iter().take_while(|&&(at, _)| at - from < length);
                prop_assert!(within.map(|&(_, bits)| bits).sum::<u64>() <= cap);
            }
        }
    }
}
