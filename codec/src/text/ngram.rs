//! What followed the last tokens wherever they stood before: counts of followers by the length of the context (SPEC 4.12).
//!
//! The text itself is kept, and for each length a chain from every position back to the last one with the same context. So
//! the counts are exact, and a long repetition is found however far back it is: the longest context is a match model.

use weir_exact::Token;

/// Lengths of the contexts.
pub(super) const ORDERS: [usize; 5] = [1, 2, 3, 5, 8];
/// Tokens that are remembered.
const LOSSY_GREEDY: usize = 1 << 20;
/// Places that a chain is looked for at most.
const DEPTH: usize = 64;
/// Chains of one length, as a power of 2; contexts that share one are told apart by their tokens.
const CHAINS: u32 = 18;

/// Tokens that followed one context, with their counts, the last one first.
#[derive(Clone, Debug, Default)]
pub(super) struct Followers {
    pub(super) counts: Vec<(Token, u32)>,
    /// Sum of the counts.
    pub(super) total: u32,
}

/// The last [`LOSSY_GREEDY`] tokens and the chains of their contexts.
#[derive(Clone, Debug)]
pub(super) struct Ngrams {
    /// Token `p` of the text is at `p % LOSSY_GREEDY`.
    tokens: Vec<Token>,
    seen: u64,
    chains: [Chain; ORDERS.len()],
    followers: [Followers; ORDERS.len()],
}

/// Positions whose tokens came after the same context.
#[derive(Clone, Debug)]
struct Chain {
    order: usize,
    /// The last position of each chain; 0 for none, as nothing stands before the first token.
    heads: Vec<u64>,
    /// From position `p`, at `p % LOSSY_GREEDY`, back to the one before it in its chain; 0 for none.
    back: Vec<u32>,
}

impl Ngrams {
    pub(super) fn new() -> Self {
        Self {
            tokens: Vec::new(),
            seen: 0,
            chains: ORDERS.map(|order| Chain {
                order,
                heads: vec![0; 1 << CHAINS],
                back: Vec::new(),
            }),
            followers: Default::default(),
        }
    }

    /// Counts what followed the contexts that the text ends with.
    pub(super) fn count(&mut self) {
        for (chain, followers) in self.chains.iter().zip(&mut self.followers) {
            followers.counts.clear();
            followers.total = 0;
            let Some(head) = chain.head(&self.tokens, self.seen) else {
                continue;
            };
            let mut at = chain.heads[head];
            for _ in 0..DEPTH {
                // The whole context must still be there.
                if at == 0 || self.seen - at > (LOSSY_GREEDY - chain.order) as u64 {
                    break;
                }
                if (1..=chain.order as u64)
                    .all(|k| token(&self.tokens, at - k) == token(&self.tokens, self.seen - k))
                {
                    followers.add(token(&self.tokens, at));
                }
                match chain.back[at as usize % LOSSY_GREEDY] {
                    0 => break,
                    back => at -= u64::from(back),
                }
            }
        }
    }

    /// What was counted last, for each of [`ORDERS`].
    pub(super) fn followers(&self) -> &[Followers; ORDERS.len()] {
        &self.followers
    }

    /// The text goes on with `token`.
    pub(super) fn push(&mut self, token: Token) {
        for chain in &mut self.chains {
            let head = chain.head(&self.tokens, self.seen);
            let back = head.map_or(0, |head| {
                let last = std::mem::replace(&mut chain.heads[head], self.seen);
                let back = if last == 0 { 0 } else { self.seen - last };
                u32::try_from(back)
                    .ok()
                    .filter(|&back| back < LOSSY_GREEDY as u32)
                    .unwrap_or(0)
            });
            put(&mut chain.back, self.seen, back);
        }
        put(&mut self.tokens, self.seen, token);
        self.seen += 1;
    }
}

impl Chain {
    /// The chain of the context that ends before position `seen`, if there are so many tokens.
    fn head(&self, tokens: &[Token], seen: u64) -> Option<usize> {
        let context = (1..=self.order as u64).map(|k| seen.checked_sub(k));
        let hash = context
            .into_iter()
            .try_fold(0, |hash, at| Some(stir(hash ^ u64::from(token(tokens, at?)))));
        hash.map(|hash: u64| (hash >> (64 - CHAINS)) as usize)
    }
}

impl Followers {
    fn add(&mut self, token: Token) {
        match self.counts.iter_mut().find(|(known, _)| *known == token) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((token, 1)),
        }
        self.total += 1;
    }
}

/// Spreads what was mixed in over the upper bits.
pub(super) fn stir(x: u64) -> u64 {
    (x ^ x >> 29).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn token(tokens: &[Token], at: u64) -> Token {
    tokens[at as usize % LOSSY_GREEDY]
}

fn put<T>(ring: &mut Vec<T>, at: u64, value: T) {
    match ring.get_mut(at as usize % LOSSY_GREEDY) {
        Some(place) => *place = value,
        None => ring.push(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_a_plain_search() {
        let text: Vec<Token> = (0..3000u64)
            .map(|i| (stir(i / 3 + i % 7) >> 62) as Token)
            .collect();
        let mut ngrams = Ngrams::new();
        for (at, &token) in text.iter().enumerate() {
            let past = &text[..at];
            ngrams.count();
            for (followers, order) in ngrams.followers().iter().zip(ORDERS) {
                let mut expected = Followers::default();
                let context = past.len().checked_sub(order).map(|from| &past[from..]);
                let ends = (order..at)
                    .rev()
                    .filter(|&end| Some(&past[end - order..end]) == context);
                ends.take(DEPTH).for_each(|end| expected.add(past[end]));
                assert_eq!(
                    (&followers.counts, followers.total),
                    (&expected.counts, expected.total)
                );
            }
            ngrams.push(token);
        }
    }

    #[test]
    fn what_is_too_long_ago_is_forgotten() {
        let mut ngrams = Ngrams::new();
        [1, 2, 3, 9].into_iter().for_each(|token| ngrams.push(token));
        (0..LOSSY_GREEDY - 20).for_each(|i| ngrams.push(100 + i as Token % 50));
        [1, 2, 3].into_iter().for_each(|token| ngrams.push(token));
        ngrams.count();
        assert_eq!(ngrams.followers()[2].counts, [(9, 1)]);
        (0..20).for_each(|i| ngrams.push(100 + i));
        [1, 2, 3].into_iter().for_each(|token| ngrams.push(token));
        ngrams.count();
        assert_eq!(ngrams.followers()[2].counts, [(100, 1)]);
        assert!(ngrams.tokens.len() == LOSSY_GREEDY && ngrams.chains[0].back.len() == LOSSY_GREEDY);
    }
}
