//! Time of the codec's own work per token at a vocabulary of 151,936 (the weak model's forward pass apart).
#![allow(clippy::disallowed_methods, reason = "a stopwatch is what this is")]

use std::time::Instant;

use weir_codec::noise::Noise;
use weir_codec::testing::Markov;
use weir_codec::winner::Predictor;
use weir_codec::{Sampler, Sampling};
use weir_model::Kernel;

const VOCAB: usize = 151_936;

fn micros(rounds: u32, mut work: impl FnMut(u32)) -> f64 {
    let mut best = f64::MAX;
    for i in 0..rounds {
        let start = Instant::now();
        work(i);
        best = best.min(start.elapsed().as_secs_f64());
    }
    best * 1e6
}

fn main() {
    let logits = Markov::new(VOCAB).logits(&[1, 2]).to_vec();
    for kernel in Kernel::ALL.into_iter().filter(|k| k.supported()) {
        let mut predictor = Predictor::new(kernel);
        let mut sampler = Sampler::new(kernel);
        for (name, sampling) in [("T=0", Sampling::GREEDY), ("T=1", Sampling::at(1.0))] {
            let noise = Noise::new(&[1; 16], 0);
            let mut own = predictor.begin(Some(&sampling));
            let predict = micros(100, |_| {
                predictor
                    .prepare(&logits, Some((&sampling, &noise)), &own)
                    .expect("finite logits");
                predictor.learn(7, &mut own);
            });
            let sample = micros(100, |i| {
                sampler
                    .sample(&logits, &sampling, &[1; 16], i)
                    .expect("finite logits");
            });
            println!(
                "{:9} {name}: predict {predict:6.0} us, sample {sample:6.0} us",
                kernel.name()
            );
        }
        let nucleus = Sampling {
            temperature: 1.0,
            top_p: 0.9,
            top_k: 0,
        };
        let sample = micros(50, |i| {
            sampler
                .sample(&logits, &nucleus, &[1; 16], i)
                .expect("finite logits");
        });
        let escape = micros(50, |i| {
            predictor.place(i * 1000);
        });
        println!(
            "{:9} top-p 0.9: sample {sample:6.0} us; place with escape {escape:6.0} us",
            kernel.name()
        );
    }
}
