//! The baseline: an interpolated modified Kneser-Ney 5-gram model (Chen and Goodman 1998) over the same tokens.
//!
//! The highest order counts occurrences, lower orders count distinct left neighbours. Discounts of each order come from
//! its counts of counts, the usual closed form.

use std::collections::{HashMap, HashSet};

use crate::corpus::Sequence;

/// Longest n-gram.
pub const ORDER: usize = 5;

/// A trained n-gram model.
pub struct Ngram {
    vocab: usize,
    /// `orders[n - 1]` holds the n-grams.
    orders: Vec<Order>,
}

/// n-grams of one length, and what their contexts sum up to.
#[derive(Default)]
struct Order {
    counts: HashMap<u64, u32>,
    contexts: HashMap<u64, Sums>,
    discounts: [f64; 3],
}

#[derive(Clone, Copy, Default)]
struct Sums {
    total: u32,
    /// Continuations seen once, twice, and more often.
    kinds: [u32; 3],
}

impl Ngram {
    /// Counts `sequences`, whose tokens are below `vocab`.
    pub fn train(sequences: &[Sequence], vocab: usize) -> Self {
        assert!(
            vocab <= 1 << TOKEN_BITS,
            "a key holds {TOKEN_BITS} bits of a token"
        );
        let mut orders: Vec<Order> = (0..ORDER).map(|_| Order::default()).collect();
        for sequence in sequences {
            for gram in sequence.tokens.windows(ORDER) {
                *orders[ORDER - 1].counts.entry(key(gram)).or_default() += 1;
            }
        }
        for n in (1..ORDER).rev() {
            // Every distinct (n+1)-gram is one left neighbour of the n-gram it ends in. Those at a sequence's start
            // have none, so they are found among the sequences, not among the longer n-grams.
            let mut longer: HashSet<u64> = HashSet::new();
            for sequence in sequences {
                longer.extend(sequence.tokens.windows(n + 1).map(key));
            }
            for gram in longer {
                *orders[n - 1].counts.entry(gram & mask(n)).or_default() += 1;
            }
        }
        orders.iter_mut().for_each(Order::close);
        Self { vocab, orders }
    }

    /// Probability of `token` after `context`, of which the last [`ORDER`]` - 1` tokens matter.
    pub fn probability(&self, context: &[u32], token: u32) -> f64 {
        let mut probability = 1.0 / self.vocab as f64;
        for (length, order) in self.orders.iter().enumerate() {
            let Some(begin) = context.len().checked_sub(length) else {
                break;
            };
            let context = key(&context[begin..]);
            let Some(sums) = order.contexts.get(&context) else {
                break;
            };
            let total = f64::from(sums.total);
            let left: f64 = sums
                .kinds
                .iter()
                .zip(order.discounts)
                .map(|(&n, d)| f64::from(n) * d)
                .sum();
            let count = order
                .counts
                .get(&(context << TOKEN_BITS | u64::from(token)))
                .copied()
                .unwrap_or(0);
            let seen = if count == 0 {
                0.0
            } else {
                f64::from(count) - order.discounts[kind(count)]
            };
            probability = seen / total + left / total * probability;
        }
        probability
    }

    /// Cross-entropy of the answers of `sequences`, in nats per token. The prompts are context.
    pub fn answer_loss(&self, sequences: &[Sequence]) -> f64 {
        let (mut nats, mut tokens) = (0.0, 0usize);
        for sequence in sequences {
            for at in sequence.prompt..sequence.tokens.len() {
                nats -= self.probability(&sequence.tokens[..at], sequence.tokens[at]).ln();
                tokens += 1;
            }
        }
        nats / tokens.max(1) as f64
    }
}

impl Order {
    /// Sums up the counts.
    fn close(&mut self) {
        let mut of_counts = [0f64; 4];
        for (gram, &count) in &self.counts {
            let sums = self.contexts.entry(gram >> TOKEN_BITS).or_default();
            sums.total += count;
            sums.kinds[kind(count)] += 1;
            if count <= 4 {
                of_counts[count as usize - 1] += 1.0;
            }
        }
        let [n1, n2, n3, n4] = of_counts;
        let y = n1 / (n1 + 2.0 * n2);
        let discount = |count: f64, these: f64, next: f64| {
            let d = count - (count + 1.0) * y * next / these;
            // Little text can leave a class empty; then the plain discount has to do.
            if d.is_finite() {
                d.clamp(0.0, count)
            } else {
                0.5 * count
            }
        };
        self.discounts = [
            discount(1.0, n1, n2),
            discount(2.0, n2, n3),
            discount(3.0, n3, n4),
        ];
    }
}

/// Which discount a count of at least one takes.
fn kind(count: u32) -> usize {
    count.min(3) as usize - 1
}

fn key(gram: &[u32]) -> u64 {
    gram.iter()
        .fold(0, |key, &token| key << TOKEN_BITS | u64::from(token))
}

fn mask(n: usize) -> u64 {
    (1 << (n * TOKEN_BITS)) - 1
}

/// Five tokens fit a key.
const TOKEN_BITS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn sequences(count: usize, vocab: u64) -> Vec<Sequence> {
        let mut rng = Rng::new(5, 0);
        let line = |rng: &mut Rng| {
            let mut tokens = vec![1u32];
            for _ in 0..30 {
                // A chain with a strong habit and some noise.
                let next = (tokens[tokens.len() - 1] * 3 + (rng.next_u64() % 2) as u32) % vocab as u32;
                tokens.push(if rng.uniform() < 0.1 {
                    (rng.next_u64() % vocab) as u32
                } else {
                    next
                });
            }
            Sequence { tokens, prompt: 4 }
        };
        (0..count).map(|_| line(&mut rng)).collect()
    }

    #[test]
    fn probabilities_sum_to_one_in_any_context() {
        let model = Ngram::train(&sequences(20, 16), 16);
        for context in [&[][..], &[1], &[1, 3, 10], &[9, 9, 9, 9, 9, 9], &[1, 3, 9, 12, 5]] {
            let sum: f64 = (0..16).map(|token| model.probability(context, token)).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{context:?}: {sum}");
        }
    }

    #[test]
    fn it_learns_a_chain_to_near_its_entropy() {
        let all = sequences(2000, 16);
        let (held_out, train) = all.split_at(100);
        let model = Ngram::train(train, 16);
        // Per token: two likely successors of about 0.456 each, fourteen others of 0.00625.
        let likely: f64 = 0.45 + 0.1 / 16.0;
        let rest: f64 = 0.1 / 16.0;
        let entropy = -2.0 * likely * likely.ln() - 14.0 * rest * rest.ln();
        let loss = model.answer_loss(held_out);
        assert!(
            loss > entropy - 0.05 && loss < entropy + 0.1,
            "{loss} for {entropy}"
        );
    }
}
