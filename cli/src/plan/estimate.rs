//! How long it takes to carry the weights out: arithmetic, and the tests of the estimates that Weir began with.

/// What is known about a model and its traffic.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Situation {
    /// Bytes of the weights.
    pub(super) weights: f64,
    /// Tokens that the model will ever say, if that is known.
    pub(super) tokens: Option<f64>,
    /// Bits that leave for a token, headers left out.
    pub(super) bits_per_token: f64,
    /// What headers add, as a part of it.
    pub(super) overhead: f64,
    /// Bytes that leave a day because of honest traffic, if that is known.
    pub(super) traffic: Option<f64>,
    /// Bits per second that the line can carry, if that is a limit.
    pub(super) line: Option<f64>,
    /// Part of what leaves that an attacker can use.
    pub(super) share: f64,
    /// How often smaller the attacker makes the weights.
    pub(super) compression: f64,
    /// Bytes a day that a machine sends twice because it is set back to a snapshot: no cap but the tap's sees them.
    pub(super) set_back: f64,
}

/// What an attacker gets out.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Outflow {
    /// Bytes a day in all.
    pub(super) bytes_per_day: f64,
    /// Days until the weights are out; infinite if nothing leaves.
    pub(super) days: f64,
}

impl Situation {
    /// Bytes that leave in the model's life.
    pub(super) fn upload(&self) -> Option<f64> {
        self.tokens.map(|tokens| tokens * self.bytes_per_token())
    }

    /// Those over the weights' size.
    pub(super) fn uploads_over_weights(&self) -> Option<f64> {
        self.upload().map(|upload| upload / self.weights)
    }

    /// Bytes of a token, headers included.
    pub(super) fn bytes_per_token(&self) -> f64 {
        self.bits_per_token / 8.0 * (1.0 + self.overhead)
    }

    /// What leaves without a cap: the traffic, as far as the line carries it; where no traffic is known, all that it carries.
    pub(super) fn now(&self) -> Option<Outflow> {
        let line = self.line.map(|bits| bits / 8.0 * SECONDS_A_DAY);
        let bytes_per_day = match (self.traffic, line) {
            (Some(traffic), Some(line)) => traffic.min(line),
            (one, other) => one.or(other)?,
        };
        Some(self.outflow(bytes_per_day))
    }

    /// What can leave under a cap: whatever the traffic is, an attacker may use the cap up.
    pub(super) fn under(&self, cap: f64) -> Outflow {
        let line = self.line.map_or(f64::INFINITY, |bits| bits / 8.0 * SECONDS_A_DAY);
        self.outflow((cap + self.set_back).min(line))
    }

    fn outflow(&self, bytes_per_day: f64) -> Outflow {
        let of_weights = bytes_per_day * self.share * self.compression;
        Outflow {
            bytes_per_day,
            days: self.weights / of_weights,
        }
    }
}

const SECONDS_A_DAY: f64 = 86_400.0;
/// Of the Gregorian calendar, on average.
pub(super) const DAYS_A_MONTH: f64 = DAYS_A_YEAR / 12.0;
pub(super) const DAYS_A_YEAR: f64 = 365.2425;

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(weights: f64) -> Situation {
        Situation {
            weights,
            tokens: None,
            bits_per_token: 0.1,
            overhead: 0.0,
            traffic: None,
            line: None,
            share: 1.0,
            compression: 1.0,
            set_back: 0.0,
        }
    }

    fn near(is: f64, expected: f64) {
        assert!((is / expected - 1.0).abs() < 0.005, "{is}, not {expected}");
    }

    /// A gate's machine that is set back every day adds a block a day to whatever the cap is.
    #[test]
    fn a_machine_that_is_set_back_sends_a_block_twice() {
        let daily = Situation {
            set_back: 131_072.0,
            ..situation(1e12)
        };
        near(daily.under(1e6).days, 1e12 / 1_131_072.0);
        near(daily.under(0.0).days, 1e12 / 131_072.0);
    }

    /// All that mankind reads: 8e9 books of 1e5 tokens, at a tenth of a bit, are 1e13 bytes; 1e14 bytes of weights are ten
    /// times that.
    #[test]
    fn a_book_for_everybody_is_a_tenth_of_the_weights() {
        let books = Situation {
            tokens: Some(8e9 * 1e5),
            ..situation(1e14)
        };
        near(books.upload().unwrap(), 1e13);
        near(books.uploads_over_weights().unwrap(), 0.1);
    }

    /// 10 million sessions a month of 128 bytes against weights of 0.64 TiB: 550 months. A billion sessions: 5.5.
    #[test]
    fn sessions_of_128_bytes_take_550_months() {
        let months = |sessions: f64| {
            let sessions = Situation {
                traffic: Some(sessions * 128.0 / DAYS_A_MONTH),
                ..situation(0.64 * 1_099_511_627_776.0)
            };
            sessions.now().unwrap().days / DAYS_A_MONTH
        };
        near(months(1e7), 550.0);
        near(months(1e9), 5.5);
    }

    /// Chinchilla: 20 training tokens per parameter. A model that says as many as it was trained on uploads a fixed part of
    /// its weights, whatever its size: at 2 bytes per parameter and b bits per token 20 b / 16 of them.
    #[test]
    fn uploads_over_weights_do_not_depend_on_the_size_of_the_model() {
        for (parameters, tokens) in [(1e11, 2e12), (1e12, 2e13), (1e13, 2e14)] {
            near(tokens, 20.0 * parameters);
            let ratio = |bits_per_token| {
                let model = Situation {
                    tokens: Some(tokens),
                    bits_per_token,
                    ..situation(2.0 * parameters)
                };
                model.uploads_over_weights().unwrap()
            };
            near(ratio(0.1), 0.125);
            near(ratio(0.8), 1.0);
            // As text, 4 bytes a token: 40 times the weights.
            near(ratio(32.0), 40.0);
        }
    }

    /// 2e12 tokens in half a year, ten times as many with each generation, to 2e14: bytes in half a year, and days to carry
    /// out a model of a twentieth of the tokens as parameters.
    #[test]
    fn generations_grow_tenfold_and_take_as_long() {
        let half_a_year = 6.0 * DAYS_A_MONTH;
        for (generation, tokens) in [2e12, 2e13, 2e14].into_iter().enumerate() {
            let model = Situation {
                tokens: Some(tokens),
                traffic: Some(tokens * 0.1 / 8.0 / half_a_year),
                ..situation(2.0 * tokens / 20.0)
            };
            near(model.upload().unwrap(), 2.5e10 * 10_f64.powi(generation as i32));
            near(model.now().unwrap().days, 8.0 * half_a_year);
        }
    }

    #[test]
    fn share_compression_overhead_line_and_cap_each_count() {
        let plain = Situation {
            traffic: Some(1e6),
            line: Some(8e6),
            ..situation(1e9)
        };
        let days = |situation: Situation| situation.now().unwrap().days;
        near(days(plain), 1e3);
        near(days(Situation { share: 0.1, ..plain }), 1e4);
        near(
            days(Situation {
                compression: 100.0,
                ..plain
            }),
            10.0,
        );
        near(plain.under(1e5).days, 1e4);
        // The line carries 86.4 GB a day, and no cap makes it faster.
        near(plain.under(1e15).bytes_per_day, 8.64e10);
        near(
            days(Situation {
                line: Some(8.0),
                ..plain
            }),
            1e9 / 86_400.0,
        );
        near(
            days(Situation {
                traffic: None,
                ..plain
            }),
            1e9 / 8.64e10,
        );
        near(
            Situation {
                overhead: 1.5,
                ..plain
            }
            .bytes_per_token(),
            0.1 / 8.0 * 2.5,
        );
        assert_eq!(plain.under(0.0).days, f64::INFINITY);
        assert_eq!(situation(1.0).now(), None);
    }
}
