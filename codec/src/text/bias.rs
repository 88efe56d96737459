//! Where the language model errs again and again: a correction for each token, alone and after the token before it
//! (SPEC 4.12).

use weir_exact::Token;

use super::ngram::stir;

/// How fast the corrections without and with a token of context follow.
const RATES: [f32; 2] = [0.2, 0.25];
/// Cells of one length of context, as a power of 2. Corrections that share a cell disturb each other a little.
const CELLS: u32 = 19;
/// Tokens that are less likely than this and do not come are left alone.
const LEAST: f32 = 1.0 / 1024.0;

/// Corrections in nats, learned by gradient descent with a rate for each that falls as it is used (AdaGrad).
#[derive(Clone, Debug)]
pub(super) struct Bias {
    /// Hashes of no token and of the last one.
    contexts: [u64; RATES.len()],
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    value: f32,
    /// Sum of squares of the errors.
    energy: f32,
}

impl Bias {
    pub(super) fn new() -> Self {
        Self {
            contexts: [0; RATES.len()],
            cells: vec![Cell::default(); RATES.len() << CELLS],
        }
    }

    /// Sum of the corrections of `token`.
    pub(super) fn of(&self, token: Token) -> f32 {
        let places = (0..)
            .zip(self.contexts)
            .map(|(length, context)| place(length, context, token));
        places.fold(0.0, |sum, place| sum + self.cells[place].value)
    }

    /// Learns that `token` had the probability `p` and came, or did not.
    pub(super) fn learn(&mut self, token: Token, p: f32, came: bool) {
        if p < LEAST && !came {
            return;
        }
        let error = if came { 1.0 - p } else { -p };
        for ((length, context), rate) in (0..).zip(self.contexts).zip(RATES) {
            let cell = &mut self.cells[place(length, context, token)];
            cell.energy += error * error;
            cell.value += rate * error / (1.0 + cell.energy).sqrt();
        }
    }

    /// The text goes on with `token`.
    pub(super) fn follow(&mut self, token: Token) {
        self.contexts[1] = stir(u64::from(token));
    }
}

/// Each length of context has its own cells.
fn place(length: usize, context: u64, token: Token) -> usize {
    length << CELLS | (stir(context ^ u64::from(token)) >> (64 - CELLS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_comes_again_is_corrected_where_it_comes() {
        let mut bias = Bias::new();
        bias.follow(5);
        for _ in 0..50 {
            bias.learn(1, 0.1, true);
            bias.learn(2, 0.5, false);
            bias.learn(3, LEAST / 2.0, false);
        }
        let here = [1, 2, 3].map(|token| bias.of(token));
        assert!(here[0] > 2.0 && here[1] < -1.0 && here[2] == 0.0, "{here:?}");
        bias.follow(6);
        let elsewhere = [1, 2].map(|token| bias.of(token));
        assert!(elsewhere[0] > 0.5 && elsewhere[0] < here[0] && elsewhere[1] > here[1]);
    }
}
