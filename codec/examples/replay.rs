//! Bits per token of the prediction on saved logits of a strong and a weak model, without running either.
//!
//!     replay OUT TEMPERATURE [TOP_P] [DRAWS]
//!
//! OUT.jsonl has an object with `out` (tokens) and `vocab` for every answer; OUT.p.f16 and OUT.q.f16 have the strong and the weak
//! model's logits of each token, little-endian binary16. At every position the strong model's token is drawn anew with
//! this crate's sampler, so one file serves every temperature and many seeds: a static estimate on the saved paths.

use std::fs::File;
use std::io::Read;

use weir_codec::noise::Noise;
use weir_codec::predict::Predictor;
use weir_codec::{Sampler, Sampling};
use weir_exact::Kernel;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [out, temperature, rest @ ..] = args.as_slice() else {
        return Err("usage: replay OUT TEMPERATURE [TOP_P] [DRAWS]".into());
    };
    let top_p = rest.first().map_or(Ok(1.0), |p| p.parse())?;
    let draws = rest.get(1).map_or(Ok(1), |n| n.parse())?;
    let sampling = Sampling {
        temperature: temperature.parse()?,
        top_p,
        top_k: 0,
        tau: 1.0,
    };
    let (lengths, vocab) = answers(&std::fs::read_to_string(format!("{out}.jsonl"))?)?;

    let kernel = Kernel::detect();
    let (mut sampler, mut predictor) = (Sampler::new(kernel), Predictor::new(kernel));
    let (mut tokens, mut coded, mut plain, mut escapes) = (0u32, 0.0, 0.0, 0u32);
    let (mut p, mut q) = (vec![0.0; vocab], vec![0.0; vocab]);
    for draw in 0..draws {
        let mut strong = File::open(format!("{out}.p.f16"))?;
        let mut weak = File::open(format!("{out}.q.f16"))?;
        for (answer, &length) in (0u64..).zip(&lengths) {
            let mut seed = [draw; 16];
            seed[..8].copy_from_slice(&answer.to_le_bytes());
            let mut own = predictor.begin(Some(&sampling));
            for position in 0..length {
                row(&mut strong, &mut p)?;
                row(&mut weak, &mut q)?;
                let token = sampler.sample(&p, &sampling, &seed, position)?;
                let noise = Noise::new(&seed, position);
                predictor.prepare(&q, Some((&sampling, &noise)), &own)?;
                let place = predictor.prediction().place(token);
                tokens += 1;
                coded += place.bits();
                plain += predictor.prediction().plain_bits(token);
                escapes += u32::from(place.rest.is_some());
                predictor.learn(token, &mut own);
            }
        }
    }
    let n = f64::from(tokens);
    println!(
        "{tokens} tokens: plain {:.4}, coded {:.4} bits/token ({:.3} of plain), {:.2} % escapes",
        plain / n,
        coded / n,
        coded / plain,
        100.0 * f64::from(escapes) / n
    );
    Ok(())
}

/// Number of tokens of each answer, and the vocabulary's size.
fn answers(text: &str) -> Result<(Vec<u32>, usize)> {
    let (mut lengths, mut vocab) = (Vec::new(), 0);
    for line in text.lines() {
        let answer: serde_json::Value = serde_json::from_str(line)?;
        lengths.push(answer["out"].as_array().ok_or("an answer without tokens")?.len() as u32);
        vocab = answer["vocab"].as_u64().ok_or("an answer without vocab")? as usize;
    }
    Ok((lengths, vocab))
}

fn row(file: &mut File, out: &mut [f32]) -> Result<()> {
    let mut bytes = vec![0; out.len() * 2];
    file.read_exact(&mut bytes)?;
    let (halves, _) = bytes.as_chunks::<2>();
    for (x, half) in out.iter_mut().zip(halves) {
        *x = from_half(u16::from_le_bytes(*half));
    }
    Ok(())
}

/// Binary16 to binary32, by moving the bits and correcting the exponent's bias.
fn from_half(half: u16) -> f32 {
    let magnitude = f32::from_bits(u32::from(half & 0x7fff) << 13) * f32::from_bits((254 - 15) << 23);
    if half >> 15 == 1 { -magnitude } else { magnitude }
}
