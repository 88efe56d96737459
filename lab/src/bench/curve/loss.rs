//! What a deviation costs under the strong model; docs/research.md, "Lossy by choice", has the definitions.

use weir_codec::Sampling;
use weir_inner::strong::Choice;

/// The loss at one position, in nats.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Loss {
    /// How much less likely the strong model finds what is said than what it would have said itself, in expectation over the
    /// noise: `E_p[log p] - E_m[log p]`, log p at temperature 1.
    pub(super) nats: f64,
    /// `KL(m || p)` at the query's temperature; 0 at temperature 0, where it would be infinite.
    pub(super) divergence: f64,
}

impl Loss {
    /// Of a token that was chosen without filters.
    pub(super) fn of(choice: &Choice<'_>, sampling: &Sampling) -> Self {
        let Some(weak) = choice.weak else {
            return Self::default();
        };
        let l = |i: usize| f64::from(choice.strong[i]);
        let n = choice.strong.len();
        let max = (0..n).map(l).fold(f64::NEG_INFINITY, f64::max);
        if !sampling.is_seeded() {
            let divergence = 0.0;
            let nats = max - l(choice.token as usize);
            return Self { nats, divergence };
        }
        let (tau, scale) = (f64::from(sampling.tau), 1.0 / f64::from(sampling.temperature));
        let b = |i: usize| tau * l(i) + (1.0 - tau) * f64::from(weak[i]);
        let best = (0..n).map(b).fold(f64::NEG_INFINITY, f64::max);
        // Sums of weights, of weights times logits, and of weights times the difference of scores.
        let (mut p, mut p_l, mut m, mut m_l, mut m_d) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for i in 0..n {
            let (own, mixed) = (l(i) - max, b(i) - best);
            let (of_p, of_m) = ((own * scale).exp(), (mixed * scale).exp());
            p += of_p;
            p_l += of_p * own;
            m += of_m;
            m_l += of_m * own;
            m_d += of_m * (mixed - own) * scale;
        }
        Self {
            nats: p_l / p - m_l / m,
            divergence: m_d / m - m.ln() + p.ln(),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_inner::strong::Handle;

    use super::*;

    fn loss(strong: &[f32], weak: &[f32], token: u32, tau: f32, temperature: f32) -> Loss {
        let choice = Choice {
            query: Handle(0),
            token,
            strong,
            weak: Some(weak),
        };
        let sampling = Sampling {
            tau,
            ..Sampling::at(temperature)
        };
        Loss::of(&choice, &sampling)
    }

    /// Probabilities 0.5, 0.3, 0.2 and 0.2, 0.3, 0.5, by hand; a constant on the logits changes nothing.
    #[test]
    fn losses_are_by_the_book() {
        let logits = |p: [f32; 3]| p.map(|p| p.ln() + 3.0);
        let (p, q) = (logits([0.5, 0.3, 0.2]), logits([0.2, 0.3, 0.5]));
        let greedy = loss(&p, &q, 2, 0.3, 0.0);
        assert!((greedy.nats - (0.5f64 / 0.2).ln()).abs() < 1e-6);
        assert_eq!(loss(&p, &q, 0, 0.3, 0.0).nats, 0.0);
        // With tau next to nothing the blend is q.
        let drawn = loss(&p, &q, 0, 1.0 / 1024.0, 1.0);
        let (p, q) = ([0.5f64, 0.3, 0.2], [0.2f64, 0.3, 0.5]);
        let nats: f64 = p.iter().zip(q).map(|(p, q)| (p - q) * p.ln()).sum();
        let divergence: f64 = p.iter().zip(q).map(|(p, q)| q * (q / p).ln()).sum();
        assert!((drawn.nats - nats).abs() < 2e-3, "{drawn:?} {nats}");
        assert!(
            (drawn.divergence - divergence).abs() < 2e-3,
            "{drawn:?} {divergence}"
        );
    }

    #[test]
    fn a_blend_with_itself_costs_nothing() {
        let row = [0.3, -2.0, 1.5, 0.0];
        let drawn = loss(&row, &row, 1, 0.2, 0.7);
        assert!(
            drawn.nats.abs() < 1e-12 && drawn.divergence.abs() < 1e-12,
            "{drawn:?}"
        );
    }
}
