//! The experts' weights: where they start and how they follow what has crossed (SPEC 4.7).

use weir_model::math::ONE;

/// Experts of a class: its grid and the plain one.
pub const EXPERTS: usize = 25;
/// Index of the plain expert, q over the whole vocabulary.
pub(crate) const PLAIN: usize = EXPERTS - 1;

const BUCKETS: usize = 5;
const CLASSES: usize = 5;

/// How a token was chosen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Origin {
    /// The strong model's best.
    Greedy,
    /// Gumbel-max at this temperature.
    Seeded(f32),
    /// By whoever wrote the text.
    Unknown,
}

/// What a token's context has in common with others: the temperature's bucket and how sure the weak model is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Class {
    bucket: u8,
    level: u8,
}

impl Class {
    /// Class of a token: where it comes from and the sum of the weak model's weights.
    pub(crate) fn of(origin: Origin, sum: u64) -> Self {
        let bucket = match origin {
            Origin::Greedy => 0,
            Origin::Seeded(t) if t <= 0.5 => 1,
            Origin::Seeded(t) if t <= 0.85 => 2,
            Origin::Seeded(_) => 3,
            Origin::Unknown => 4,
        };
        let level = LEVELS.iter().filter(|&&limit| sum >= limit).count();
        Self { bucket, level: level as u8 }
    }
}

/// The learned state of a batch: plain numbers, copied for snapshots.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Learned {
    /// Of each bucket: weights shared by its classes, then those of each class. Each row sums to about 1.
    rows: [[Row; 1 + CLASSES]; BUCKETS],
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Row {
    weights: [f32; EXPERTS],
    seen: u32,
}

impl Default for Learned {
    fn default() -> Self {
        let row = |bucket: usize| Row { weights: prior(bucket), seen: 0 };
        Self { rows: std::array::from_fn(|bucket| [row(bucket); 1 + CLASSES]) }
    }
}

impl Learned {
    /// The weights to mix with: class and shared half and half.
    pub(crate) fn weights(&self, class: Class) -> [f32; EXPERTS] {
        let rows = &self.rows[usize::from(class.bucket)];
        let (shared, own) = (&rows[0].weights, &rows[1 + usize::from(class.level)].weights);
        std::array::from_fn(|k| 0.5 * shared[k] + 0.5 * own[k])
    }

    /// Moves the weights towards the experts that gave the token its probability.
    pub(crate) fn update(&mut self, class: Class, likelihood: &[f32; EXPERTS]) {
        let bucket = usize::from(class.bucket);
        let prior = prior(bucket);
        let level = 1 + usize::from(class.level);
        for row in [0, level] {
            self.rows[bucket][row].update(&prior, likelihood);
        }
    }

    /// The state as bytes, for the digest.
    pub(crate) fn bytes(&self, sink: &mut impl FnMut(&[u8])) {
        for row in self.rows.iter().flatten() {
            for weight in row.weights {
                sink(&weight.to_bits().to_le_bytes());
            }
            sink(&row.seen.to_le_bytes());
        }
    }
}

impl Row {
    fn update(&mut self, prior: &[f32; EXPERTS], likelihood: &[f32; EXPERTS]) {
        let mut sum = 0.0;
        for k in 0..EXPERTS {
            sum += self.weights[k] * likelihood[k];
        }
        if sum < 1e-30 {
            return;
        }
        let seen = self.seen as f32 + SLOWNESS;
        let rate = if seen < SLOWEST { 1.0 / seen } else { 1.0 / SLOWEST };
        let factor = (1.0 - SHARE) / sum;
        for k in 0..EXPERTS {
            let posterior = self.weights[k] * likelihood[k] * factor + SHARE * prior[k];
            self.weights[k] += rate * (posterior - self.weights[k]);
        }
        self.seen = self.seen.saturating_add(1).min(1 << 20);
    }
}

/// `(a, b)` of the experts of a class, without the plain one.
pub(crate) fn grid(class: Class) -> &'static [(f32, f32)] {
    if matches!(class.bucket, 1..=3) { &SEEDED } else { &GREEDY }
}

fn prior(bucket: usize) -> [f32; EXPERTS] {
    let mut weights = [0.0; EXPERTS];
    weights[..PRIOR[bucket].len()].copy_from_slice(PRIOR[bucket]);
    weights[PLAIN] = 0.02;
    weights
}

/// Lower ends of the classes but the first, as sums of weights: one over the weak model's best probability, times 2^30.
const LEVELS: [u64; CLASSES - 1] = [
    ONE as u64 + ONE as u64 / 50,
    ONE as u64 + ONE as u64 / 4,
    ONE as u64 * 2,
    ONE as u64 * 5,
];

/// The first step is one over this.
const SLOWNESS: f32 = 20.0;
/// No step is smaller than one over this.
const SLOWEST: f32 = 500.0;
/// How far weights are drawn back to where they started.
const SHARE: f32 = 0.01;

const GREEDY: [(f32, f32); 8] = [
    (0.8, 0.0),
    (1.0, 0.0),
    (1.2, 0.0),
    (1.4, 0.0),
    (1.7, 0.0),
    (2.0, 0.0),
    (2.5, 0.0),
    (3.5, 0.0),
];

const SEEDED: [(f32, f32); 24] = {
    let (a, b) = ([1.0, 1.2, 1.4, 2.0], [0.0, 0.35, 0.5, 0.7, 1.0, 1.4]);
    let mut grid = [(0.0, 0.0); 24];
    let mut k = 0;
    while k < 24 {
        grid[k] = (a[k / 6], b[k % 6]);
        k += 1;
    }
    grid
};

const PRIOR: [&[f32]; BUCKETS] = [
    &[0.98 / 8.0; 8],
    &[0.98 / 24.0; 24],
    &[0.98 / 24.0; 24],
    &[0.98 / 24.0; 24],
    &[0.98 / 8.0; 8],
];
