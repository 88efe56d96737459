//! Models for tests of this crate and of those above it: small random ones, and real ones where they are.

use std::io::Write as _;
use std::path::PathBuf;

use crate::file::dtype::Dtype;
use crate::file::metadata::Value;
use crate::file::write::{self, NewTensor};

/// Says that something was not tested, past the capture of what passing tests print.
pub fn skip(why: &str) {
    // If nobody can be told, nothing is lost but the word.
    let _ = writeln!(std::io::stderr(), "SKIPPED, NOTHING WAS TESTED: {why}");
}

/// A real model's file, if it is on this machine: in `$WEIR_MODELS`, else in `~/.cache/weir/models`. Says so if it is not.
pub fn real(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("WEIR_MODELS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/weir/models"),
        PathBuf::from,
    );
    let path = folder.join(name);
    if path.is_file() {
        return Some(path);
    }
    skip(&format!(
        "{} is not on this machine; set WEIR_MODELS",
        path.display()
    ));
    None
}

/// What kind of small model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tiny {
    /// Where the weights come from.
    pub seed: u64,
    /// Qwen2 (biases, halves, untied head) instead of Llama (adjacent pairs, tied head).
    pub qwen2: bool,
    /// Tokens: 256 bytes, `<eos>`, `<sep>`, and then words of two letters. At least 258.
    pub vocab: usize,
    /// Number of layers.
    pub layers: usize,
}

impl Tiny {
    /// The models of `vectors/logits.json`.
    pub const GOLDEN: [Self; 2] = [
        Self {
            seed: 1,
            qwen2: false,
            vocab: 300,
            layers: 2,
        },
        Self {
            seed: 2,
            qwen2: true,
            vocab: 300,
            layers: 2,
        },
    ];
    /// Token that ends an answer.
    pub const EOS: u32 = 256;

    pub(crate) fn name(&self) -> &'static str {
        if self.qwen2 { "tiny-qwen2" } else { "tiny-llama" }
    }
}

impl Default for Tiny {
    fn default() -> Self {
        Self::GOLDEN[0]
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

const DIM: usize = 256;
const FFN: usize = 512;
const HEADS: u32 = 4;
const KV_HEADS: u32 = 2;

/// The bytes of a GGUF file with random weights, in every block format, and a byte-level tokenizer.
///
/// # Panics
/// If `vocab` is below 258 or above 700.
pub fn tiny_gguf(tiny: &Tiny) -> Vec<u8> {
    let &Tiny {
        seed,
        qwen2,
        vocab,
        layers,
    } = tiny;
    let mut random = Random(seed);
    let kv = DIM * KV_HEADS as usize / HEADS as usize;
    let mut tensors = vec![(
        "token_embd.weight".to_owned(),
        matrix(&mut random, Dtype::Q5_1, vocab, DIM),
    )];
    for i in 0..layers {
        let mut add = |name: &str, tensor| tensors.push((format!("blk.{i}.{name}"), tensor));
        add("attn_norm.weight", ones(DIM));
        add("attn_q.weight", matrix(&mut random, Dtype::Q4K, DIM, DIM));
        add("attn_k.weight", matrix(&mut random, Dtype::Q5_0, kv, DIM));
        add("attn_v.weight", matrix(&mut random, Dtype::Q8_0, kv, DIM));
        if qwen2 {
            add("attn_q.bias", ones(DIM));
            add("attn_k.bias", ones(kv));
            add("attn_v.bias", ones(kv));
        }
        add("attn_output.weight", matrix(&mut random, Dtype::Q4_1, DIM, DIM));
        add("ffn_norm.weight", ones(DIM));
        add("ffn_gate.weight", matrix(&mut random, Dtype::Q4_0, FFN, DIM));
        add("ffn_up.weight", matrix(&mut random, Dtype::Q5K, FFN, DIM));
        add("ffn_down.weight", matrix(&mut random, Dtype::Q6K, DIM, FFN));
    }
    tensors.push(("output_norm.weight".into(), ones(DIM)));
    if qwen2 {
        tensors.push((
            "output.weight".into(),
            matrix(&mut random, Dtype::Q6K, vocab, DIM),
        ));
    }
    write::gguf(&metadata(qwen2, vocab, layers), &tensors)
}

fn metadata(qwen2: bool, vocab: usize, layers: usize) -> Vec<(String, Value)> {
    let arch = if qwen2 { "qwen2" } else { "llama" };
    let mut out = vec![("general.architecture".to_owned(), Value::String(arch.into()))];
    let mut add = |key: String, value| out.push((key, value));
    for (key, n) in [
        ("block_count", layers as u64),
        ("context_length", 4096),
        ("embedding_length", DIM as u64),
        ("feed_forward_length", FFN as u64),
        ("attention.head_count", HEADS.into()),
        ("attention.head_count_kv", KV_HEADS.into()),
    ] {
        add(format!("{arch}.{key}"), Value::Uint(n));
    }
    add(format!("{arch}.rope.freq_base"), Value::F32(10_000.0));
    add(
        format!("{arch}.attention.layer_norm_rms_epsilon"),
        Value::F32(1e-5),
    );

    let strings = |words: Vec<String>| Value::Array(words.into_iter().map(Value::String).collect());
    let letters = || (b'a'..=b'z').map(char::from);
    let pairs: Vec<_> = letters().flat_map(|a| letters().map(move |b| (a, b))).collect();
    let words = &pairs[..vocab.checked_sub(258).expect("256 bytes and two specials")];
    let mut tokens: Vec<_> = (0..=255).map(|b| byte_letter(b).to_string()).collect();
    tokens.extend(["<eos>".into(), "<sep>".into()]);
    tokens.extend(words.iter().map(|(a, b)| format!("{a}{b}")));
    let types = (0..vocab)
        .map(|t| Value::Int(if t == 256 || t == 257 { 3 } else { 1 }))
        .collect();
    add("tokenizer.ggml.model".into(), Value::String("gpt2".into()));
    add("tokenizer.ggml.pre".into(), Value::String("qwen2".into()));
    add("tokenizer.ggml.tokens".into(), strings(tokens));
    add("tokenizer.ggml.token_type".into(), Value::Array(types));
    add(
        "tokenizer.ggml.merges".into(),
        strings(words.iter().map(|(a, b)| format!("{a} {b}")).collect()),
    );
    add(
        "tokenizer.ggml.eos_token_id".into(),
        Value::Uint(Tiny::EOS.into()),
    );
    let template = "{% for m in messages %}{{ m.content }}<sep>{% endfor %}";
    add("tokenizer.chat_template".into(), Value::String(template.into()));
    out
}

/// The printable character that stands for a byte in byte-level vocabularies (GPT-2's table).
fn byte_letter(byte: u8) -> char {
    let plain = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if plain(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !plain(b)).count() as u32;
    char::from_u32(256 + before).expect("256 to 323 are letters")
}

fn ones(len: usize) -> NewTensor {
    let values: Vec<_> = (0..len).map(|i| 0.75 + (i % 8) as f32 / 16.0).collect();
    tensor(
        Dtype::F32,
        values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        &[len],
    )
}

/// Random codes under scales that give weights of about 1/16.
fn matrix(random: &mut Random, dtype: Dtype, rows: usize, cols: usize) -> NewTensor {
    // Exponent of the scale, where it lies, and that of the minimum if there is one.
    let (exponent, at, min) = match dtype {
        Dtype::Q4_0 => (8, 0, None),
        Dtype::Q4_1 => (8, 0, Some((11, 0x8000))),
        Dtype::Q5_0 => (7, 0, None),
        Dtype::Q5_1 => (7, 0, Some((11, 0x8000))),
        Dtype::Q8_0 => (4, 0, None),
        Dtype::Q4K => (3, 0, Some((6, 0))),
        Dtype::Q5K => (2, 0, Some((6, 0))),
        _ => (1, 208, None),
    };
    let mut bytes: Vec<u8> = (0..rows * cols / dtype.block_len() * dtype.block_bytes() / 2)
        .flat_map(|_| (random.next() as u16).to_le_bytes())
        .collect();
    for block in bytes.chunks_mut(dtype.block_bytes()) {
        let mantissa = (random.next() % 1024) as u16;
        block[at..at + 2].copy_from_slice(&(exponent << 10 | mantissa).to_le_bytes());
        if let Some((exponent, sign)) = min {
            let min: u16 = exponent << 10 | mantissa | sign;
            block[2..4].copy_from_slice(&min.to_le_bytes());
        }
    }
    tensor(dtype, bytes, &[rows, cols])
}

fn tensor(dtype: Dtype, bytes: Vec<u8>, dims: &[usize]) -> NewTensor {
    NewTensor {
        dtype,
        dims: dims.to_vec(),
        bytes,
    }
}
