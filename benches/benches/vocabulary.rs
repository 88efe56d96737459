//! What the codec does for each token over a vocabulary of 151,936: noise, CDF, mixing, coding, and the sampler.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::{QWEN, kernels, logits};
use weir_codec::coder::Encoder;
use weir_codec::noise::Noise;
use weir_codec::predict::Predictor;
use weir_codec::{Sampler, Sampling};
use weir_exact::{Top, Weights};

/// The integer weights of all tokens: the CDF before it is cut to candidates.
fn cdf(criterion: &mut Criterion) {
    let row = logits(QWEN, 1);
    let mut group = criterion.benchmark_group("cdf");
    group.throughput(Throughput::Elements(QWEN as u64));
    for kernel in kernels() {
        let (mut weights, mut top, mut ids) = (Weights::default(), Top::default(), Vec::new());
        group.bench_function(BenchmarkId::new("weights", kernel.name()), |bencher| {
            bencher.iter(|| weights.set(kernel, black_box(&row)).is_ok());
        });
        group.bench_function(BenchmarkId::new("top-128", kernel.name()), |bencher| {
            bencher.iter(|| top.find(black_box(&row), &weights, 128, &mut ids));
        });
    }
    group.finish();
}

/// The noise of all tokens at one position: which are lucky.
fn noise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("noise");
    group.throughput(Throughput::Elements(QWEN as u64));
    for kernel in kernels() {
        let mut lucky = Vec::new();
        let mut position = 0;
        group.bench_function(BenchmarkId::new("lucky", kernel.name()), |bencher| {
            bencher.iter(|| {
                position += 1;
                lucky.clear();
                Noise::new(&[7; 16], position)
                    .high()
                    .below(kernel, QWEN as u32, 1 << 23, &mut lucky);
                lucky.len()
            });
        });
    }
    group.finish();
}

/// All the codec's work for one token: predict, place, code, learn.
fn token(criterion: &mut Criterion) {
    let rows: Vec<_> = (0..8).map(|seed| logits(QWEN, seed)).collect();
    let mut group = criterion.benchmark_group("token");
    group.throughput(Throughput::Elements(1));
    for kernel in kernels() {
        for (name, sampling) in [("greedy", Sampling::GREEDY), ("seeded", Sampling::at(1.0))] {
            // What inner would have sent.
            let mut sampler = Sampler::new(kernel);
            let mut sent = Vec::new();
            for (position, row) in (0..).zip(&rows) {
                sent.push(
                    sampler
                        .sample(row, &sampling, &SEED, position)
                        .expect("the logits are finite"),
                );
            }
            let mut predictor = Predictor::new(kernel);
            let mut own = predictor.begin(Some(&sampling));
            let mut encoder = Encoder::default();
            let mut turn = 0;
            group.bench_function(BenchmarkId::new(name, kernel.name()), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % rows.len();
                    let noise = Noise::new(&SEED, turn as u32);
                    let predicted = predictor.prepare(&rows[turn], Some((&sampling, &noise)), &own);
                    predicted.expect("the logits are finite");
                    let place = predictor.prediction().place(sent[turn]);
                    encoder.reset();
                    for (start, width) in [Some(place.first), place.rest].into_iter().flatten() {
                        encoder.code(start, width);
                    }
                    predictor.learn(sent[turn], &mut own);
                    encoder.tail()
                });
            });
        }
    }
    group.finish();
}

/// The strong model's sampler.
fn sampler(criterion: &mut Criterion) {
    let row = logits(QWEN, 1);
    let mut group = criterion.benchmark_group("sampler");
    group.throughput(Throughput::Elements(1));
    for kernel in kernels() {
        for (name, sampling) in [
            ("seeded", Sampling::at(1.0)),
            (
                "top-p",
                Sampling {
                    temperature: 0.7,
                    top_p: 0.9,
                    top_k: 0,
                    tau: 1.0,
                },
            ),
            (
                "top-k",
                Sampling {
                    temperature: 0.7,
                    top_p: 1.0,
                    top_k: 40,
                    tau: 1.0,
                },
            ),
        ] {
            let mut sampler = Sampler::new(kernel);
            let mut position = 0;
            group.bench_function(BenchmarkId::new(name, kernel.name()), |bencher| {
                bencher.iter(|| {
                    position += 1;
                    sampler
                        .sample(black_box(&row), &sampling, &SEED, position)
                        .is_ok()
                });
            });
        }
    }
    group.finish();
}

const SEED: [u8; 16] = [7; 16];

criterion_group!(benches, cdf, noise, token, sampler);
criterion_main!(benches);
