//! How well the weak model has foretold an answer so far: what the network knows of the past (SPEC 4.6).

/// Running averages over the tokens of one answer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct History {
    /// How often the best entrant won, over some ten tokens.
    agreed: f32,
    /// The same over some thirty.
    long_agreed: f32,
    /// Surprise in nats under the simplest prediction, over some thirty.
    surprise: f32,
    /// Whether the best entrant won the last time: 1 or 0.
    last: f32,
    /// Number of tokens, as far as it matters.
    seen: f32,
}

impl Default for History {
    fn default() -> Self {
        Self {
            agreed: 0.75,
            long_agreed: 0.75,
            surprise: 1.0,
            last: 1.0,
            seen: 0.0,
        }
    }
}

/// Numbers of [`History::features`].
pub(super) const FEATURES: usize = 5;

impl History {
    /// Takes a token: whether the best entrant won, and its surprise in nats.
    pub fn follow(&mut self, best_won: bool, surprise: f32) {
        let won = if best_won { 1.0 } else { 0.0 };
        let surprise = if surprise < 12.0 { surprise } else { 12.0 };
        self.agreed += 0.1 * (won - self.agreed);
        self.long_agreed += 0.03 * (won - self.long_agreed);
        self.surprise += 0.03 * (surprise - self.surprise);
        self.last = won;
        self.seen = if self.seen < 4096.0 {
            self.seen + 1.0
        } else {
            4096.0
        };
    }

    /// What the network is told.
    pub(super) fn features(&self) -> [f32; FEATURES] {
        let age = 1.0 / (1.0 + 0.125 * self.seen);
        [self.agreed, self.long_agreed, self.surprise, self.last, age]
    }
}
