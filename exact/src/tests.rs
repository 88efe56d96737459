use super::chacha::{Race, Words};
use super::*;
use crate::Kernel;

/// Logits as a model may give them: a few high ones over a wide floor.
fn logits(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..len)
        .map(|_| (next() + next() + next() - 1.5) * 12.0 + if next() > 0.99 { 9.0 } else { 0.0 })
        .collect()
}

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|k| k.supported())
}

#[test]
fn exp_is_close() {
    let mut worst = 0f64;
    for i in -8_700_000..=8_800_000 {
        let x = i as f32 / 100_000.0;
        let right = f64::from(x).exp();
        worst = worst.max(((f64::from(exp(x)) - right) / right).abs());
    }
    assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:e}");
    assert_eq!(exp(0.0), 1.0);
    assert_eq!(exp(-87.5), 0.0);
    assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(exp(88.5), f32::INFINITY);
    assert_eq!(exp(f32::MAX), f32::INFINITY);
    assert!(exp(f32::NAN).is_nan());
    assert_eq!(
        (exp_weight(0.0), exp_weight(-1e30), exp_weight(f32::MIN)),
        (ONE, 0, 0)
    );
}

#[test]
fn ln_is_close() {
    let mut x = 1e-300f64;
    while x < 1e300 {
        let right = x.ln();
        assert!(
            (ln(x) - right).abs() <= 1e-15 * right.abs().max(1e-300),
            "ln {x}: {} {right}",
            ln(x)
        );
        x *= 1.000_7;
    }
    for tiny in [1e-20, 1e-10, 1e-3, 0.2, 0.4] {
        for x in [tiny, -tiny] {
            if x < -0.3 {
                continue;
            }
            assert!(
                (ln_1p(x) - x.ln_1p()).abs() <= 4e-16 * x.ln_1p().abs(),
                "ln_1p {x}"
            );
        }
    }
    assert_eq!(ln(1.0), 0.0);
}

#[test]
fn integers_stand_for_floats_in_opposite_order() {
    let ascending = [
        f32::NEG_INFINITY,
        f32::MIN,
        -1.5,
        -1e-40,
        0.0,
        1e-40,
        1.0,
        1.000_000_1,
        f32::INFINITY,
    ];
    assert!(ascending.is_sorted_by(|&a, &b| order::descending(a) > order::descending(b)));
    assert!(ascending.iter().all(|&x| order::float(order::descending(x)) == x));
    assert_eq!(order::descending(-0.0), order::descending(0.0));
}

#[test]
fn gumbel_is_close() {
    let exact = |word: u32| {
        let u = (f64::from(word) + 0.5) / 4_294_967_296.0;
        -(-(-u).ln_1p()).ln()
    };
    let mut words: Vec<u32> = (0..10_000_000u32).map(|i| i.wrapping_mul(429)).collect();
    words.extend((0..1000).flat_map(|i| [i, !i, (1 << 30) - 500 + i, (1 << 31) + i]));
    let mut reference = vec![0.0; words.len()];
    gumbels(Kernel::Portable, &words, &mut reference);
    for (&word, &found) in words.iter().zip(&reference) {
        let right = exact(word);
        // Where a variate is near 0, the exponential one has been rounded near 1.
        let error = (f64::from(found) - right).abs() / right.abs().max(1.0);
        assert!(error < 4e-7, "{word}: {found}, not {right}");
        assert_eq!(found, gumbel(word));
    }
    let weights: Vec<u32> = words.iter().map(|&word| word.wrapping_mul(77) >> 2).collect();
    let mut favoured = vec![0.0; words.len()];
    favour(Kernel::Portable, (0.5, 8.0), &words, &weights, &mut favoured);
    for ((&weight, &gumbel), &favoured) in weights.iter().zip(&reference).zip(&favoured) {
        assert_eq!(favoured, weight as f32 * exp((0.5 * gumbel).min(8.0)));
    }
    for kernel in kernels() {
        let (mut out, mut by_noise) = (vec![0.0; words.len()], vec![0.0; words.len()]);
        gumbels(kernel, &words, &mut out);
        favour(kernel, (0.5, 8.0), &words, &weights, &mut by_noise);
        assert!(out == reference && by_noise == favoured, "{kernel:?}");
    }
}

#[test]
fn weights_are_a_softmax_and_equal_on_every_kernel() {
    for len in [1, 15, 16, 63, 64, 65, 1000, 151_936] {
        let row = logits(len, len as u64);
        let mut first: Option<Weights> = None;
        for kernel in kernels() {
            let mut w = Weights::default();
            w.set(kernel, &row).unwrap();
            assert_eq!(w.max, row.iter().copied().fold(f32::MIN, f32::max));
            assert_eq!(w.sum, w.weights.iter().map(|&x| u64::from(x)).sum::<u64>());
            assert_eq!(w.weights.iter().max(), Some(&ONE));
            if let Some(first) = &first {
                assert_eq!(
                    (&w.weights, w.sum, &w.block_max),
                    (&first.weights, first.sum, &first.block_max)
                );
            }
            first = Some(w);
        }
        let w = first.unwrap();
        let exact: f64 = row.iter().map(|&x| f64::from(x - w.max).exp()).sum();
        assert!((w.sum as f64 / f64::from(ONE) / exact - 1.0).abs() < 1e-6 + len as f64 * 1e-9 / exact);
    }
}

#[test]
fn what_is_not_finite_is_an_error() {
    for at in [0, 17, 99] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut row = logits(100, 1);
            row[at] = bad;
            for kernel in kernels() {
                assert!(Weights::default().set(kernel, &row).is_err());
            }
        }
    }
    assert!(Weights::default().set(Kernel::Portable, &[]).is_err());
}

#[test]
fn top_is_the_sorted_head() {
    for (len, k) in [
        (1, 1),
        (10, 128),
        (128, 128),
        (700, 128),
        (5000, 1),
        (151_936, 128),
        (500, 0),
    ] {
        let mut row = logits(len, 3);
        for x in &mut row {
            *x = (*x * 2.0).round() / 2.0; // many ties
        }
        let mut weights = Weights::default();
        weights.maximum(Kernel::Portable, &row).unwrap();
        let mut ids = Vec::new();
        Top::default().find(&row, &weights, k, &mut ids);
        ids.sort_unstable();
        let mut right: Vec<u32> = (0..len as u32).collect();
        right.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
        right.truncate(k);
        right.sort_unstable();
        assert_eq!(ids, right);
    }
}

/// ChaCha8, all-zero key and nonce, block 0 (draft-strombergson-chacha-test-vectors-01, TC1, 256-bit key).
#[test]
fn chacha8_known_block() {
    let words = Words {
        key: [0; 8],
        nonce: [0; 3],
    };
    let bytes: Vec<u8> = words.block(0).iter().flat_map(|w| w.to_le_bytes()).collect();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        hex,
        "3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e\
         984ce172b9216f419f445367456d5619314a42a3da86b001387bfdb80e0cfe42"
    );
}

#[test]
fn words_are_the_same_by_every_way() {
    let words = Words {
        key: [1, 2, 3, 4, 5, 6, 7, 8],
        nonce: [9, 10, 11],
    };
    let all: Vec<u32> = (0..1000).map(|i| words.word(i)).collect();
    assert_eq!(all[256 + 35], words.block(16 + 3)[2]);
    for kernel in kernels() {
        let mut found = Vec::new();
        words.below(kernel, 1000, u32::MAX / 50, &mut found);
        let right: Vec<_> = (0..1000)
            .zip(all.iter().copied())
            .filter(|x| x.1 < u32::MAX / 50)
            .collect();
        assert_eq!(found, right);
        let mut stream = vec![0; 1000];
        words.fill(kernel, &mut stream);
        assert_eq!(stream, all);
        let indices: Vec<u32> = (0..1000).map(|i| i * 7 % 1000).collect();
        let mut out = vec![0; 1000];
        words.gather(kernel, &indices, &mut out);
        assert!(indices.iter().zip(&out).all(|(&i, &w)| w == all[i as usize]));
    }
}

#[test]
fn rivals_miss_nobody() {
    let row = logits(3000, 8);
    let max = row.iter().copied().fold(f32::MIN, f32::max);
    for position in 0..50 {
        let words = Words {
            key: [7; 8],
            nonce: [position, 0, 0],
        };
        for temperature in [0.001f32, 0.3, 1.0, 5.0] {
            let score = |i: usize| {
                f64::from(row[i] - max) / f64::from(temperature)
                    - ln((f64::from(words.word(i as u32)) + 0.5) / 4_294_967_296.0)
            };
            let best = (0..row.len()).map(score).fold(f64::MIN, f64::max);
            let race = Race {
                max,
                scale: 1.0 / temperature,
                least: (best - 1.0) as f32,
            };
            let mut first = None;
            for kernel in kernels() {
                let mut found = Vec::new();
                words.rivals(kernel, &row, &race, &mut found);
                let missed = (0..row.len())
                    .filter(|&i| score(i) >= best - 1.0 && !found.contains(&(i as u32)))
                    .count();
                assert_eq!(missed, 0);
                assert!(found.len() < 100, "{}", found.len());
                assert_eq!(*first.get_or_insert_with(|| found.clone()), found);
            }
        }
    }
}

#[test]
fn layers_are_sums_in_order_on_every_kernel() {
    for (units, width) in [(1, 1), (5, 7), (32, 32)] {
        let numbers = logits(units * width + units + width * ROWS, 11);
        let (weights, rest) = numbers.split_at(units * width);
        let (bias, rest) = rest.split_at(units);
        let input: Vec<Column> = rest.as_chunks::<ROWS>().0.to_vec();
        for kernel in kernels() {
            let mut out = vec![[0.0; ROWS]; units];
            dense(kernel, weights, bias, &input, &mut out);
            for unit in 0..units {
                for row in 0..ROWS {
                    let terms = (0..width).map(|f| weights[unit * width + f] * input[f][row]);
                    let right = terms.fold(bias[unit], |sum, term| sum + term).max(0.0);
                    assert_eq!(out[unit][row].to_bits(), right.to_bits());
                }
            }
        }
    }
}

#[test]
fn what_precedes_is_greater() {
    let mut x = logits(385, 12);
    for x in &mut x {
        *x = x.round(); // many ties
    }
    let mass: Vec<u32> = (0..385).map(|i| i * i).collect();
    for kernel in kernels() {
        let mut found = Vec::new();
        precede(kernel, &x, &mass, &x[..64], &mut found);
        for (&bar, found) in x[..64].iter().zip(found) {
            let greater = || x.iter().zip(&mass).filter(|(x, _)| **x > bar);
            let sum: u32 = greater().map(|(_, mass)| mass).sum();
            assert_eq!(found, (greater().count() as u32, sum));
        }
    }
}
