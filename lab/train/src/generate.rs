//! Sampling answers, many at once.

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::corpus::Sequence;
use crate::fit::{eprintln_if_hidden, progress};
use crate::llama::Llama;
use crate::rng::Rng;
use crate::tokenizer::IM_END;

/// Answers every prompt once; `temperatures[i]` is that of prompt i, and 0 is greedy. A sequence ends in `<|im_end|>`
/// or is cut at `max` tokens. The answers come in the prompts' order.
pub fn answer(
    model: &Llama,
    prompts: &[Vec<u32>],
    temperatures: &[f32],
    max: usize,
    seed: u64,
) -> Result<Vec<Sequence>> {
    // Prompts of one length run side by side: then all rows are at one position and nothing is padded.
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&i| prompts[i].len());
    let bar = progress(prompts.len(), "generate");
    let mut answers = vec![None; prompts.len()];
    for group in order.chunk_by(|&a, &b| prompts[a].len() == prompts[b].len()) {
        for rows in group.chunks(ROWS) {
            let prompts: Vec<&[u32]> = rows.iter().map(|&i| prompts[i].as_slice()).collect();
            let temperatures: Vec<f32> = rows.iter().map(|&i| temperatures[i]).collect();
            let mut rng = Rng::new(seed, rows[0] as u64);
            for (&i, sequence) in rows
                .iter()
                .zip(together(model, &prompts, &temperatures, max, &mut rng)?)
            {
                answers[i] = Some(sequence);
            }
            bar.inc(rows.len() as u64);
            eprintln_if_hidden(
                &bar,
                &format!(
                    "{}/{} {} s",
                    bar.position(),
                    answers.len(),
                    bar.elapsed().as_secs()
                ),
            );
        }
    }
    bar.finish();
    Ok(answers.into_iter().flatten().collect())
}

/// Sequences that run side by side.
const ROWS: usize = 128;

/// Answers prompts of one length.
fn together(
    model: &Llama,
    prompts: &[&[u32]],
    temperatures: &[f32],
    max: usize,
    rng: &mut Rng,
) -> Result<Vec<Sequence>> {
    let length = prompts[0].len();
    let mut sequences: Vec<Sequence> = prompts
        .iter()
        .map(|p| Sequence {
            tokens: p.to_vec(),
            prompt: length,
        })
        .collect();
    if length >= max {
        return Ok(sequences);
    }
    let mut live: Vec<usize> = (0..prompts.len()).collect();
    let mut cache = model.cache(prompts.len(), max)?;
    let mut feed = Tensor::from_vec(prompts.concat(), (prompts.len(), length), &Device::Cpu)?;
    while !live.is_empty() {
        let logits = model.extend(&feed, &mut cache)?.to_vec2::<f32>()?;
        let mut kept = Vec::new();
        for (row, (&i, logits)) in live.iter().zip(&logits).enumerate() {
            let token = sample(logits, temperatures[i], rng);
            sequences[i].tokens.push(token);
            if token != IM_END && sequences[i].tokens.len() < max {
                kept.push(row as u32);
            }
        }
        if kept.len() < live.len() {
            live = kept.iter().map(|&row| live[row as usize]).collect();
            if !live.is_empty() {
                cache.select(&kept)?;
            }
        }
        let last: Vec<u32> = live
            .iter()
            .map(|&i| sequences[i].tokens[sequences[i].tokens.len() - 1])
            .collect();
        feed = Tensor::from_vec(last, (live.len(), 1), &Device::Cpu)?;
    }
    Ok(sequences)
}

/// One token: the best at temperature 0, else a draw from the softmax.
fn sample(logits: &[f32], temperature: f32, rng: &mut Rng) -> u32 {
    let best = logits
        .iter()
        .enumerate()
        .fold(0, |best, (i, &x)| if x > logits[best] { i } else { best });
    if temperature == 0.0 {
        return best as u32;
    }
    let weights: Vec<f32> = logits
        .iter()
        .map(|x| ((x - logits[best]) / temperature).exp())
        .collect();
    let mut left = rng.uniform() * weights.iter().sum::<f32>();
    for (token, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return token as u32;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_follow_the_softmax() {
        let logits = [0.0, 2f32.ln(), f32::NEG_INFINITY, 5f32.ln()];
        let mut rng = Rng::new(3, 0);
        let mut counts = [0u32; 4];
        for _ in 0..8000 {
            counts[sample(&logits, 1.0, &mut rng) as usize] += 1;
        }
        assert!(
            counts[0].abs_diff(1000) < 150 && counts[1].abs_diff(2000) < 200 && counts[2] == 0,
            "{counts:?}"
        );
        assert_eq!(sample(&logits, 0.0, &mut rng), 3);
    }
}
