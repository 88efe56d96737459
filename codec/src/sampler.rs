//! The strong model's sampler: which token wins, given logits and the seeded noise (SPEC 4.5).

use weir_exact::{Kernel, Token};
use weir_exact::{Top, Weights, chacha::Race};

use crate::Error;
use crate::noise::{Noise, Scratch};
use crate::query::{Sampling, Seed};

/// How many of the best tokens are tried to find a score that prunes the rest.
const SEEDED: usize = 32;

/// Chooses tokens; keeps its buffers (a few megabytes at 150k tokens).
///
/// ```
/// use weir_codec::{Sampler, Sampling};
/// use weir_exact::Kernel;
///
/// let logits = [0.5, 2.0, 1.0];
/// let mut sampler = Sampler::new(Kernel::detect());
/// assert_eq!(sampler.sample(&logits, &Sampling::GREEDY, &[0; 16], 0)?, 1);
/// let one = sampler.sample(&logits, &Sampling::at(1.0), &[7; 16], 3)?;
/// assert_eq!(one, sampler.sample(&logits, &Sampling::at(1.0), &[7; 16], 3)?);
/// # Ok::<(), weir_codec::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    kernel: Kernel,
    weights: Weights,
    top: Top,
    ids: Vec<Token>,
    noise: Scratch,
    gumbels: Vec<f64>,
    blend: Vec<f32>,
}

impl Sampler {
    /// A sampler that computes with `kernel`; all give the same tokens.
    pub fn new(kernel: Kernel) -> Self {
        let (weights, top, noise) = (Weights::default(), Top::default(), Scratch::default());
        Self {
            kernel,
            weights,
            top,
            ids: Vec::new(),
            noise,
            gumbels: Vec::new(),
            blend: Vec::new(),
        }
    }

    /// The token that wins at `position` of the answer drawn with `seed`.
    ///
    /// # Errors
    /// [`Error::Sampling`] for parameters out of range, a `tau` below 1 among them: that takes the weak model's logits too
    /// ([`Sampler::sample_lossy`]); [`Error::NotFinite`] for a logit that is not.
    pub fn sample(
        &mut self,
        logits: &[f32],
        sampling: &Sampling,
        seed: &Seed,
        position: u32,
    ) -> Result<Token, Error> {
        sampling.check()?;
        if sampling.is_lossy() {
            return Err(Error::Sampling("tau where the weak model is not asked"));
        }
        self.weights
            .maximum(self.kernel, logits)
            .map_err(Error::of_logits)?;
        if !sampling.is_seeded() {
            let best = logits.iter().position(|&x| x == self.weights.max);
            return Ok(best.unwrap_or(0) as Token);
        }
        let last = self.last_allowed(logits, sampling)?;
        let noise = Noise::new(seed, position);

        // A score to beat, then every token whose noise may let it: mostly one or two.
        self.top.find(logits, &self.weights, SEEDED, &mut self.ids);
        self.ids.retain(|&id| last.allows(logits, id));
        let (_, least) = self.best(logits, sampling, &noise);
        let race = Race {
            max: self.weights.max,
            scale: 1.0 / sampling.temperature,
            least: least as f32 - 0.01,
        };
        self.ids.clear();
        noise.high().rivals(self.kernel, logits, &race, &mut self.ids);
        self.ids.retain(|&id| last.allows(logits, id));
        Ok(self.best(logits, sampling, &noise).0)
    }

    /// The same where the weak model may have a say: `weak` are its logits, as exact as outer's, one for each of `strong`.
    /// With `tau` = 1 they are not looked at.
    ///
    /// # Errors
    /// [`Error::Sampling`] for parameters out of range; [`Error::NotFinite`] for a logit that is not; [`Error::Vocab`] for rows
    /// that are not equally long.
    pub fn sample_lossy(
        &mut self,
        strong: &[f32],
        weak: &[f32],
        sampling: &Sampling,
        seed: &Seed,
        position: u32,
    ) -> Result<Token, Error> {
        sampling.check()?;
        let lossless = Sampling {
            tau: 1.0,
            ..*sampling
        };
        if !sampling.is_lossy() {
            return self.sample(strong, &lossless, seed, position);
        }
        if strong.len() != weak.len() {
            return Err(Error::Vocab(weak.len()));
        }
        let tau = sampling.tau;
        if sampling.is_seeded() {
            // Logits are logarithms of probabilities but for a constant, so this is p^tau q^(1 - tau).
            let mut blend = std::mem::take(&mut self.blend);
            blend.clear();
            blend.extend(strong.iter().zip(weak).map(|(l, m)| tau * l + (1.0 - tau) * m));
            let token = self.sample(&blend, &lossless, seed, position);
            self.blend = blend;
            return token;
        }
        let kept = self.sample(weak, &lossless, seed, position)?;
        let best = self.sample(strong, &lossless, seed, position)?;
        let behind = f64::from(strong[kept as usize]) - f64::from(strong[best as usize]);
        Ok(if behind >= weir_exact::ln(f64::from(tau)) {
            kept
        } else {
            best
        })
    }

    /// The id of `self.ids` with the highest score, ties to the lower id, and that score.
    fn best(&mut self, logits: &[f32], sampling: &Sampling, noise: &Noise) -> (Token, f64) {
        noise.gumbels(self.kernel, &self.ids, &mut self.noise, &mut self.gumbels);
        let (max, temperature) = (f64::from(self.weights.max), f64::from(sampling.temperature));
        let mut best = (Token::MAX, f64::NEG_INFINITY);
        for (&id, &g) in self.ids.iter().zip(&self.gumbels) {
            let score = (f64::from(logits[id as usize]) - max) / temperature + g;
            if score > best.1 || (score == best.1 && id < best.0) {
                best = (id, score);
            }
        }
        best
    }

    /// The last token, in descending order of logits, that top-k and top-p leave.
    fn last_allowed(&mut self, logits: &[f32], sampling: &Sampling) -> Result<Last, Error> {
        let count = match sampling.top_k as usize {
            0 => logits.len(),
            k => k.min(logits.len()),
        };
        if count == logits.len() && sampling.top_p >= 1.0 {
            return Ok(Last {
                logit: f32::NEG_INFINITY,
                id: Token::MAX,
            });
        }
        self.weights
            .set_scaled(self.kernel, logits, sampling.temperature)
            .map_err(Error::of_logits)?;
        // Nearly always the set ends among the first few; the sort grows only as far as it must.
        let mut sorted = 128;
        loop {
            sorted = sorted.min(logits.len());
            self.top.find(logits, &self.weights, sorted, &mut self.ids);
            self.ids.sort_unstable_by(|&a, &b| {
                let (x, y) = (logits[a as usize], logits[b as usize]);
                y.partial_cmp(&x)
                    .unwrap_or(std::cmp::Ordering::Equal)
                    .then(a.cmp(&b))
            });
            if let Some(last) = self.last_of_sorted(sampling, count, logits.len()) {
                return Ok(Last {
                    logit: logits[last as usize],
                    id: last,
                });
            }
            sorted *= 8;
        }
    }

    /// The last allowed of the sorted `self.ids`, if they reach far enough to tell.
    fn last_of_sorted(&self, sampling: &Sampling, count: usize, vocab: usize) -> Option<Token> {
        let complete = self.ids.len() >= count;
        let ids = &self.ids[..count.min(self.ids.len())];
        if sampling.top_p >= 1.0 {
            return complete.then(|| ids[count - 1]);
        }
        let weight = |id: Token| u64::from(self.weights.weights[id as usize]);
        let total = match (complete, count == vocab) {
            (_, true) => self.weights.sum,
            (true, false) => ids.iter().map(|&id| weight(id)).sum(),
            (false, false) => return None,
        };
        // SPEC 4.5: a token stays while the weight before it is below top_p of the total.
        let share = f64::from(sampling.top_p) * total as f64;
        let (mut before, mut last) = (0, ids[0]);
        for &id in ids {
            if before as f64 >= share {
                return Some(last);
            }
            before += weight(id);
            last = id;
        }
        (complete || before as f64 >= share).then_some(last)
    }
}

/// The end of a prefix of the tokens in descending order of logits, ties by ascending id.
#[derive(Clone, Copy, Debug)]
struct Last {
    logit: f32,
    id: Token,
}

impl Last {
    fn allows(&self, logits: &[f32], id: Token) -> bool {
        let logit = logits[id as usize];
        logit > self.logit || (logit == self.logit && id <= self.id)
    }
}
