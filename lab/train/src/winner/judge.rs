//! The network with a gradient, and what a token costs under it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use candle_core::{D, Device, Tensor, Var};
use weir_codec::predict::network::{HIDDEN, SIZE, layout};
use weir_codec::predict::{ENTRANT, ENTRANTS, Features, GLOBAL};

use crate::rng::Rng;

/// A token that won, or that none of the candidates did, as the network sees it.
#[derive(Clone, Debug)]
pub(super) struct Example {
    /// One row for each entrant.
    entrants: Vec<[f32; ENTRANT]>,
    shared: [f32; GLOBAL],
    /// The number that the escape goes by.
    outside: f32,
    /// 1 if the winner is no candidate, else 0.
    escaped: f32,
    /// Place of the winner among the entrants, or [`ENTRANTS`].
    winner: u32,
    /// Log of the scores' exps of all other candidates.
    others: f32,
    /// Log probability of the winner among those, if it is one.
    within: f32,
    /// Probability of the winner under the experts beside the network.
    beside: f32,
    /// Probability of the winner under the weak model alone.
    plain: f32,
}

impl Example {
    pub(super) fn new(
        contest: &Features,
        (winner, entrant): (Option<usize>, Option<usize>),
        beside: f32,
        plain: f32,
    ) -> Self {
        let columns = contest.columns();
        let row = |row: usize| std::array::from_fn(|number| columns[number][row]);
        let behind = contest.behind();
        let sum: f32 = behind.iter().map(|x| x.exp()).sum();
        let entered: f32 = contest.entrants().iter().map(|&i| behind[i as usize].exp()).sum();
        let others = (sum - entered).max(1e-12).ln();
        Self {
            entrants: (0..contest.entrants().len()).map(row).collect(),
            shared: *contest.shared(),
            outside: contest.outside(),
            escaped: if winner.is_some() { 0.0 } else { 1.0 },
            winner: entrant.unwrap_or(ENTRANTS) as u32,
            others,
            within: match (winner, entrant) {
                (Some(winner), None) => (behind[winner] - others).min(0.0),
                _ => 0.0,
            },
            beside: beside.max(1e-9),
            plain: plain.max(1e-9),
        }
    }

    /// Nats under the weak model alone.
    pub(super) fn plain(&self) -> f64 {
        -f64::from(self.plain).ln()
    }
}

/// The network's weights.
pub(super) struct Judge {
    vars: BTreeMap<String, Var>,
}

/// What the other experts count for: the network need only know what they do not.
const BESIDE: f64 = 0.35;

impl Judge {
    /// Random hidden layers whose output counts for nothing yet: each entrant wins in proportion to the exp of its score.
    pub(super) fn new(rng: &mut Rng) -> Result<Self> {
        let mut normal = |rows: usize, columns: usize, scale: f32| {
            let numbers = (0..rows * columns).map(|_| scale * rng.normal()).collect();
            Var::from_vec(numbers, (rows, columns), &Device::Cpu)
        };
        let zeros = |len: usize| Var::zeros(len, candle_core::DType::F32, &Device::Cpu);
        let slopes = {
            let mut slopes = vec![0.0f32; 2 * (1 + GLOBAL)];
            // The first number of an entrant is a quarter of its score.
            slopes[0] = 4.0;
            Var::from_vec(slopes, (2, 1 + GLOBAL), &Device::Cpu)?
        };
        let vars = [
            ("first", normal(HIDDEN, ENTRANT, 0.4)?),
            ("shared", normal(HIDDEN, GLOBAL, 0.2)?),
            ("first_bias", zeros(HIDDEN)?),
            ("second", normal(HIDDEN, HIDDEN, 1.0 / (HIDDEN as f32).sqrt())?),
            ("second_bias", zeros(HIDDEN)?),
            ("out", zeros(HIDDEN)?),
            ("slopes", slopes),
            ("others", zeros(1)?),
            ("escape", {
                let mut escape = vec![0.0f32; 1 + GLOBAL + 1];
                // The number is a quarter of a log of odds.
                escape[1 + GLOBAL] = 4.0;
                Var::from_vec(escape, (1, 1 + GLOBAL + 1), &Device::Cpu)?
            }),
        ];
        Ok(Self {
            vars: vars.map(|(name, var)| (name.to_owned(), var)).into(),
        })
    }

    pub(super) fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// The weights in the order of the codec's file.
    pub(super) fn weights(&self) -> Result<Vec<f32>> {
        let mut weights = vec![0.0; SIZE];
        for (name, at) in [
            ("first", layout::FIRST),
            ("shared", layout::SHARED),
            ("first_bias", layout::FIRST_BIAS),
            ("second", layout::SECOND),
            ("second_bias", layout::SECOND_BIAS),
            ("out", layout::OUT),
            ("slopes", layout::SLOPES),
            ("others", layout::OTHERS),
            ("escape", layout::ESCAPE),
        ] {
            let part: Vec<f32> = self.var(name)?.flatten_all()?.to_vec1()?;
            weights[at..at + part.len()].copy_from_slice(&part);
        }
        Ok(weights)
    }

    /// Mean nats of a token.
    pub(super) fn loss(&self, batch: &[Example]) -> Result<Tensor> {
        let (n, cpu) = (batch.len(), &Device::Cpu);
        let mut entrants = vec![0.0f32; n * ENTRANTS * ENTRANT];
        // Rows that nobody entered cannot win.
        let mut absent = vec![-1e4f32; n * ENTRANTS];
        for (index, example) in batch.iter().enumerate() {
            for (row, numbers) in example.entrants.iter().enumerate() {
                let at = index * ENTRANTS + row;
                absent[at] = 0.0;
                entrants[at * ENTRANT..][..ENTRANT].copy_from_slice(numbers);
            }
        }
        let entrants = Tensor::from_vec(entrants, (n * ENTRANTS, ENTRANT), cpu)?;
        let absent = Tensor::from_vec(absent, (n, ENTRANTS), cpu)?;
        let shared: Vec<f32> = batch.iter().flat_map(|x| x.shared).collect();
        let shared = Tensor::from_vec(shared, (n, GLOBAL), cpu)?;
        let column = |of: fn(&Example) -> f32| {
            Tensor::from_vec(batch.iter().map(of).collect::<Vec<f32>>(), (n, 1), cpu)
        };

        let bias = shared
            .matmul(&self.var("shared")?.t()?)?
            .broadcast_add(self.var("first_bias")?)?;
        let first = entrants
            .matmul(&self.var("first")?.t()?)?
            .reshape((n, ENTRANTS, HIDDEN))?
            .broadcast_add(&bias.unsqueeze(1)?)?
            .relu()?
            .reshape((n * ENTRANTS, HIDDEN))?;
        let second = first
            .matmul(&self.var("second")?.t()?)?
            .broadcast_add(self.var("second_bias")?)?
            .relu()?;
        let out = second
            .matmul(&self.var("out")?.unsqueeze(1)?)?
            .reshape((n, ENTRANTS))?;
        let slopes = self.var("slopes")?;
        let mut score = (out + absent)?;
        for k in 0..2 {
            let slope = shared
                .matmul(&slopes.narrow(0, k, 1)?.narrow(1, 1, GLOBAL)?.t()?)?
                .broadcast_add(&slopes.narrow(0, k, 1)?.narrow(1, 0, 1)?)?;
            let number = entrants.narrow(1, k, 1)?.reshape((n, ENTRANTS))?;
            score = (score + number.broadcast_mul(&slope)?)?;
        }
        let others = column(|x| x.others)?.broadcast_add(self.var("others")?)?;
        let log = candle_nn::ops::log_softmax(&Tensor::cat(&[score, others], 1)?, D::Minus1)?;
        let winner = Tensor::from_vec(batch.iter().map(|x| x.winner).collect::<Vec<u32>>(), (n, 1), cpu)?;
        let won = (log.gather(&winner, 1)? + column(|x| x.within)?)?.exp()?;
        let mixed = ((won * (1.0 - BESIDE))? + (column(|x| x.beside)? * BESIDE)?)?;
        let chosen = mixed.log()?.neg()?;

        let escape = self.var("escape")?;
        let logit = shared
            .matmul(&escape.narrow(1, 1, GLOBAL)?.t()?)?
            .broadcast_add(&escape.narrow(1, 0, 1)?)?;
        let logit = (logit + column(|x| x.outside)?.broadcast_mul(&escape.narrow(1, 1 + GLOBAL, 1)?)?)?;
        // Cross entropy: softplus of the logit, or of its negative where the escape came.
        let against = (logit.clamp(-20.0, 20.0)? * column(|x| 1.0 - 2.0 * x.escaped)?)?;
        let escape = (against.exp()? + 1.0)?.log()?;
        Ok((escape + (chosen * column(|x| 1.0 - x.escaped)?)?)?.mean_all()?)
    }

    fn var(&self, name: &str) -> Result<&Tensor> {
        Ok(self
            .vars
            .get(name)
            .with_context(|| format!("no weights {name}"))?
            .as_tensor())
    }
}
