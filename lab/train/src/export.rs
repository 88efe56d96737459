//! Writing a model as GGUF: matrices in Q8_0, norms in f32, the tokenizer and chat template in the metadata.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use crate::llama::{NORM_EPS, ROPE_BASE, Shape};
use crate::tokenizer::{CHAT_TEMPLATE, END_OF_TEXT, IM_END, IM_START, SPECIAL, Tokenizer};

/// Writes `weights` to `path`. The head is tied: there is no `output.weight`.
pub fn write(
    path: &Path,
    name: &str,
    shape: &Shape,
    weights: &BTreeMap<String, Tensor>,
    tokenizer: &Tokenizer,
) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, _) in shape.weights() {
        tensors.push((name.clone(), quantized(&weights[&name])?));
    }
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    let metadata = metadata(name, shape, tokenizer)?;
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut file = BufWriter::new(file);
    gguf_file::write(&mut file, &metadata, &tensors).with_context(|| format!("write {}", path.display()))?;
    file.into_inner()
        .with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

/// Reads the weights of a GGUF that [`write()`] wrote, as floats: what its readers compute with.
pub fn read(path: &Path, shape: &Shape) -> Result<BTreeMap<String, Tensor>> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let content = gguf_file::Content::read(&mut file).with_context(|| format!("read {}", path.display()))?;
    let mut weights = BTreeMap::new();
    for (name, _) in shape.weights() {
        let tensor = content.tensor(&mut file, &name, &Device::Cpu)?;
        weights.insert(name, tensor.dequantize(&Device::Cpu)?);
    }
    Ok(weights)
}

fn quantized(tensor: &Tensor) -> Result<QTensor> {
    let kind = if tensor.rank() == 1 {
        GgmlDType::F32
    } else {
        GgmlDType::Q8_0
    };
    Ok(QTensor::quantize(&tensor.detach(), kind)?)
}

fn metadata(name: &str, shape: &Shape, tokenizer: &Tokenizer) -> Result<Vec<(&'static str, Value)>> {
    let number = |n: usize| Value::U32(n as u32);
    let text = |s: &str| Value::String(s.to_owned());
    let texts = |strings: Vec<String>| Value::Array(strings.into_iter().map(Value::String).collect());
    let pieces = tokenizer.pieces()?;
    let kinds = (0..pieces.len())
        .map(|id| Value::I32(if id < SPECIAL.len() { CONTROL } else { NORMAL }))
        .collect();
    Ok(vec![
        ("general.architecture", text("llama")),
        ("general.name", text(name)),
        ("general.license", text("MIT")),
        ("general.file_type", Value::U32(MOSTLY_Q8_0)),
        ("general.quantization_version", Value::U32(2)),
        ("general.alignment", Value::U32(32)),
        ("llama.vocab_size", number(shape.vocab)),
        ("llama.context_length", number(shape.context)),
        ("llama.embedding_length", number(shape.width)),
        ("llama.block_count", number(shape.layers)),
        ("llama.feed_forward_length", number(shape.ff)),
        ("llama.attention.head_count", number(shape.heads)),
        ("llama.attention.head_count_kv", number(shape.kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(NORM_EPS)),
        ("llama.rope.dimension_count", number(shape.head())),
        ("llama.rope.freq_base", Value::F32(ROPE_BASE)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("smollm")),
        ("tokenizer.ggml.tokens", texts(pieces)),
        ("tokenizer.ggml.token_type", Value::Array(kinds)),
        ("tokenizer.ggml.merges", texts(tokenizer.merges()?)),
        ("tokenizer.ggml.bos_token_id", Value::U32(IM_START)),
        ("tokenizer.ggml.eos_token_id", Value::U32(IM_END)),
        ("tokenizer.ggml.padding_token_id", Value::U32(END_OF_TEXT)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.ggml.add_space_prefix", Value::Bool(false)),
        ("tokenizer.chat_template", text(CHAT_TEMPLATE)),
    ])
}

// GGUF's codes (llama.cpp, include/llama.h): token types and the file type.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const MOSTLY_Q8_0: u32 = 7;
