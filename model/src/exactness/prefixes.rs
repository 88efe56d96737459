//! Shared prefixes: the same logits as without, whatever happens to the slots that hold them.

use super::*;
use crate::PAGE;

fn step(model: &mut Model, slot: Slot, tokens: &[Token]) -> Vec<blake3::Hash> {
    let rows: Vec<_> = tokens.iter().map(|&token| (slot, token)).collect();
    let mut hashes = Vec::new();
    model
        .step(&rows, &mut |_, logits| hashes.push(row_hash(logits)))
        .unwrap();
    hashes
}

/// `tokens` with others from `at` on.
fn other(tokens: &[Token], at: usize) -> Vec<Token> {
    let mut other = tokens.to_vec();
    other[at..]
        .iter_mut()
        .for_each(|token| *token = (*token + 7) % 256);
    other
}

/// What the test feeds, with the rows that a model without prefixes gives for it.
struct Stream {
    tokens: Vec<Token>,
    rows: Vec<blake3::Hash>,
}

impl Stream {
    fn new(plain: &mut Model, tokens: Vec<Token>) -> Self {
        let rows = grouped(plain, &tokens, &[64]);
        Self { tokens, rows }
    }

    /// Feeds the next `count` tokens, the slot holding those before.
    fn go_on(&self, model: &mut Model, slot: Slot, count: usize) {
        let at = model.len(slot);
        let to = (at + count).min(self.tokens.len());
        assert_eq!(
            step(model, slot, &self.tokens[at..to]),
            self.rows[at..to],
            "from {at}"
        );
    }
}

/// Two slots on one prefix part ways after it; one goes back to the places of `turns` and another way from there.
fn live_through(
    model: &mut Model,
    ours: &[Stream; 2],
    shared: usize,
    turns: &[(usize, Stream)],
    first_closed: usize,
) {
    let slots = [model.open().unwrap(), model.open().unwrap()];
    for (&slot, stream) in slots.iter().zip(ours) {
        model.prefill(slot, &stream.tokens[..shared + 2]).unwrap();
        stream.go_on(model, slot, 8);
    }
    for (at, stream) in turns {
        model.truncate(slots[0], *at);
        stream.go_on(model, slots[0], 20);
        // Nothing of that is seen by the other slot.
        model.truncate(slots[1], shared);
        ours[1].go_on(model, slots[1], 8);
    }
    model.close(slots[first_closed]);
    let (slot, stream) = (slots[1 - first_closed], &ours[1 - first_closed]);
    model.truncate(slot, 0);
    model.prefill(slot, &stream.tokens[..shared]).unwrap();
    stream.go_on(model, slot, 8);
    model.close(slot);
}

#[test]
fn any_prefix_kernel_and_threads_give_the_same_logits() {
    for (config, kv) in Tiny::GOLDEN.into_iter().zip(Kv::ALL) {
        let options = |kernel, threads| Options {
            kv,
            ..options(kernel, threads)
        };
        let tokens = tokens(140, config.vocab);
        let mut plain = tiny(&config, &options(Kernel::Portable, 2));
        for shared in [1, 63, 64, 65, 128, 130] {
            let ours = [tokens.clone(), other(&tokens, shared)];
            let ours = ours.map(|tokens| Stream::new(&mut plain, tokens));
            let turns = [shared, shared - 1, shared / 2, 0];
            let turns = turns.map(|at| (at, Stream::new(&mut plain, other(&tokens, at))));
            for (kernel, threads) in kernels().flat_map(|kernel| [(kernel, 1), (kernel, 2), (kernel, 3)]) {
                // The slow kernel only on what is most likely to break.
                if kernel == Kernel::Reference && (threads, shared) != (2, 65) {
                    continue;
                }
                let mut model = plain.twin(&options(kernel, threads)).unwrap();
                model.share(&tokens[..shared]).unwrap();
                for first_closed in [0, 1] {
                    live_through(&mut model, &ours, shared, &turns, first_closed);
                }
            }
        }
    }
}

#[test]
fn the_longest_prefix_is_taken_here_and_in_twins() {
    let config = Tiny::default();
    let tokens = tokens(200, config.vocab);
    let mut plain = tiny(&config, &options(Kernel::Portable, 1));
    let stream = Stream::new(&mut plain, tokens);
    let tokens = &stream.tokens;
    let mut model = plain.twin(&options(Kernel::Portable, 1)).unwrap();
    for shared in [70, 150, 66, 150, 0] {
        model.share(&tokens[..shared]).unwrap();
    }
    let tight = Options {
        kv_tokens: PAGE,
        ..options(Kernel::Portable, 2)
    };
    let mut twin = model.twin(&tight).unwrap();
    // Prompts that end before, with and after each of them; the twin has room only for those with the longest.
    for (model, ends) in [
        (&mut model, &[65, 66, 67, 69, 70, 71, 149, 150, 151][..]),
        (&mut twin, &[150, 151, 180]),
    ] {
        for &end in ends {
            let slot = model.open().unwrap();
            model.prefill(slot, &tokens[..end]).unwrap();
            assert_eq!(model.len(slot), end);
            stream.go_on(model, slot, 8);
            model.close(slot);
        }
    }
    // What is kept as something else is not shared.
    let coded = Options {
        kv: Kv::Int8,
        ..tight
    };
    let mut coded = model.twin(&coded).unwrap();
    let slot = coded.open().unwrap();
    assert!(coded.prefill(slot, &tokens[..150]).is_err());
    // 150 positions are there and 42 more fit into the one page, beside the copy of the prefix's last one.
    let slot = twin.open().unwrap();
    assert!(matches!(
        twin.prefill(slot, &tokens[..193]),
        Err(Error::PoolFull {
            needed: 128,
            free: 64
        })
    ));
    assert!(twin.is_empty(slot));
    twin.prefill(slot, &tokens[..192]).unwrap();
}

#[test]
fn what_cannot_be_shared_leaves_everything_as_it_was() {
    let config = Tiny::default();
    let small = Options {
        kv_tokens: PAGE,
        max_context: 100,
        ..options(Kernel::Portable, 1)
    };
    let mut model = tiny(&config, &small);
    let held = model.open().unwrap();
    model.prefill(held, &[5; 64]).unwrap();
    assert!(matches!(
        model.share(&[1; 101]),
        Err(Error::ContextFull {
            len: 101,
            max: 100,
            ..
        })
    ));
    assert!(matches!(
        model.share(&[300]),
        Err(Error::NoToken { token: 300, .. })
    ));
    // The pool is full, and a prefix has room beside it.
    model.share(&[1; 100]).unwrap();
    assert_eq!(model.len(held), 64);
    let slot = model.open().unwrap();
    assert!(model.prefill(slot, &[2; 100]).is_err());
    model.prefill(slot, &[1; 100]).unwrap();
    assert!(matches!(
        model.prefill(slot, &[1]),
        Err(Error::ContextFull { len: 101, .. })
    ));
    model.truncate(slot, 99);
    assert!(matches!(
        model.step(&[(slot, 1)], &mut |_, _| {}),
        Err(Error::PoolFull { .. })
    ));
    model.close(held);
    model.step(&[(slot, 1)], &mut |_, _| {}).unwrap();
    assert!(matches!(
        model.prefill(held, &[1; 100]),
        Err(Error::NoSlot(slot)) if slot == held
    ));
}
