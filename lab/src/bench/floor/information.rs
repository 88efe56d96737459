//! What one token may cost, given the distribution p that it is drawn from and the distribution q that both ends know.

use weir_codec::Sampling;

/// Bits of one token, or sums of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Information {
    /// Entropy of p.
    pub(super) h_p: f64,
    /// Cross entropy of p under q.
    pub(super) h_pq: f64,
    /// Channel simulation divergence of p from q: with w(h) the probability under q of `p / q >= h`, the integral over
    /// h > 0 of `-w(h) log2 w(h)` (Goc and Flamich, "On channel simulation with causal rejection samplers", 2024).
    pub(super) d_cs: f64,
}

/// Buffers of the size of a vocabulary.
#[derive(Debug, Default)]
pub(super) struct Room {
    p: Vec<f64>,
    q: Vec<f64>,
    /// Tokens that p allows, the one that p raises most above q first; as keys that sort.
    order: Vec<u64>,
}

impl Room {
    /// Bits of a token that `sampling` draws from the logits of the strong model, where q is the softmax of `weak`.
    pub(super) fn information(&mut self, strong: &[f32], sampling: &Sampling, weak: &[f32]) -> Information {
        softmax(weak, 1.0, &mut self.q);
        if !sampling.is_seeded() {
            // All of p is on one token: nothing is open, and whoever knows q pays for q alone.
            let bits = -self.q[best(strong)].log2();
            return Information {
                h_p: 0.0,
                h_pq: bits,
                d_cs: bits,
            };
        }
        softmax(strong, f64::from(sampling.temperature), &mut self.p);
        self.filter(strong, sampling);

        let (mut h_p, mut h_pq) = (0.0, 0.0);
        self.order.clear();
        for (i, (&p, &q)) in self.p.iter().zip(&self.q).enumerate() {
            if p > 0.0 {
                h_p -= p * p.log2();
                h_pq -= p * q.log2();
                self.order
                    .push(u64::from(descending((p / q) as f32)) << 32 | i as u64);
            }
        }
        self.order.sort_unstable();
        let token = |key: u64| (key & 0xffff_ffff) as usize;
        let ratio = |key: u64| f64::from(ascending(!(key >> 32) as u32));
        // w is constant between two neighbouring ratios. The key's ratio is rounded to f32, in which it was sorted.
        let (mut w, mut d_cs) = (0.0f64, 0.0);
        for (k, &key) in self.order.iter().enumerate() {
            w += self.q[token(key)];
            let below = self.order.get(k + 1).map_or(0.0, |&next| ratio(next));
            let w = w.min(1.0);
            d_cs -= (ratio(key) - below) * w * w.log2();
        }
        Information { h_p, h_pq, d_cs }
    }

    /// Leaves of p what top-k and top-p leave (SPEC 4.5), and scales that to a sum of 1.
    fn filter(&mut self, strong: &[f32], sampling: &Sampling) {
        let count = match sampling.top_k as usize {
            0 => self.p.len(),
            k => k.min(self.p.len()),
        };
        if count == self.p.len() && sampling.top_p >= 1.0 {
            return;
        }
        self.order.clear();
        let keys = strong.iter().enumerate();
        self.order
            .extend(keys.map(|(i, &logit)| u64::from(descending(logit)) << 32 | i as u64));
        self.order.sort_unstable();
        let sorted = &self.order[..count];
        let p = |key: u64| self.p[(key & 0xffff_ffff) as usize];
        let share = f64::from(sampling.top_p) * sorted.iter().map(|&key| p(key)).sum::<f64>();
        let mut before = 0.0;
        let stay = sorted.iter().take_while(|&&key| {
            let stays = before < share;
            before += p(key);
            stays
        });
        let stay = stay.count().max(1);
        let sum: f64 = sorted[..stay].iter().map(|&key| p(key)).sum();
        for (rank, &key) in self.order.iter().enumerate() {
            let p = &mut self.p[(key & 0xffff_ffff) as usize];
            *p = if rank < stay { *p / sum } else { 0.0 };
        }
    }
}

/// Probabilities of `logits / temperature`.
fn softmax(logits: &[f32], temperature: f64, out: &mut Vec<f64>) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    out.clear();
    out.extend(logits.iter().map(|&x| (f64::from(x - max) / temperature).exp()));
    let sum: f64 = out.iter().sum();
    out.iter_mut().for_each(|p| *p /= sum);
}

/// The token that greedy decoding takes: the largest logit, ties to the lower id.
fn best(logits: &[f32]) -> usize {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&x| x == max).unwrap_or(0)
}

/// Numbers that ascend as floats descend; equal floats are left to what is put behind.
fn descending(x: f32) -> u32 {
    let bits = x.to_bits();
    !(if bits >> 31 == 1 { !bits } else { bits | 1 << 31 })
}

/// The float of ascending numbers.
fn ascending(number: u32) -> f32 {
    f32::from_bits(if number >> 31 == 1 {
        number & !(1 << 31)
    } else {
        !number
    })
}

#[cfg(test)]
mod tests;
