//! What the network sees of a prediction: numbers of the best candidates, and of the whole (SPEC 4.6).

use weir_exact::{Column, Kernel, ONE, ROWS, exp_weight, keep_best, ranked};

use super::history::{self, History};
use crate::query::Sampling;

/// Most candidates that the network scores one by one.
pub const ENTRANTS: usize = ROWS;
/// Numbers of one entrant.
pub const ENTRANT: usize = 7;
/// Numbers that all entrants share.
pub const GLOBAL: usize = 13 + history::FEATURES;

/// The candidates as the network sees them; keeps its buffers.
///
/// Lists of candidates have the order of the prediction, entrants the order of their scores `logit + temperature * gumbel`.
#[derive(Clone, Debug)]
pub struct Features {
    scores: Vec<f32>,
    behind: Vec<f32>,
    entrants: Vec<u32>,
    columns: [Column; ENTRANT],
    shared: [f32; GLOBAL],
    log_sum: f32,
    outside: f32,

    order: Vec<u64>,
    mass: Vec<u32>,
    weights: Vec<u32>,
    logits: Vec<f32>,
    ahead: Vec<(u32, u32)>,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            scores: Vec::new(),
            behind: Vec::new(),
            entrants: Vec::new(),
            columns: [[0.0; ROWS]; ENTRANT],
            shared: [0.0; GLOBAL],
            log_sum: 0.0,
            outside: 0.0,
            order: Vec::new(),
            mass: Vec::new(),
            weights: Vec::new(),
            logits: Vec::new(),
            ahead: Vec::new(),
        }
    }
}

impl Features {
    /// Enters candidates: `logit` relative to the best, `gumbel` 0 where the noise plays no part, `plain` their weights of
    /// all that sum to `sum`. There are at least two.
    pub fn set(
        &mut self,
        kernel: Kernel,
        (logit, gumbel): (&[f32], &[f32]),
        (plain, sum): (&[u32], u64),
        sampling: &Sampling,
        history: &History,
    ) {
        let temperature = sampling.temperature;
        let scores = logit
            .iter()
            .zip(gumbel)
            .map(|(&x, &y)| at_least(x, -100.0) + temperature * y);
        self.scores.clear();
        self.scores.extend(scores);
        self.enter();
        let best = self.scores[self.entrants[0] as usize];
        self.behind.clear();
        self.behind.extend(self.scores.iter().map(|score| score - best));
        self.weights.resize(logit.len(), 0);
        let likely = weir_exact::expert(
            kernel,
            (1.0, &self.behind),
            (0.0, &self.behind),
            &mut self.weights,
        );
        self.log_sum = log(likely);
        let outside = sum - plain.iter().map(|&w| u64::from(w)).sum::<u64>();
        let outside = if outside > 0 {
            log(outside) - (best + self.log_sum)
        } else {
            f32::NEG_INFINITY
        };
        self.outside = 0.25 * at_least(outside, -20.0);

        // Mass at the sampler's temperature, in units small enough to sum in 32 bits.
        let scale = if sampling.is_seeded() {
            1.0 / temperature
        } else {
            1.0
        };
        self.mass.clear();
        self.mass.extend(
            logit
                .iter()
                .map(|&x| exp_weight(at_least(x, -100.0) * scale) >> 9),
        );
        self.logits.clear();
        self.logits
            .extend(self.entrants.iter().map(|&i| logit[i as usize]));
        weir_exact::precede(kernel, logit, &self.mass, &self.logits, &mut self.ahead);
        let total = self.mass.iter().fold(0u32, |sum, &mass| sum.wrapping_add(mass)) as f32;

        let log_all = log(sum);
        self.columns = [[0.0; ROWS]; ENTRANT];
        for (row, (&i, &(rank, before))) in self.entrants.iter().zip(&self.ahead).enumerate() {
            let before = before as f32 / total;
            let numbers = [
                0.25 * at_least(self.behind[i as usize], -16.0),
                0.125 * at_least(logit[i as usize] - log_all, -20.0),
                0.25 * (temperature * gumbel[i as usize]),
                1.0 / (1.0 + rank as f32),
                1.0 / (1.0 + row as f32),
                before,
                (1.0 - before).sqrt(),
            ];
            for (column, number) in self.columns.iter_mut().zip(numbers) {
                column[row] = number;
            }
        }
        self.share(logit, (plain, sum), sampling, history, log_all);
    }

    /// Candidates that the network scores one by one, the best score first.
    pub fn entrants(&self) -> &[u32] {
        &self.entrants
    }

    /// By how much the score of each candidate is less than the best.
    pub fn behind(&self) -> &[f32] {
        &self.behind
    }

    /// Surprise in nats of candidate `i` if each wins in proportion to the exp of its score.
    pub fn surprise(&self, i: usize) -> f32 {
        self.log_sum - self.behind[i]
    }

    /// A quarter of the log of what all tokens that are no candidates weigh under q against the scores of those that are.
    pub fn outside(&self) -> f32 {
        self.outside
    }

    /// The numbers of each entrant; 0 in rows beyond.
    pub fn columns(&self) -> &[Column; ENTRANT] {
        &self.columns
    }

    /// The numbers that all entrants share.
    pub fn shared(&self) -> &[f32; GLOBAL] {
        &self.shared
    }

    /// Fills `entrants`: the best scores, ties to the first.
    fn enter(&mut self) {
        let Self {
            scores,
            entrants,
            order,
            ..
        } = self;
        order.clear();
        order.extend((0..).zip(&*scores).map(|(i, &score)| ranked(score, i)));
        keep_best(order, ENTRANTS);
        order.sort_unstable();
        entrants.clear();
        entrants.extend(order.iter().map(|&place| place as u32));
    }

    /// Fills `shared`.
    fn share(
        &mut self,
        logit: &[f32],
        (plain, sum): (&[u32], u64),
        sampling: &Sampling,
        history: &History,
        log_all: f32,
    ) {
        let mut mean = 0.0;
        let mut best = [f32::NEG_INFINITY; 2];
        for (&x, &weight) in logit.iter().zip(plain) {
            mean += weight as f32 * at_least(x, -100.0);
            if x > best[0] {
                best = [x, best[0]];
            } else if x > best[1] {
                best[1] = x;
            }
        }
        let lead = |row: usize| {
            let behind = self.entrants.get(row).map_or(-16.0, |&i| self.behind[i as usize]);
            -0.25 * at_least(behind, -16.0)
        };
        let is_filtered = sampling.top_p < 1.0 || sampling.top_k > 0;
        let temperature = sampling.temperature;
        let inverse = if temperature > 0.25 {
            1.0 / temperature
        } else {
            4.0
        };
        let numbers = [
            0.25 * (log_all - mean / sum as f32),
            0.25 * log_all,
            -0.25 * at_least(best[1] - best[0], -16.0),
            lead(1),
            lead(2),
            self.columns[1][0],
            self.columns[1][1],
            0.5 * self.log_sum,
            temperature,
            if sampling.is_seeded() { 0.25 * inverse } else { 0.0 },
            sampling.top_p,
            if is_filtered { 1.0 } else { 0.0 },
            self.columns[3][0],
        ];
        let (own, past) = self.shared.split_at_mut(numbers.len());
        own.copy_from_slice(&numbers);
        past.copy_from_slice(&history.features());
    }
}

/// `ln(sum / 2^30)` of weights.
fn log(sum: u64) -> f32 {
    weir_exact::ln(sum as f64 / f64::from(ONE)) as f32
}

fn at_least(x: f32, least: f32) -> f32 {
    if x > least { x } else { least }
}
