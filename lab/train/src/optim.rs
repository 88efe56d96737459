//! AdamW with gradient clipping, and the learning-rate schedule.
//!
//! candle-nn's AdamW keeps its moments private, so it cannot be resumed; this one writes them into the checkpoint.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};

/// A gradient by variable name.
pub type Gradients = BTreeMap<String, Vec<f32>>;

/// The gradient of `loss` times `share`. A variable without one is an error: it would never learn.
pub fn gradients(vars: &BTreeMap<String, Var>, loss: &Tensor, share: f64) -> Result<Gradients> {
    let store = (loss * share)?.backward()?;
    let mut gradients = Gradients::new();
    for (name, var) in vars {
        let gradient = store
            .get(var)
            .with_context(|| format!("no gradient for {name}"))?;
        gradients.insert(name.clone(), gradient.flatten_all()?.to_vec1()?);
    }
    Ok(gradients)
}

/// First and second moments of every variable, and the number of steps taken.
pub struct AdamW {
    moments: BTreeMap<String, (Vec<f32>, Vec<f32>)>,
    step: u32,
}

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.98;
const EPSILON: f32 = 1e-8;
/// Applied to matrices only: pulling a norm's weight to zero helps nobody.
const WEIGHT_DECAY: f32 = 0.1;
/// Longest gradient, over all variables together.
const CLIP: f32 = 1.0;

impl AdamW {
    /// Zero moments for `vars`.
    pub fn new(vars: &BTreeMap<String, Var>) -> Self {
        let zeros = |var: &Var| (vec![0.0; var.elem_count()], vec![0.0; var.elem_count()]);
        Self {
            moments: vars
                .iter()
                .map(|(name, var)| (name.clone(), zeros(var)))
                .collect(),
            step: 0,
        }
    }

    /// Steps taken.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// One update of `vars` at learning rate `rate`. Returns the gradient's length before clipping.
    pub fn update(&mut self, vars: &BTreeMap<String, Var>, gradients: &Gradients, rate: f32) -> Result<f32> {
        self.step += 1;
        let square: f64 = gradients.values().flatten().map(|g| f64::from(g * g)).sum();
        let length = square.sqrt() as f32;
        let scale = if length > CLIP { CLIP / length } else { 1.0 };
        let correct1 = 1.0 - BETA1.powi(self.step as i32);
        let correct2 = 1.0 - BETA2.powi(self.step as i32);
        for (name, var) in vars {
            let (first, second) = self
                .moments
                .get_mut(name)
                .with_context(|| format!("no moments for {name}"))?;
            let decay = if var.rank() > 1 {
                1.0 - rate * WEIGHT_DECAY
            } else {
                1.0
            };
            let mut weights = var.flatten_all()?.to_vec1::<f32>()?;
            for (((w, g), m), v) in weights.iter_mut().zip(&gradients[name]).zip(first).zip(second) {
                let g = g * scale;
                *m = BETA1 * *m + (1.0 - BETA1) * g;
                *v = BETA2 * *v + (1.0 - BETA2) * g * g;
                *w = *w * decay - rate * (*m / correct1) / ((*v / correct2).sqrt() + EPSILON);
            }
            var.set(&Tensor::from_vec(weights, var.dims(), &Device::Cpu)?)?;
        }
        Ok(length)
    }

    /// Adds the moments to a checkpoint.
    pub fn export(&self, vars: &BTreeMap<String, Var>, tensors: &mut BTreeMap<String, Tensor>) -> Result<()> {
        for (name, (first, second)) in &self.moments {
            let dims = vars[name].dims();
            tensors.insert(
                format!("first.{name}"),
                Tensor::from_slice(first, dims, &Device::Cpu)?,
            );
            tensors.insert(
                format!("second.{name}"),
                Tensor::from_slice(second, dims, &Device::Cpu)?,
            );
        }
        tensors.insert("step".to_owned(), Tensor::new(&[self.step], &Device::Cpu)?);
        Ok(())
    }

    /// Takes the moments out of a checkpoint.
    pub fn import(vars: &BTreeMap<String, Var>, tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let values = |name: String| -> Result<Vec<f32>> {
            let tensor = tensors
                .get(&name)
                .with_context(|| format!("checkpoint has no {name}"))?;
            Ok(tensor.flatten_all()?.to_vec1()?)
        };
        let mut moments = BTreeMap::new();
        for name in vars.keys() {
            moments.insert(
                name.clone(),
                (
                    values(format!("first.{name}"))?,
                    values(format!("second.{name}"))?,
                ),
            );
        }
        let step = tensors
            .get("step")
            .context("checkpoint has no step")?
            .to_vec1::<u32>()?[0];
        Ok(Self { moments, step })
    }
}

/// Learning rate at `step` of `steps`: linear warm-up, then a cosine down to a twentieth of `peak`.
pub fn rate(peak: f32, step: usize, steps: usize) -> f32 {
    let warmup = WARMUP.min(steps / 10).max(1);
    if step < warmup {
        return peak * (step + 1) as f32 / warmup as f32;
    }
    let done = (step - warmup) as f32 / (steps - warmup).max(1) as f32;
    let cosine = 0.5 * (1.0 + (std::f32::consts::PI * done.min(1.0)).cos());
    peak * (0.05 + 0.95 * cosine)
}

/// Longest warm-up, in steps.
const WARMUP: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_then_falls() {
        let rates: Vec<f32> = (0..2000).map(|step| rate(1.0, step, 2000)).collect();
        assert!(rates[..100].is_sorted() && rates[100..].is_sorted_by(|a, b| a >= b));
        assert_eq!(rates[99], 1.0);
        assert!(rates[1999] < 0.051);
    }

    #[test]
    fn it_finds_the_bottom_of_a_bowl_and_resumes_where_it_stopped() {
        let vars = |at: f32| BTreeMap::from([("w".to_owned(), Var::new(&[at, -at], &Device::Cpu).unwrap())]);
        let descend = |vars: &BTreeMap<String, Var>, adam: &mut AdamW, steps| {
            for _ in 0..steps {
                let loss = (vars["w"].as_tensor() - 1.0)
                    .unwrap()
                    .sqr()
                    .unwrap()
                    .sum_all()
                    .unwrap();
                adam.update(vars, &gradients(vars, &loss, 1.0).unwrap(), 0.05)
                    .unwrap();
            }
            vars["w"].to_vec1::<f32>().unwrap()
        };
        let whole = vars(3.0);
        let end = descend(&whole, &mut AdamW::new(&whole), 300);
        assert!(end.iter().all(|w| (w - 1.0).abs() < 0.05), "{end:?}");

        let halves = vars(3.0);
        let mut adam = AdamW::new(&halves);
        descend(&halves, &mut adam, 150);
        let mut checkpoint = BTreeMap::new();
        adam.export(&halves, &mut checkpoint).unwrap();
        let mut adam = AdamW::import(&halves, &checkpoint).unwrap();
        assert_eq!(descend(&halves, &mut adam, 150), end);
    }
}
