//! A prediction as integers: intervals of 2^32 (SPEC 4.3, 4.6).

/// What the escape symbol has beyond its share, so that no token costs more than 16 + 32 bits.
pub(crate) const ESCAPE: u32 = 1 << 16;

/// `(start, width)` of each candidate, and of the escape after them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Widths {
    start: Vec<u32>,
    pub(crate) width: Vec<u32>,
    pub(crate) escape: (u32, u32),
}

impl Widths {
    /// Integers of at least 1 that sum to 2^32, in proportion to `weights` and `escape`, truncated; without an escape there
    /// is no token but these.
    pub(crate) fn set(&mut self, weights: impl Iterator<Item = u32>, escape: Option<f32>) {
        self.width.clear();
        self.width.extend(weights);
        let reserved = self.width.len() as u64 + escape.map_or(0, |_| u64::from(ESCAPE));
        let total = escape.map_or(0, |escape| u64::from(escape as u32))
            + self.width.iter().map(|&w| u64::from(w)).sum::<u64>();
        let scale = scale((1 << 32) - reserved, total);
        let mut best = 0;
        for i in 0..self.width.len() {
            if self.width[i] > self.width[best] {
                best = i;
            }
        }
        let mut sum = 0;
        for width in &mut self.width {
            *width = 1 + share(*width, scale);
            sum += u64::from(*width);
        }
        let escape = escape.map_or(0, |escape| ESCAPE + share(escape as u32, scale));
        self.width[best] += ((1 << 32) - sum - u64::from(escape)) as u32;

        self.start.clear();
        let mut at = 0u32;
        for &width in &self.width {
            self.start.push(at);
            at = at.wrapping_add(width);
        }
        self.escape = (at, escape);
    }

    /// `(start, width)` of number `i`.
    pub(crate) fn place(&self, i: usize) -> (u32, u32) {
        (self.start[i], self.width[i])
    }

    /// The number at a point that is not the escape's.
    pub(crate) fn find(&self, at: u32) -> usize {
        self.start.partition_point(|&start| start <= at) - 1
    }
}

/// Units of 2^-30 that one unit of weight is worth, if weights that sum to `total` share `free` (at most 2^32).
pub(crate) fn scale(free: u64, total: u64) -> u64 {
    (free << 30) / total
}

/// A weight's share, rounded down: the shares of all weights sum to at most `free`.
pub(crate) fn share(weight: u32, scale: u64) -> u32 {
    ((u64::from(weight) * scale) >> 30) as u32
}
