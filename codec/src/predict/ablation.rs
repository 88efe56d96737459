//! Which parts of the prediction are at work: all of them, but where their worth is measured.

use super::regime::{EXPERTS, NETWORK, PLAIN, Regime};
use crate::query::Sampling;

/// The parts of the prediction. Both ends of a session have all; `weir-lab bench ablation` takes some away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ablation {
    /// The noise is looked at, and the sampler's parameters.
    pub seed: bool,
    /// Softmaxes of logits and noise: sharpened, or at several weights of the noise.
    pub blends: bool,
    /// The fixed network.
    pub network: bool,
    /// What the network is told of the answer so far.
    pub history: bool,
    /// Weights of the mixture follow what has crossed.
    pub learning: bool,
}

impl Ablation {
    /// What the specification says.
    pub const ALL: Self = Self {
        seed: true,
        blends: true,
        network: true,
        history: true,
        learning: true,
    };

    /// Nothing but q.
    pub const NONE: Self = Self {
        seed: false,
        blends: false,
        network: false,
        history: false,
        learning: false,
    };

    pub(super) fn regime(self, sampling: Option<&Sampling>) -> Regime {
        Regime::of(sampling.filter(|sampling| self.seed || !sampling.is_seeded()))
    }

    /// Weights without the experts that are away; they sum to what they did.
    pub(crate) fn masked(self, mut weights: [f32; EXPERTS]) -> [f32; EXPERTS] {
        if self.network && self.blends {
            return weights;
        }
        let before: f32 = weights.iter().sum();
        let (network, rest) = weights.split_at_mut(NETWORK);
        if !self.network {
            network.fill(0.0);
        }
        if !self.blends {
            rest[..PLAIN - NETWORK].fill(0.0);
        }
        let after: f32 = weights.iter().sum();
        weights.map(|weight| weight * before / after)
    }
}
