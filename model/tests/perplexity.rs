//! A real model predicts text as well here as in candle, which multiplies the same blocks in its own way.

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::{quantized_llama, quantized_qwen2};
use std::fs::File;
use std::path::Path;
use weir_model::testing::real;
use weir_model::{Kv, Model, Options, Predict, Tokenizer};

const TEXT: &str = "The water mill stood where the valley narrowed. For three hundred years its wheel had turned with the \
    stream, grinding the barley and rye that farmers brought down from the hills. When the railway came, the farmers began \
    to send their grain to the city instead, and one autumn the wheel stopped. The miller's daughter did not leave. She \
    studied the old drawings in the attic, measured the fall of the water and the speed of the current, and wrote letters \
    to a company that made small turbines. Two winters later the mill was lit by electric lamps, the first in the county, \
    and in the evenings people walked up the road to look at the bright windows. She charged nothing for the view, but \
    she sold the power to the bakery, the school and the inn.";

/// What a model says of a text.
struct Score {
    perplexity: f64,
    /// The most likely token after each.
    best: Vec<usize>,
}

/// Scores every token but the first, with `logits(i, t)` the row after feeding token t at position i.
fn score(tokens: &[u32], mut logits: impl FnMut(usize, u32) -> Vec<f32>) -> Score {
    let mut nats = 0.0;
    let mut best = Vec::new();
    for (i, pair) in tokens.windows(2).enumerate() {
        let row = logits(i, pair[0]);
        let top = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        let sum: f64 = row.iter().map(|x| f64::from(x - row[top]).exp()).sum();
        nats += sum.ln() - f64::from(row[pair[1] as usize] - row[top]);
        best.push(top);
    }
    Score {
        perplexity: (nats / best.len() as f64).exp(),
        best,
    }
}

fn ours(path: &Path, tokens: &[u32], kv: Kv) -> Score {
    let options = Options {
        kv,
        ..Options::default()
    };
    let mut model = Model::load(path, &options).unwrap();
    let slot = model.open().unwrap();
    score(tokens, |_, token| {
        let mut row = Vec::new();
        model
            .step(&[(slot, token)], &mut |_, logits| row = logits.to_vec())
            .unwrap();
        row
    })
}

/// Compares on the first `count` tokens of [`TEXT`]; `candle` opens candle's model.
fn compare<F>(name: &str, count: usize, candle: impl Fn(Content, &mut File) -> F)
where
    F: FnMut(&Tensor, usize) -> candle_core::Result<Tensor>,
{
    let Some(path) = real(name) else { return };
    let tokens = Tokenizer::load(&path).unwrap().encode(TEXT);
    let tokens = &tokens[..count.min(tokens.len())];

    let ours = ours(&path, tokens, Kv::F32);
    let mut file = File::open(&path).unwrap();
    let content = Content::read(&mut file).unwrap();
    let mut forward = candle(content, &mut file);
    let theirs = score(tokens, |position, token| {
        let input = Tensor::new(&[[token]], &Device::Cpu).unwrap();
        forward(&input, position)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    });

    let same = ours.best.iter().zip(&theirs.best).filter(|(a, b)| a == b).count();
    let total = theirs.best.len();
    let (ours, theirs) = (ours.perplexity, theirs.perplexity);
    eprintln!("{name}: perplexity {ours:.4}, in candle {theirs:.4}; same best token {same} of {total} times");
    assert!(
        (ours / theirs - 1.0).abs() < 0.02,
        "{ours} here, {theirs} in candle"
    );
    // Near ties fall either way; much less than this would be another model.
    assert!(
        same * 20 >= total * 17,
        "the same best token {same} of {total} times"
    );
}

#[test]
fn llama_predicts_as_in_candle() {
    compare("smollm2-135m-instruct-q4_1.gguf", 60, |content, file| {
        let mut model = quantized_llama::ModelWeights::from_gguf(content, file, &Device::Cpu).unwrap();
        move |input: &Tensor, position| model.forward(input, position)
    });
}

#[test]
fn qwen2_predicts_as_in_candle() {
    compare("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", 12, |content, file| {
        let mut model = quantized_qwen2::ModelWeights::from_gguf(content, file, &Device::Cpu).unwrap();
        move |input: &Tensor, position| model.forward(input, position)
    });
}

#[test]
fn keys_and_values_of_8_bits_predict_nearly_as_well() {
    for (name, count) in [
        ("smollm2-135m-instruct-q4_1.gguf", 1000),
        ("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", 1000),
    ] {
        let Some(path) = real(name) else { continue };
        let tokens = Tokenizer::load(&path).unwrap().encode(TEXT);
        let tokens = &tokens[..count.min(tokens.len())];
        let [wide, coded] = Kv::ALL.map(|kv| ours(&path, tokens, kv).perplexity);
        eprintln!(
            "{name}: perplexity {coded:.4} over {} tokens, with f32 {wide:.4}",
            tokens.len()
        );
        assert!((coded / wide - 1.0).abs() < 0.02, "{coded}, with f32 {wide}");
    }
}
