//! Qwen2 over candle, quantised.
//!
//! `candle_transformers::models::quantized_qwen2` holds one conversation and cannot be cloned; this is the same
//! graph with the conversation outside the weights, so that any number of queries share one copy of them.

use candle_core::quantized::{QMatMul, gguf_file};
use candle_core::{Device, IndexOp, Module, Result, Tensor};
use candle_nn::Embedding;
use candle_transformers::quantized_nn::RmsNorm;
use candle_transformers::utils::{build_causal_mask, repeat_kv};
use std::io::{Read, Seek};

/// The weights of one model.
pub(super) struct Weights {
    embeddings: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    output: QMatMul,
    cos: Tensor,
    sin: Tensor,
}

/// What one conversation has fed: keys and values of each layer, `[1, kv heads, positions, head]`.
#[derive(Clone, Default)]
pub(super) struct Cache {
    layers: Vec<(Tensor, Tensor)>,
    positions: usize,
}

struct Layer {
    attention_norm: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: QMatMul,
    ffn_norm: RmsNorm,
    gate: QMatMul,
    up: QMatMul,
    down: QMatMul,
    heads: usize,
    kv_heads: usize,
}

struct Linear {
    weight: QMatMul,
    bias: Tensor,
}

impl Weights {
    /// Reads the tensors that `content` lists from `file`; rotary tables are made for `context` positions.
    pub(super) fn load<R: Read + Seek>(
        content: &gguf_file::Content,
        file: &mut R,
        device: &Device,
        context: usize,
    ) -> Result<Self> {
        let number = |key: &str| match content.metadata.get(&format!("qwen2.{key}")) {
            Some(value) => Ok(value.to_u32()? as usize),
            None => candle_core::bail!("no qwen2.{key} in metadata"),
        };
        let float = |key: &str| {
            content
                .metadata
                .get(&format!("qwen2.{key}"))
                .map(|value| value.to_f32())
        };
        let heads = number("attention.head_count")?;
        let kv_heads = number("attention.head_count_kv")?;
        let width = number("embedding_length")?;
        let epsilon = match float("attention.layer_norm_rms_epsilon") {
            Some(value) => f64::from(value?),
            None => candle_core::bail!("no qwen2.attention.layer_norm_rms_epsilon in metadata"),
        };
        let base = float("rope.freq_base").transpose()?.unwrap_or(10_000.0);

        let table = content.tensor(file, "token_embd.weight", device)?;
        let embeddings = Embedding::new(table.dequantize(device)?, width);
        let output = match content.tensor_infos.contains_key("output.weight") {
            true => QMatMul::from_qtensor(content.tensor(file, "output.weight", device)?)?,
            false => QMatMul::from_qtensor(table)?,
        };
        let norm = RmsNorm::from_qtensor(content.tensor(file, "output_norm.weight", device)?, epsilon)?;
        let mut layers = Vec::new();
        for index in 0..number("block_count")? {
            let mut tensor = |name: &str| content.tensor(file, &format!("blk.{index}.{name}"), device);
            let mut linear = |name: &str| {
                let weight = QMatMul::from_qtensor(tensor(&format!("{name}.weight"))?)?;
                let bias = tensor(&format!("{name}.bias"))?.dequantize(device)?;
                Result::Ok(Linear { weight, bias })
            };
            layers.push(Layer {
                q: linear("attn_q")?,
                k: linear("attn_k")?,
                v: linear("attn_v")?,
                o: QMatMul::from_qtensor(tensor("attn_output.weight")?)?,
                attention_norm: RmsNorm::from_qtensor(tensor("attn_norm.weight")?, epsilon)?,
                ffn_norm: RmsNorm::from_qtensor(tensor("ffn_norm.weight")?, epsilon)?,
                gate: QMatMul::from_qtensor(tensor("ffn_gate.weight")?)?,
                up: QMatMul::from_qtensor(tensor("ffn_up.weight")?)?,
                down: QMatMul::from_qtensor(tensor("ffn_down.weight")?)?,
                heads,
                kv_heads,
            });
        }
        let (cos, sin) = rotary(width / heads, base, context, device)?;
        Ok(Self {
            embeddings,
            layers,
            norm,
            output,
            cos,
            sin,
        })
    }

    /// Feeds `tokens` (shape `[1, n]`) behind what `cache` holds; gives the logits after the last one, `[1, vocab]`.
    pub(super) fn forward(&self, cache: &mut Cache, tokens: &Tensor) -> Result<Tensor> {
        let count = tokens.dim(1)?;
        let cos = self.cos.narrow(0, cache.positions, count)?;
        let sin = self.sin.narrow(0, cache.positions, count)?;
        let mask = match count {
            1 => None,
            _ => Some(build_causal_mask(count, cache.positions, tokens.device())?),
        };
        let mut x = self.embeddings.forward(tokens)?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, cache, index, (&cos, &sin), mask.as_ref())?;
        }
        cache.positions += count;
        let last = self.norm.forward(&x)?.i((.., count - 1, ..))?;
        self.output.forward(&last)
    }
}

impl Layer {
    fn forward(
        &self,
        x: &Tensor,
        cache: &mut Cache,
        index: usize,
        rotary: (&Tensor, &Tensor),
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let normed = self.attention_norm.forward(x)?;
        let x = (x + self.attention(&normed, cache, index, rotary, mask)?)?;
        let normed = self.ffn_norm.forward(&x)?;
        let gate = candle_nn::ops::silu(&self.gate.forward(&normed)?)?;
        let inner = (gate * self.up.forward(&normed)?)?;
        x + self.down.forward(&inner)?
    }

    fn attention(
        &self,
        x: &Tensor,
        cache: &mut Cache,
        index: usize,
        (cos, sin): (&Tensor, &Tensor),
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (_, count, width) = x.dims3()?;
        let head = width / self.heads;
        let split = |linear: &Linear, heads: usize| {
            let y = linear.weight.forward(x)?.broadcast_add(&linear.bias)?;
            y.reshape((1, count, heads, head))?.transpose(1, 2)?.contiguous()
        };
        let q = candle_nn::rotary_emb::rope(&split(&self.q, self.heads)?, cos, sin)?;
        let k = candle_nn::rotary_emb::rope(&split(&self.k, self.kv_heads)?, cos, sin)?;
        let v = split(&self.v, self.kv_heads)?;
        let (k, v) = match cache.layers.get_mut(index) {
            Some(past) => {
                *past = (Tensor::cat(&[&past.0, &k], 2)?, Tensor::cat(&[&past.1, &v], 2)?);
                past.clone()
            }
            None => {
                cache.layers.push((k.clone(), v.clone()));
                (k, v)
            }
        };
        let k = repeat_kv(k, self.heads / self.kv_heads)?;
        let v = repeat_kv(v, self.heads / self.kv_heads)?.contiguous()?;
        let scores = (q.matmul(&k.t()?)? / (head as f64).sqrt())?;
        let scores = match mask {
            None => scores,
            Some(mask) => {
                let never = Tensor::new(f32::NEG_INFINITY, x.device())?.broadcast_as(scores.shape())?;
                mask.broadcast_as(scores.shape())?.where_cond(&never, &scores)?
            }
        };
        let mixed = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v)?;
        self.o
            .forward(&mixed.transpose(1, 2)?.reshape((1, count, width))?)
    }
}

/// Cosines and sines, `[context, head / 2]` each.
fn rotary(head: usize, base: f32, context: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    let theta: Vec<f32> = (0..head)
        .step_by(2)
        .map(|i| 1.0 / base.powf(i as f32 / head as f32))
        .collect();
    let theta = Tensor::new(theta.as_slice(), device)?.reshape((1, head / 2))?;
    let positions: Vec<f32> = (0..context).map(|position| position as f32).collect();
    let angles = Tensor::new(positions.as_slice(), device)?
        .reshape((context, 1))?
        .matmul(&theta)?;
    Ok((angles.cos()?, angles.sin()?))
}
