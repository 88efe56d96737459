//! Code lengths of the same tokens under two codes, with the standard error of their difference.
//!
//! Tokens of one answer are not independent, so an answer is the unit of sampling (a *cluster*): with n_c tokens, p_c bits of
//! plain coding and b_c bits of the other in answer c of C, and N, P, B their sums, the difference is d = (B - P) / N bits a
//! token, and its standard error is sqrt(C / (C - 1) * sum over c of (b_c - p_c - d n_c)^2) / N, the usual linearised
//! variance of a ratio of sums. The ratio r = B / P likewise: sqrt(C / (C - 1) * sum of (b_c - r p_c)^2) / P.

/// Sums of one answer.
#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    tokens: f64,
    plain: f64,
    bits: f64,
}

/// Bits of all answers under plain coding and under another code.
#[derive(Clone, Debug, Default)]
pub(super) struct Paired {
    answers: Vec<Answer>,
}

impl Paired {
    /// Adds a number of `tokens` of answer number `answer`.
    pub(super) fn add(&mut self, answer: usize, tokens: u32, plain: f64, bits: f64) {
        if self.answers.len() <= answer {
            self.answers.resize(answer + 1, Answer::default());
        }
        let sums = &mut self.answers[answer];
        sums.tokens += f64::from(tokens);
        sums.plain += plain;
        sums.bits += bits;
    }

    /// Tokens, bits of plain coding and of the other of answer number `answer`.
    pub(super) fn of(&self, answer: usize) -> (f64, f64, f64) {
        let Answer { tokens, plain, bits } = self.answers.get(answer).copied().unwrap_or_default();
        (tokens, plain, bits)
    }

    /// Plain coding beside itself.
    pub(super) fn plain(&self) -> Self {
        let plain = |answer: &Answer| Answer {
            bits: answer.plain,
            ..*answer
        };
        let answers = self.answers.iter().map(plain).collect();
        Self { answers }
    }

    pub(super) fn tokens(&self) -> f64 {
        self.sum(|answer| answer.tokens)
    }

    pub(super) fn plain_per_token(&self) -> f64 {
        self.sum(|answer| answer.plain) / self.tokens()
    }

    pub(super) fn bits_per_token(&self) -> f64 {
        self.sum(|answer| answer.bits) / self.tokens()
    }

    /// Bits of the code over bits of plain coding.
    pub(super) fn ratio(&self) -> f64 {
        self.sum(|answer| answer.bits) / self.sum(|answer| answer.plain)
    }

    /// Standard error of the difference to plain coding, in bits a token; NaN with fewer than two answers.
    pub(super) fn stderr(&self) -> f64 {
        let d = self.bits_per_token() - self.plain_per_token();
        self.error(|answer| answer.bits - answer.plain - d * answer.tokens) / self.tokens()
    }

    /// Standard error of the ratio.
    pub(super) fn ratio_stderr(&self) -> f64 {
        let r = self.ratio();
        self.error(|answer| answer.bits - r * answer.plain) / self.sum(|answer| answer.plain)
    }

    fn sum(&self, of: impl Fn(&Answer) -> f64) -> f64 {
        self.answers.iter().map(of).sum()
    }

    fn error(&self, residual: impl Fn(&Answer) -> f64) -> f64 {
        let there = self.answers.iter().filter(|answer| answer.tokens > 0.0);
        error_of_sum(there.map(residual))
    }
}

/// Standard error of a sum over answers (clusters) whose residuals, one an answer, sum to zero; NaN with fewer than two.
pub(super) fn error_of_sum(residuals: impl Iterator<Item = f64>) -> f64 {
    let (count, squares) = residuals.fold((0.0, 0.0), |(count, squares), residual| {
        (count + 1.0, squares + residual * residual)
    });
    if count < 2.0 {
        return f64::NAN;
    }
    (count / (count - 1.0) * squares).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With answers of one length it is the standard error of a mean that every textbook has.
    #[test]
    fn equal_answers_give_the_standard_error_of_the_mean() {
        let mut paired = Paired::default();
        for (answer, difference) in [-1.0, -2.0, -3.0, -6.0].into_iter().enumerate() {
            // In two parts: the cluster is the answer.
            paired.add(answer, 3, 8.0, 8.0 + difference / 2.0);
            paired.add(answer, 7, 12.0, 12.0 + difference / 2.0);
        }
        assert_eq!(paired.tokens(), 40.0);
        assert_eq!(paired.of(3), (10.0, 20.0, 14.0));
        assert_eq!(paired.plain_per_token(), 2.0);
        assert!((paired.bits_per_token() - 1.7).abs() < 1e-12);
        // Deviations from the mean of -3: 2, 1, 0, -3; variance 14 / 3 of an answer, in bits of 10 tokens.
        let expected = (14.0f64 / 3.0 / 4.0).sqrt() / 10.0;
        assert!((paired.stderr() - expected).abs() < 1e-12);
        assert!((paired.ratio() - 0.85).abs() < 1e-12);
        assert!((paired.ratio_stderr() - expected / 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_same_code_twice_does_not_differ() {
        let mut paired = Paired::default();
        for answer in [0, 3, 4] {
            paired.add(answer, 10, answer as f64, answer as f64);
        }
        assert_eq!(paired.stderr(), 0.0);
        assert_eq!((paired.ratio(), paired.ratio_stderr()), (1.0, 0.0));
        let mut one = Paired::default();
        one.add(0, 5, 3.0, 2.0);
        assert_eq!(one.plain().bits_per_token(), one.plain_per_token());
        assert!(one.stderr().is_nan(), "one answer says nothing about others");
    }
}
