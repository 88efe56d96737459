//! Fused operations with a backward pass: the norm, the gated unit and the two losses here, attention in
//! [`attention`].
//!
//! candle's basic operations would do (the tests compare), but on a CPU each of them walks all of memory, and training
//! spends its time there instead of in the matrix products. None of these starts a thread: [`crate::fit`] runs the
//! shards of a batch side by side.

pub mod attention;

use anyhow::Result;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Shape, Tensor, bail};

/// `x / rms(x) * weight` over the last dimension of `x` `[n, width]`, with a gradient.
pub fn norm(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<Tensor> {
    Ok(x.apply_op2(weight, Norm(epsilon))?)
}

/// `gate * sigmoid(gate) * up`, element by element, with a gradient.
pub fn gated(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    Ok(gate.apply_op2(up, Gated)?)
}

/// Mean cross-entropy, in nats, of logits `[n, vocab]` and the tokens that came: a scalar with a gradient.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    Ok(logits.apply_op1(CrossEntropy(Target::Tokens(targets.to_vec())))?)
}

/// Mean cross-entropy, in nats, of logits `[n, vocab]` and the distribution that `teacher`'s logits give: a scalar with
/// a gradient, which is that of KL(teacher‖model).
pub fn soft_cross_entropy(logits: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let vocab = teacher.dim(candle_core::D::Minus1)?;
    let mut teacher = values(teacher)?;
    teacher.chunks_mut(vocab).for_each(softmax);
    Ok(logits.apply_op1(CrossEntropy(Target::Distribution(teacher)))?)
}

struct Norm(f32);

impl Norm {
    fn scale(&self, x: &[f32]) -> f32 {
        let square: f32 = x.iter().map(|x| x * x).sum();
        1.0 / (square / x.len() as f32 + self.0).sqrt()
    }
}

impl CustomOp2 for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(s1, l1)?, slice(s2, l2)?);
        let mut y = vec![0f32; x.len()];
        y.chunks_mut(weight.len())
            .zip(x.chunks(weight.len()))
            .for_each(|(y, x)| {
                let scale = self.scale(x);
                for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
                    *y = x * scale * w;
                }
            });
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (dims, width) = (x.dims().to_vec(), weight.elem_count());
        let (x, w, grad) = (values(x)?, values(weight)?, values(grad)?);
        let mut dx = vec![0f32; x.len()];
        let mut dw = vec![0f32; width];
        for ((dx, x), g) in dx.chunks_mut(width).zip(x.chunks(width)).zip(grad.chunks(width)) {
            let scale = self.scale(x);
            let along: f32 = x.iter().zip(g).zip(&w).map(|((x, g), w)| x * g * w).sum();
            let along = along * scale * scale * scale / width as f32;
            for ((((dx, dw), x), g), w) in dx.iter_mut().zip(&mut dw).zip(x).zip(g).zip(&w) {
                *dx = g * w * scale - x * along;
                *dw += g * x * scale;
            }
        }
        Ok((Some(tensor(dx, &dims)?), Some(tensor(dw, &[width])?)))
    }
}

struct Gated;

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (gate, up) = (slice(s1, l1)?, slice(s2, l2)?);
        let mut y = vec![0f32; gate.len()];
        for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
            *y = gate / (1.0 + exp(-gate)) * up;
        }
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let dims = gate.dims().to_vec();
        // The gradients take the place of what they are computed from.
        let (mut gate, mut up, grad) = (values(gate)?, values(up)?, values(grad)?);
        for ((gate, up), grad) in gate.iter_mut().zip(&mut up).zip(&grad) {
            let sigmoid = 1.0 / (1.0 + exp(-*gate));
            let silu = *gate * sigmoid;
            *gate = grad * *up * (sigmoid + silu * (1.0 - sigmoid));
            *up = grad * silu;
        }
        Ok((Some(tensor(gate, &dims)?), Some(tensor(up, &dims)?)))
    }
}

struct CrossEntropy(Target);

enum Target {
    Tokens(Vec<u32>),
    /// Probabilities `[n, vocab]`.
    Distribution(Vec<f32>),
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let logits = slice(storage, layout)?;
        let (rows, vocab) = layout.shape().dims2()?;
        let losses: Vec<f32> = logits
            .chunks(vocab)
            .enumerate()
            .map(|(row, logits)| {
                let best = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
                let total = best + logits.iter().map(|x| exp(x - best)).sum::<f32>().ln();
                match &self.0 {
                    Target::Tokens(tokens) => total - logits[tokens[row] as usize],
                    Target::Distribution(p) => p[row * vocab..][..vocab]
                        .iter()
                        .zip(logits)
                        .map(|(p, x)| p * (total - x))
                        .sum(),
                }
            })
            .collect();
        let mean = losses.iter().sum::<f32>() / rows as f32;
        Ok((CpuStorage::F32(vec![mean]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _loss: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (rows, vocab) = logits.dims2()?;
        let mut d = values(logits)?;
        let scale = grad.to_scalar::<f32>()? / rows as f32;
        d.chunks_mut(vocab).enumerate().for_each(|(row, d)| {
            softmax(d);
            match &self.0 {
                Target::Tokens(tokens) => d[tokens[row] as usize] -= 1.0,
                Target::Distribution(p) => d.iter_mut().zip(&p[row * vocab..]).for_each(|(d, p)| *d -= p),
            }
            d.iter_mut().for_each(|d| *d *= scale);
        });
        Ok(Some(tensor(d, &[rows, vocab])?))
    }
}

fn softmax(x: &mut [f32]) {
    let best = x.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    x.iter_mut().for_each(|x| *x = exp(*x - best));
    let scale = 1.0 / x.iter().sum::<f32>();
    x.iter_mut().for_each(|x| *x *= scale);
}

/// `e^x` to about 2e-7 relative, in a form that compilers vectorise: 2^n times a polynomial of the rest.
fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let z = x * std::f32::consts::LOG2_E + ROUND;
    let n = z - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r / 720.0)))));
    p * f32::from_bits((z.to_bits() << 23).wrapping_add(127 << 23))
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let Some((begin, end)) = layout.contiguous_offsets() else {
        bail!("the operand is not contiguous: {layout:?}")
    };
    Ok(&storage.as_slice::<f32>()?[begin..end])
}

fn values(tensor: &Tensor) -> candle_core::Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

fn tensor(values: Vec<f32>, dims: &[usize]) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values, dims, &Device::Cpu)
}

#[cfg(test)]
mod tests;
