use weir_codec::Query;
use weir_codec::predict::network;
use weir_codec::testing::Markov;
use weir_model::Token;

use super::*;

const VOCAB: usize = 600;

/// Positions of answers that any text will do for: the toy model and a relative of it read them.
fn observed(answers: u32) -> Vec<Reading> {
    let mut observer = Observer::new(Markov::new(VOCAB), Markov::new(VOCAB).relative(3));
    let answer = |n: u32| {
        let tokens: Vec<Token> = (0..40).map(|i| (n * 131 + i * i * 7) % VOCAB as u32).collect();
        let query = Query {
            seed: [n as u8; 16],
            sampling: Sampling::GREEDY,
            max_tokens: 40,
            stop: Vec::new(),
            prompt: vec![n, 1, 2],
        };
        observer.observe(&Answer { query, tokens }).unwrap()
    };
    (0..answers).map(answer).collect()
}

#[test]
fn fitting_makes_the_code_shorter() {
    let positions = observed(20);
    let (train, held_out) = positions.split_at(15);
    let cost = |steps| {
        let plan = Plan {
            steps,
            batch: 64,
            rate: 3e-3,
            seed: 1,
        };
        let mut heard = 0;
        let (weights, costs) = fit(&plan, train, held_out, &mut || heard += 1).unwrap();
        assert_eq!(heard, 2 * steps);
        assert_eq!(weights.len(), 2 * network::SIZE);
        costs.iter().map(|cost| cost.mixed).sum::<f64>()
    };
    let (before, after) = (cost(0), cost(80));
    assert!(after < 0.97 * before, "{after} {before}");
}

/// The tokens that are drawn anew have the strong model's probabilities, and top-p leaves the most likely.
#[test]
fn draws_follow_the_strong_model() {
    let position = &observed(1)[0].positions[5];
    let mut model = Markov::new(VOCAB).relative(3);
    let mut rng = Rng::new(1, 1);
    let mut counts = vec![0u32; VOCAB + 1];
    let sampling = Sampling::at(1.0);
    for _ in 0..20_000 {
        let drawn = position.draw(&sampling, &mut rng);
        counts[drawn.winner.unwrap_or(VOCAB)] += 1;
    }
    let tokens: Vec<Token> = (0..40).map(|i| (i * i * 7) % VOCAB as u32).collect();
    let context = [&[0, 1, 2][..], &tokens[..5]].concat();
    let logits = model.logits(&context).to_vec();
    let best = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f32 = logits.iter().map(|x| (x - best).exp()).sum();
    // The most likely token is a candidate; which one, its logit tells.
    let most = *counts.iter().max().unwrap();
    assert!(
        (f64::from(most) / 20_000.0 - f64::from(1.0 / sum)).abs() < 0.02,
        "{most} {sum}"
    );

    let narrow = Sampling {
        top_p: 1e-6,
        ..sampling
    };
    let winners: Vec<_> = (0..50).map(|_| position.draw(&narrow, &mut rng).winner).collect();
    assert!(winners.iter().all(|winner| winner == &winners[0]));
}
