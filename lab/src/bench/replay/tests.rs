use weir_codec::testing::Markov;
use weir_codec::{Query, Sampling};

use super::*;

fn job(number: u8, tokens: usize) -> Job {
    let query = Query {
        seed: [number; 16],
        sampling: Sampling::GREEDY,
        max_tokens: tokens as u32,
        stop: vec![],
        prompt: vec![u32::from(number), 3],
    };
    let tokens = (0..tokens as u32)
        .map(|i| (i * 7 + u32::from(number)) % 50)
        .collect();
    Job { query, tokens }
}

/// Rounds of all slots, refilled between frames; the logits are those of each answer's own context, in both models.
#[test]
fn tokens_come_in_the_order_of_frames_with_their_logits() {
    let jobs = [job(1, 5), job(2, 2), job(3, 4)];
    let replay = Replay {
        slots: 2,
        tokens_per_tick: 2,
    };
    let (mut one, mut two) = (Markov::new(50), Markov::new(50).relative(9));
    let bar = ProgressBar::hidden();
    let (mut order, mut opened) = (Vec::new(), Vec::new());
    replay
        .run(&mut [&mut one, &mut two], &jobs, &bar, &mut |part| {
            let Part { tokens, logits, .. } = part;
            for (i, at) in tokens.iter().enumerate() {
                let Job { query, tokens } = &jobs[at.job];
                let context = [&query.prompt, &tokens[..at.position as usize]].concat();
                let mut models = [Markov::new(50), Markov::new(50).relative(9)];
                for (model, logits) in models.iter_mut().zip(logits) {
                    assert_eq!(model.logits(&context), &logits[i * 50..][..50]);
                }
                assert_eq!(at.token, tokens[at.position as usize]);
                order.push((at.job, at.position));
            }
            opened.push(part.opened.to_vec());
            Ok(())
        })
        .unwrap();
    let first = [(0, 0), (1, 0), (0, 1), (1, 1)];
    let second = [(0, 2), (2, 0), (0, 3), (2, 1)];
    let third = [(0, 4), (2, 2), (2, 3)];
    assert_eq!(order, [&first[..], &second, &third].concat());
    assert_eq!(opened, [vec![0, 1], vec![2], vec![]]);
    assert_eq!(bar.position(), 11);
}
