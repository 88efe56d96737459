//! The pair in `models/`: another reader sees the same models in the files, and they speak.

use std::io::Cursor;

use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use weir_model::{Message, Model, Options, Predict, Tokenizer, embedded};

/// Held out from training.
const PROMPT: &str = "A concert ticket costs $40. Mr. Benson bought 12 tickets and received a 5% discount for every ticket bought that \
     exceeds 10. How much did Mr. Benson pay in all?";

/// Says the best token at most this often.
const LENGTH: usize = 60;

/// Lets the exact engine answer greedily, shows every token to candle's, and returns the answer's text and how many
/// tokens were candle's best too.
fn answer(name: &str, bytes: &[u8]) -> (String, usize, usize) {
    let tokenizer = Tokenizer::from_bytes(name, bytes).unwrap();
    let message = Message {
        role: "user".to_owned(),
        content: PROMPT.to_owned(),
    };
    let mut tokens = tokenizer.chat(&[message]).unwrap();
    let prompt = tokens.len();
    let mut model = Model::from_bytes(name, bytes, &Options::default()).unwrap();
    let slot = model.open().unwrap();
    model.prefill(slot, &tokens[..prompt - 1]).unwrap();
    let content = gguf_file::Content::read(&mut Cursor::new(bytes)).unwrap();
    let mut other = ModelWeights::from_gguf(content, &mut Cursor::new(bytes), &Device::Cpu).unwrap();
    let feed = |tokens: &[u32]| Tensor::from_slice(tokens, (1, tokens.len()), &Device::Cpu).unwrap();
    other.forward(&feed(&tokens[..prompt - 1]), 0).unwrap();

    let mut agreed = 0;
    while tokens.len() < prompt + LENGTH && !tokenizer.end_tokens().contains(&tokens[tokens.len() - 1]) {
        let (at, pending) = (tokens.len() - 1, tokens[tokens.len() - 1]);
        let mut token = 0;
        model
            .step(&[(slot, pending)], &mut |_, logits| token = best(logits))
            .unwrap();
        let theirs = other
            .forward(&feed(&[pending]), at)
            .unwrap()
            .squeeze(0)
            .unwrap()
            .to_vec1()
            .unwrap();
        agreed += usize::from(best(&theirs) == token);
        tokens.push(token);
    }
    let text = String::from_utf8_lossy(&tokenizer.decode(&tokens[prompt..])).into_owned();
    (text, agreed, tokens.len() - prompt)
}

fn best(logits: &[f32]) -> u32 {
    (0..logits.len() as u32)
        .max_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize]))
        .unwrap()
}

#[test]
fn both_speak_and_two_engines_agree() {
    for (name, bytes) in [("strong", embedded::strong()), ("weak", embedded::weak())] {
        let (text, agreed, said) = answer(name, bytes);
        println!("{name}: {text}");
        // The engines round activations differently, so a near tie may fall either way.
        assert!(
            said >= 10 && agreed * 10 >= said * 9,
            "{name}: {agreed} of {said} agree: {text}"
        );
        let words = text
            .split_whitespace()
            .filter(|w| w.len() > 1 && w.chars().all(|c| c.is_ascii_alphabetic()));
        assert!(words.count() >= 5, "{name}: {text}");
        assert!(text.contains("<<") && text.contains(">>"), "{name}: {text}");
    }
}

#[test]
fn both_have_one_tokenizer() {
    let tokenizer = |bytes| Tokenizer::from_bytes("pair", bytes).unwrap();
    assert_eq!(
        tokenizer(embedded::strong()).hash(),
        tokenizer(embedded::weak()).hash()
    );
}
