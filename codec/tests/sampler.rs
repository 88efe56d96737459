//! Seeded samples follow p, whatever the seed and position, and the filters are those of the usual samplers.

use proptest::prelude::*;
use weir_codec::noise::{Noise, exponential};
use weir_codec::testing::Markov;
use weir_codec::{Sampler, Sampling, Seed};
use weir_exact::Kernel;

fn seed(n: u64) -> Seed {
    let mut seed = [0; 16];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    seed
}

/// Upper bound that a chi-square value of `freedom` degrees exceeds with probability about 3e-5 (Wilson-Hilferty).
fn chi_square_limit(freedom: f64) -> f64 {
    let a = 2.0 / (9.0 * freedom);
    freedom * (1.0 - a + 4.0 * a.sqrt()).powi(3)
}

fn chi_square(counts: &[u64], p: &[f64]) -> (f64, f64) {
    let n = counts.iter().sum::<u64>() as f64;
    let cells = counts.iter().zip(p).filter(|x| *x.1 > 0.0);
    let sum = cells.map(|(&c, &p)| (c as f64 - n * p).powi(2) / (n * p)).sum();
    (
        sum,
        chi_square_limit(p.iter().filter(|p| **p > 0.0).count() as f64 - 1.0),
    )
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let e: Vec<f64> = logits
        .iter()
        .map(|&x| (f64::from(x) / temperature).exp())
        .collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|x| x / sum).collect()
}

#[test]
fn a_million_draws_follow_p() {
    let logits: Vec<f32> = (0..24).map(|i| (i as f32 * 0.7).sin() * 2.0).collect();
    let mut sampler = Sampler::new(Kernel::detect());
    for (temperature, draws) in [(1.0, 1_000_000), (0.5, 100_000)] {
        let sampling = Sampling::at(temperature);
        let mut counts = [0; 24];
        for i in 0..draws {
            // Positions within answers and answers within seeds.
            let token = sampler
                .sample(&logits, &sampling, &seed(i / 1000), (i % 1000) as u32)
                .unwrap();
            counts[token as usize] += 1;
        }
        let (value, limit) = chi_square(&counts, &softmax(&logits, temperature.into()));
        assert!(
            value < limit,
            "chi-square {value} over {limit} at temperature {temperature}"
        );
    }
}

#[test]
fn neighbours_are_independent() {
    let logits = [0.0f32, 0.5, -0.3, 0.2];
    let p = softmax(&logits, 1.0);
    let pairs: Vec<f64> = p.iter().flat_map(|a| p.iter().map(move |b| a * b)).collect();
    let mut sampler = Sampler::new(Kernel::detect());
    let mut draw = |n: u64, position: u32| {
        sampler
            .sample(&logits, &Sampling::at(1.0), &seed(n), position)
            .unwrap()
    };
    let (mut positions, mut seeds) = ([0; 16], [0; 16]);
    for i in 0..60_000 {
        positions[(draw(i, 4) * 4 + draw(i, 5)) as usize] += 1;
        seeds[(draw(i, 9) * 4 + draw(i + 1_000_000, 9)) as usize] += 1;
    }
    for counts in [positions, seeds] {
        let (value, limit) = chi_square(&counts, &pairs);
        assert!(value < limit, "chi-square {value} over {limit}");
    }
}

/// -log2 p of what is drawn has mean H(p): over a thousand different distributions of 3000 tokens.
#[test]
fn code_length_is_entropy() {
    let mut model = Markov::new(3000);
    let mut sampler = Sampler::new(Kernel::detect());
    let (mut sum, mut variance, n) = (0.0, 0.0, 1500);
    for i in 0..n {
        let logits = model.logits(&[i, 3]);
        let p = softmax(logits, 1.0);
        let token = sampler.sample(logits, &Sampling::at(1.0), &seed(77), i).unwrap();
        let bits: Vec<f64> = p.iter().map(|p| -p.log2()).collect();
        let entropy: f64 = p.iter().zip(&bits).map(|(p, b)| p * b).sum();
        variance += p
            .iter()
            .zip(&bits)
            .map(|(p, b)| p * (b - entropy).powi(2))
            .sum::<f64>();
        sum += bits[token as usize] - entropy;
    }
    assert!(
        sum.abs() < 3.0 * f64::sqrt(variance),
        "{sum} bits off, deviation {}",
        f64::sqrt(variance)
    );
}

/// The whole definition, slowly: sort, filter, argmax.
fn by_the_book(logits: &[f32], sampling: &Sampling, seed: &Seed, position: u32) -> u32 {
    let max = logits.iter().copied().fold(f32::MIN, f32::max);
    let scale = 1.0 / sampling.temperature;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k as usize);
    }
    let weight = |i: &usize| weir_exact::exp_weight((logits[*i] - max) * scale);
    if sampling.top_p < 1.0 {
        let total: u64 = order.iter().map(|i| u64::from(weight(i))).sum();
        let mut before = 0;
        order.retain(|i| {
            let stays = (before as f64) < f64::from(sampling.top_p) * total as f64;
            before += u64::from(weight(i));
            stays
        });
    }
    let noise = Noise::new(seed, position);
    let score = |i: usize| {
        (f64::from(logits[i]) - f64::from(max)) / f64::from(sampling.temperature) + noise.gumbel(i as u32)
    };
    order.sort_unstable();
    let mut best = order[0];
    for &i in &order {
        if score(i) > score(best) {
            best = i;
        }
    }
    best as u32
}

#[test]
fn filters_are_by_the_book() {
    let mut model = Markov::new(2500);
    let mut sampler = Sampler::new(Kernel::detect());
    let mut n = 0;
    for temperature in [0.01, 0.3, 0.7, 1.0, 3.0] {
        for top_p in [0.01, 0.5, 0.9, 0.999, 1.0] {
            for top_k in [0, 1, 7, 128, 129, 1500, 9999] {
                let sampling = Sampling {
                    temperature,
                    top_p,
                    top_k,
                    tau: 1.0,
                };
                for round in 0..3 {
                    n += 1;
                    let mut logits = model.logits(&[n, round]).to_vec();
                    if round == 1 {
                        logits.iter_mut().for_each(|x| *x = (*x * 2.0).round());
                    }
                    let token = sampler.sample(&logits, &sampling, &seed(4), n).unwrap();
                    assert_eq!(
                        token,
                        by_the_book(&logits, &sampling, &seed(4), n),
                        "{sampling:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn greedy_takes_the_first_of_the_best() {
    let mut sampler = Sampler::new(Kernel::detect());
    assert_eq!(
        sampler
            .sample(&[1.0, 3.0, 3.0, -1.0], &Sampling::GREEDY, &seed(1), 0)
            .unwrap(),
        1
    );
    assert!(
        sampler
            .sample(&[1.0, f32::NAN], &Sampling::GREEDY, &seed(1), 0)
            .is_err()
    );
    assert!(
        sampler
            .sample(
                &[1.0],
                &Sampling {
                    top_p: 0.0,
                    ..Sampling::GREEDY
                },
                &seed(1),
                0
            )
            .is_err()
    );
    assert!(sampler.sample(&[], &Sampling::GREEDY, &seed(1), 0).is_err());
}

#[test]
fn exponentials_are_precise_at_both_ends() {
    assert!((exponential(0) * 2f64.powi(65) - 1.0).abs() < 1e-15);
    for shift in 0..63 {
        let word = 1u64 << shift;
        let u = (word as f64 + 0.5) * 2f64.powi(-64);
        assert!((exponential(word) / -(-u).ln_1p() - 1.0).abs() < 1e-14);
        assert!((exponential(!word) / -u.ln() - 1.0).abs() < 1e-14);
        assert!(exponential(word) < exponential(word + (word >> 2).max(1)));
    }
    assert!(exponential(u64::MAX).is_finite() && exponential((1 << 62) - 1) <= exponential(1 << 62));
}

/// Rows of a strong and a weak model that are relatives.
fn rows(n: u32) -> (Vec<f32>, Vec<f32>) {
    let strong = Markov::new(700).relative(3).logits(&[n, 5]).to_vec();
    (strong, Markov::new(700).logits(&[n, 5]).to_vec())
}

fn allowing(tau: f32, temperature: f32) -> Sampling {
    Sampling {
        tau,
        ..Sampling::at(temperature)
    }
}

fn first_of_the_best(logits: &[f32]) -> u32 {
    let max = logits.iter().copied().fold(f32::MIN, f32::max);
    logits.iter().position(|&x| x == max).unwrap() as u32
}

proptest! {
    /// SPEC 4.5, slowly: the weak model's best stays while the strong one gives it `tau` times its own best.
    #[test]
    fn the_weak_best_is_kept_by_the_book(n: u32, tau in Sampling::MIN_TAU..=1.0f32) {
        let (strong, weak) = rows(n);
        let (best, kept) = (first_of_the_best(&strong), first_of_the_best(&weak));
        let behind = f64::from(strong[kept as usize]) - f64::from(strong[best as usize]);
        let stays = tau < 1.0 && behind >= f64::from(tau).ln();
        let token = Sampler::new(Kernel::detect()).sample_lossy(&strong, &weak, &allowing(tau, 0.0), &seed(1), n).unwrap();
        prop_assert_eq!(token, if stays { kept } else { best });
    }

    /// A blend is drawn as the lossless sampler draws from the blended row, filters included.
    #[test]
    fn a_blend_is_by_the_book(
        n: u32,
        tau in Sampling::MIN_TAU..1.0f32,
        temperature in 0.1f32..2.0,
        top_p in 0.3f32..=1.0,
        top_k in 0u32..50,
    ) {
        let (strong, weak) = rows(n);
        let blend: Vec<f32> = strong.iter().zip(&weak).map(|(l, m)| tau * l + (1.0 - tau) * m).collect();
        let sampling = Sampling { temperature, top_p, top_k, tau };
        let token = Sampler::new(Kernel::detect()).sample_lossy(&strong, &weak, &sampling, &seed(2), n).unwrap();
        prop_assert_eq!(token, by_the_book(&blend, &sampling, &seed(2), n));
    }

    /// Lossless is lossless: the weak model is not looked at.
    #[test]
    fn a_tau_of_one_changes_nothing(n: u32, temperature in prop_oneof![Just(0.0f32), 0.1f32..2.0]) {
        let (strong, _) = rows(n);
        let sampling = Sampling::at(temperature);
        let mut sampler = Sampler::new(Kernel::detect());
        let lossless = sampler.sample(&strong, &sampling, &seed(3), n).unwrap();
        let token = sampler.sample_lossy(&strong, &[f32::NAN], &sampling, &seed(3), n).unwrap();
        prop_assert_eq!(token, lossless);
    }
}

/// Towards 0 the answer is the weak model's own, greedy or drawn with the same noise, wherever the strong one agrees at all.
#[test]
fn the_least_tau_gives_the_weak_model_s_answer() {
    let mut sampler = Sampler::new(Kernel::detect());
    let (mut kept, mut drawn, rounds) = (0, 0, 300);
    for n in 0..rounds {
        let (strong, weak) = rows(n);
        let tau = Sampling::MIN_TAU;
        let token = sampler
            .sample_lossy(&strong, &weak, &allowing(tau, 0.0), &seed(4), n)
            .unwrap();
        let behind =
            strong[first_of_the_best(&weak) as usize] - strong.iter().copied().fold(f32::MIN, f32::max);
        kept += u32::from(token == first_of_the_best(&weak) || behind < -6.9);
        let token = sampler
            .sample_lossy(&strong, &weak, &allowing(tau, 1.0), &seed(4), n)
            .unwrap();
        let own = sampler.sample(&weak, &Sampling::at(1.0), &seed(4), n).unwrap();
        drawn += u32::from(token == own);
    }
    assert_eq!(kept, rounds);
    assert!(drawn >= rounds - 3, "{drawn} of {rounds}");
}

#[test]
fn what_a_lossy_draw_needs_is_asked_for() {
    let mut sampler = Sampler::new(Kernel::detect());
    let (strong, weak) = rows(1);
    let lossy = allowing(0.3, 1.0);
    assert!(sampler.sample(&strong, &lossy, &seed(1), 0).is_err());
    assert!(
        sampler
            .sample_lossy(&strong, &weak[1..], &lossy, &seed(1), 0)
            .is_err()
    );
    assert!(
        sampler
            .sample_lossy(&strong, &[f32::NAN; 700], &lossy, &seed(1), 0)
            .is_err()
    );
    for tau in [0.0, -1.0, 1.1, f32::NAN, Sampling::MIN_TAU / 2.0] {
        assert!(allowing(tau, 0.0).check().is_err(), "{tau}");
    }
}
