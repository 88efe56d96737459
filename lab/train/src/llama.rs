//! The Llama architecture with a gradient.
//!
//! Training uses only basic candle operations and those of [`crate::ops`]: candle-nn's fused `rms_norm`, `rope` and
//! `softmax` have no backward pass; generation may use them. Names and shapes of the weights are GGUF's.
//! The rotation acts on interleaved pairs (2i, 2i + 1), as GGUF's Llama convention has it, so nothing is permuted at
//! export. The head is tied to the token embedding.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::ops::{self, attention::Attention};
use crate::rng::Rng;

/// Sizes of a model. Every matrix's column count is a multiple of 64, hence of the quantiser's blocks of 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Shape {
    /// Tokens.
    pub vocab: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of the feed-forward part.
    pub ff: usize,
    /// Longest context, in tokens.
    pub context: usize,
}

impl Shape {
    /// The strong model of the pair.
    pub const fn strong(vocab: usize) -> Self {
        Self {
            vocab,
            width: 192,
            layers: 5,
            heads: 6,
            kv_heads: 3,
            ff: 512,
            context: 1024,
        }
    }

    /// The weak model of the pair.
    pub const fn weak(vocab: usize) -> Self {
        Self {
            vocab,
            width: 128,
            layers: 3,
            heads: 4,
            kv_heads: 2,
            ff: 384,
            context: 1024,
        }
    }

    /// Width of one head.
    pub const fn head(&self) -> usize {
        self.width / self.heads
    }

    /// Weight names with their shapes `[rows, columns]` or `[width]`.
    pub fn weights(&self) -> Vec<(String, Vec<usize>)> {
        let kv = self.kv_heads * self.head();
        let mut weights = vec![("token_embd.weight".to_owned(), vec![self.vocab, self.width])];
        for layer in 0..self.layers {
            for (name, shape) in [
                ("attn_norm", vec![self.width]),
                ("attn_q", vec![self.width, self.width]),
                ("attn_k", vec![kv, self.width]),
                ("attn_v", vec![kv, self.width]),
                ("attn_output", vec![self.width, self.width]),
                ("ffn_norm", vec![self.width]),
                ("ffn_gate", vec![self.ff, self.width]),
                ("ffn_up", vec![self.ff, self.width]),
                ("ffn_down", vec![self.width, self.ff]),
            ] {
                weights.push((format!("blk.{layer}.{name}.weight"), shape));
            }
        }
        weights.push(("output_norm.weight".to_owned(), vec![self.width]));
        weights
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.weights()
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }
}

/// Base of the rotation's frequencies.
pub const ROPE_BASE: f32 = 10_000.0;
/// Added to the mean square in every norm.
pub const NORM_EPS: f32 = 1e-5;

/// A model: weights, and the variables behind them if it is to be trained.
pub struct Llama {
    shape: Shape,
    weights: BTreeMap<String, Tensor>,
    vars: BTreeMap<String, Var>,
    rotation: Rotation,
}

/// `(cos, sin)` of pair i at position p, at index `p * head / 2 + i`: for the fused attention, and as tensors
/// `[context, head / 2]` for candle's rotation.
struct Rotation {
    table: Arc<[(f32, f32)]>,
    cos: Tensor,
    sin: Tensor,
}

/// Keys and values of a batch of equally long sequences, for generation.
pub struct Cache {
    layers: Vec<(Tensor, Tensor)>,
    len: usize,
}

impl Llama {
    /// A fresh model: normal weights of deviation 0.02, those that write to the residual stream scaled down by depth.
    pub fn new(shape: Shape, rng: &mut Rng) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (name, dims) in shape.weights() {
            let count = dims.iter().product();
            let values = if dims.len() == 1 {
                vec![1f32; count]
            } else {
                let residual = name.contains("attn_output") || name.contains("ffn_down");
                let deviation = if residual {
                    0.02 / (2.0 * shape.layers as f32).sqrt()
                } else {
                    0.02
                };
                (0..count).map(|_| deviation * rng.normal()).collect()
            };
            tensors.insert(name, Tensor::from_vec(values, dims, &Device::Cpu)?);
        }
        Self::trainable(shape, tensors)
    }

    /// A model with given weights, every one of them a variable.
    pub fn trainable(shape: Shape, tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let mut vars = BTreeMap::new();
        for (name, tensor) in tensors {
            // A copy: `from_tensor` hands back a variable as it is, and then two models would train one set of weights.
            vars.insert(name, Var::from_tensor(&tensor.copy()?.detach())?);
        }
        let weights = vars
            .iter()
            .map(|(name, var)| (name.clone(), var.as_tensor().clone()))
            .collect();
        Self::assemble(shape, weights, vars)
    }

    /// A model with given weights that takes no gradient: a teacher, or a model to be measured.
    pub fn frozen(shape: Shape, tensors: &BTreeMap<String, Tensor>) -> Result<Self> {
        let weights = tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.detach()))
            .collect();
        Self::assemble(shape, weights, BTreeMap::new())
    }

    /// Sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Weights by GGUF name.
    pub fn weights(&self) -> &BTreeMap<String, Tensor> {
        &self.weights
    }

    /// Variables by GGUF name; empty if frozen.
    pub fn vars(&self) -> &BTreeMap<String, Var> {
        &self.vars
    }

    /// Hidden states `[rows * columns, width]` of `tokens` (`[rows, columns]`), before the head.
    pub fn hidden(&self, tokens: &Tensor) -> Result<Tensor> {
        self.run(tokens, None)
    }

    /// Logits `[n, vocab]` of hidden states `[n, width]`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(hidden.matmul(&self.weight("token_embd")?.t()?)?)
    }

    /// An empty cache for `rows` sequences of at most `capacity` tokens.
    pub fn cache(&self, rows: usize, capacity: usize) -> Result<Cache> {
        let dims = (rows, self.shape.kv_heads, capacity, self.shape.head());
        let zeros = || Tensor::zeros(dims, DType::F32, &Device::Cpu);
        let layers = (0..self.shape.layers)
            .map(|_| Ok((zeros()?, zeros()?)))
            .collect::<Result<_>>()?;
        Ok(Cache { layers, len: 0 })
    }

    /// Logits `[rows, vocab]` after feeding `tokens` (`[rows, columns]`) to cached sequences.
    pub fn extend(&self, tokens: &Tensor, cache: &mut Cache) -> Result<Tensor> {
        let (rows, columns) = tokens.dims2()?;
        let hidden = self.run(tokens, Some(&mut *cache))?;
        cache.len += columns;
        let last = hidden
            .reshape((rows, columns, self.shape.width))?
            .narrow(1, columns - 1, 1)?
            .squeeze(1)?;
        self.logits(&last.contiguous()?)
    }

    fn assemble(
        shape: Shape,
        weights: BTreeMap<String, Tensor>,
        vars: BTreeMap<String, Var>,
    ) -> Result<Self> {
        ensure!(
            shape.width.is_multiple_of(shape.heads) && shape.heads.is_multiple_of(shape.kv_heads),
            "heads do not divide: {shape:?}"
        );
        for (name, dims) in shape.weights() {
            let found = weights
                .get(&name)
                .with_context(|| format!("weight {name} is missing"))?;
            ensure!(
                found.dims() == dims,
                "weight {name}: want {dims:?}, got {:?}",
                found.dims()
            );
        }
        Ok(Self {
            shape,
            weights,
            vars,
            rotation: Rotation::new(shape.head(), shape.context)?,
        })
    }

    fn weight(&self, name: &str) -> Result<&Tensor> {
        self.weights
            .get(&format!("{name}.weight"))
            .with_context(|| format!("weight {name} is missing"))
    }

    fn run(&self, tokens: &Tensor, mut cache: Option<&mut Cache>) -> Result<Tensor> {
        let (rows, columns) = tokens.dims2()?;
        let mut x = self
            .weight("token_embd")?
            .index_select(&tokens.flatten_all()?, 0)?;
        for layer in 0..self.shape.layers {
            let weight = |name: &str| self.weight(&format!("blk.{layer}.{name}"));
            let times = |x: &Tensor, name: &str| -> Result<Tensor> { Ok(x.matmul(&weight(name)?.t()?)?) };
            let h = ops::norm(&x, weight("attn_norm")?, NORM_EPS)?;
            let (q, k, v) = (times(&h, "attn_q")?, times(&h, "attn_k")?, times(&h, "attn_v")?);
            let y = match cache.as_deref_mut() {
                None => self.rotation.attention(&self.shape, columns).apply(&q, &k, &v)?,
                Some(cache) => {
                    self.attend_cached(rows, columns, [&q, &k, &v], cache.len, &cache.layers[layer])?
                }
            };
            x = (x + times(&y, "attn_output")?)?;
            let h = ops::norm(&x, weight("ffn_norm")?, NORM_EPS)?;
            let y = ops::gated(&times(&h, "ffn_gate")?, &times(&h, "ffn_up")?)?;
            x = (x + times(&y, "ffn_down")?)?;
        }
        ops::norm(&x, self.weight("output_norm")?, NORM_EPS)
    }

    /// Attention of new positions `begin..begin + columns` over all that are cached, new ones included. No gradient is
    /// wanted here, and basic operations do. Query heads that share a key head are stacked, so nothing is repeated.
    fn attend_cached(
        &self,
        rows: usize,
        columns: usize,
        [q, k, v]: [&Tensor; 3],
        begin: usize,
        (keys, values): &(Tensor, Tensor),
    ) -> Result<Tensor> {
        let Shape { heads, kv_heads, .. } = self.shape;
        let head = self.shape.head();
        let split = |x: &Tensor, count: usize| -> Result<Tensor> {
            Ok(x.reshape((rows, columns, count, head))?
                .transpose(1, 2)?
                .contiguous()?)
        };
        keys.slice_set(&self.rotation.apply(&split(k, kv_heads)?, begin)?, 2, begin)?;
        values.slice_set(&split(v, kv_heads)?, 2, begin)?;
        let (keys, values) = (
            keys.narrow(2, 0, begin + columns)?,
            values.narrow(2, 0, begin + columns)?,
        );
        let q = self.rotation.apply(&split(q, heads)?, begin)?;
        let q = (q.reshape((rows, kv_heads, heads / kv_heads * columns, head))? / (head as f64).sqrt())?;
        let scores = q.matmul(&keys.transpose(2, 3)?)?;
        let scores = scores.broadcast_add(&causal_mask(columns, begin, heads / kv_heads)?)?;
        let y = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&values)?;
        Ok(y.reshape((rows, heads, columns, head))?
            .transpose(1, 2)?
            .reshape((rows * columns, self.shape.width))?)
    }
}

impl Cache {
    /// Keeps only the given rows, in the given order.
    pub fn select(&mut self, rows: &[u32]) -> Result<()> {
        let index = Tensor::new(rows, &Device::Cpu)?;
        for (keys, values) in &mut self.layers {
            *keys = keys.index_select(&index, 0)?;
            *values = values.index_select(&index, 0)?;
        }
        Ok(())
    }
}

impl Rotation {
    fn new(head: usize, context: usize) -> Result<Self> {
        let half = head / 2;
        let angle = |at: usize| (at / half) as f32 / ROPE_BASE.powf((at % half) as f32 / half as f32);
        let table: Arc<[(f32, f32)]> = (0..context * half)
            .map(|at| (angle(at).cos(), angle(at).sin()))
            .collect();
        let (cos, sin): (Vec<f32>, Vec<f32>) = table.iter().copied().unzip();
        Ok(Self {
            cos: Tensor::from_vec(cos, (context, half), &Device::Cpu)?,
            sin: Tensor::from_vec(sin, (context, half), &Device::Cpu)?,
            table,
        })
    }

    fn attention(&self, shape: &Shape, n: usize) -> Attention {
        let (heads, kv_heads, head) = (shape.heads, shape.kv_heads, shape.head());
        Attention {
            n,
            heads,
            kv_heads,
            head,
            rotation: self.table.clone(),
        }
    }

    /// Rotates `x` `[rows, heads, n, head]`, whose first position is `begin`.
    fn apply(&self, x: &Tensor, begin: usize) -> Result<Tensor> {
        let n = x.dim(2)?;
        let (cos, sin) = (self.cos.narrow(0, begin, n)?, self.sin.narrow(0, begin, n)?);
        Ok(candle_nn::rotary_emb::rope_i(x, &cos, &sin)?)
    }
}

/// Zero where a query may look, minus infinity elsewhere: `[stacked * n, begin + n]`.
fn causal_mask(n: usize, begin: usize, stacked: usize) -> Result<Tensor> {
    let m = begin + n;
    let mask: Vec<f32> = (0..stacked * n * m)
        .map(|at| {
            if at % m > begin + (at / m) % n {
                f32::NEG_INFINITY
            } else {
                0.0
            }
        })
        .collect();
    Ok(Tensor::from_vec(mask, (stacked * n, m), &Device::Cpu)?)
}
