//! The architecture of a model, from its metadata.

use crate::Error;
use crate::file::metadata::Metadata;
use crate::net::rope::Pairs;

/// Sizes and constants of the network. Every one that changes logits is part of the model's hash.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) pairs: Pairs,
    pub(crate) layers: usize,
    /// Elements of a hidden state.
    pub(crate) dim: usize,
    pub(crate) ffn: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    /// Elements of a head: a multiple of 16.
    pub(crate) head_dim: usize,
    /// Elements of a head that are rotated.
    pub(crate) rope_dim: usize,
    pub(crate) rope_base: f32,
    pub(crate) epsilon: f32,
    /// Positions the model was made for.
    pub(crate) context: usize,
}

impl Config {
    pub(crate) fn read(metadata: &Metadata) -> Result<Self, Error> {
        let arch = metadata.need("general.architecture", metadata.str("general.architecture")?)?;
        let pairs = match arch {
            "llama" => Pairs::Adjacent,
            "qwen2" => Pairs::Halves,
            _ => return Err(metadata.wrong("general.architecture", "llama or qwen2")),
        };
        let maybe = |key: &str| -> Result<Option<usize>, Error> {
            let key = format!("{arch}.{key}");
            match metadata.uint(&key)? {
                None => Ok(None),
                Some(n @ 1..=0x100_0000) => Ok(Some(n as usize)),
                Some(_) => Err(metadata.wrong(&key, "1 to 2^24")),
            }
        };
        let need = |key: &str| metadata.need(&format!("{arch}.{key}"), maybe(key)?);
        let float = |key: &str| metadata.f32(&format!("{arch}.{key}"));
        let require = |key: &str, good: bool, expected: &str| {
            if good {
                Ok(())
            } else {
                Err(metadata.wrong(&format!("{arch}.{key}"), expected))
            }
        };

        let (dim, heads) = (need("embedding_length")?, need("attention.head_count")?);
        let kv_heads = maybe("attention.head_count_kv")?.unwrap_or(heads);
        require(
            "attention.head_count_kv",
            heads.is_multiple_of(kv_heads),
            "a divisor of the head count",
        )?;
        let head_dim = match maybe("attention.key_length")? {
            Some(length) => length,
            None => {
                require(
                    "attention.head_count",
                    dim.is_multiple_of(heads),
                    "a divisor of the width",
                )?;
                dim / heads
            }
        };
        require(
            "attention.key_length",
            head_dim.is_multiple_of(16) && head_dim <= 1024,
            "a head of whole 16s, at most 1024",
        )?;
        let values = maybe("attention.value_length")?.unwrap_or(head_dim);
        require("attention.value_length", values == head_dim, "as the key length")?;
        let rope_dim = maybe("rope.dimension_count")?.unwrap_or(head_dim);
        let even = rope_dim.is_multiple_of(2) && rope_dim <= head_dim;
        require("rope.dimension_count", even, "even, at most the head's width")?;
        let scaling = metadata.str(&format!("{arch}.rope.scaling.type"))?;
        require(
            "rope.scaling.type",
            matches!(scaling, None | Some("none")),
            "none",
        )?;
        let rope_base = float("rope.freq_base")?.unwrap_or(10_000.0);
        require("rope.freq_base", (1.0..1e12).contains(&rope_base), "1 to 1e12")?;
        let epsilon = float("attention.layer_norm_rms_epsilon")?;
        let epsilon = metadata.need(&format!("{arch}.attention.layer_norm_rms_epsilon"), epsilon)?;
        require("attention.layer_norm_rms_epsilon", epsilon > 0.0, "above zero")?;
        Ok(Self {
            pairs,
            layers: need("block_count")?,
            dim,
            ffn: need("feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            rope_dim,
            rope_base,
            epsilon,
            context: need("context_length")?,
        })
    }

    /// What the hash takes in: SPEC 2.9. The context's length is not part of it, as it changes no logits.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self {
            pairs,
            layers,
            dim,
            ffn,
            heads,
            kv_heads,
            head_dim,
            rope_dim,
            rope_base,
            epsilon,
            ..
        } = self;
        let mut out = vec![match pairs {
            Pairs::Adjacent => 0,
            Pairs::Halves => 1,
        }];
        for n in [layers, dim, ffn, heads, kv_heads, head_dim, rope_dim] {
            out.extend((*n as u32).to_le_bytes());
        }
        for x in [rope_base, epsilon] {
            out.extend(x.to_bits().to_le_bytes());
        }
        out
    }
}
