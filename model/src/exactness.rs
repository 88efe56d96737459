//! Tests of the promise: logits depend on weights and tokens before, and on nothing else.

mod long;
mod prefixes;

use crate::golden;
use crate::testing::{Tiny, real, tiny_gguf};
use weir_exact::Error;

use crate::{Kernel, Kv, Model, Options, Predict, Slot, Token, embedded};

fn options(kernel: Kernel, threads: usize) -> Options {
    Options {
        kernel,
        threads,
        kv_tokens: 2048,
        max_context: 1024,
        kv: Kv::F32,
    }
}

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|k| k.supported())
}

fn tiny(tiny: &Tiny, options: &Options) -> Model {
    Model::from_bytes(tiny.name(), &tiny_gguf(tiny), options).unwrap()
}

fn tokens(count: usize, vocab: usize) -> Vec<Token> {
    (0..count as u32)
        .map(|i| i.wrapping_mul(2_654_435_761).rotate_left(9) % vocab as u32)
        .collect()
}

/// A digest of a row, for comparing many.
fn row_hash(logits: &[f32]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    logits
        .iter()
        .for_each(|x| _ = hasher.update(&x.to_bits().to_le_bytes()));
    hasher.finalize()
}

/// Feeds `tokens` by groups of `sizes` in turn and gives the hash of each row.
fn grouped(model: &mut Model, tokens: &[Token], sizes: &[usize]) -> Vec<blake3::Hash> {
    let slot = model.open().unwrap();
    let mut rest = tokens;
    let mut out = Vec::new();
    for &size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(size.min(rest.len()));
        let rows: Vec<_> = now.iter().map(|&token| (slot, token)).collect();
        model
            .step(&rows, &mut |row, logits| {
                assert_eq!(row + tokens.len() - rest.len(), out.len());
                out.push(row_hash(logits));
            })
            .unwrap();
        rest = later;
    }
    model.close(slot);
    out
}

/// Every way of feeding `tokens` gives the same rows; those after a prefill too.
fn check(model: &mut Model, tokens: &[Token], expected: &[blake3::Hash]) {
    for sizes in [&[1][..], &[2, 3], &[7, 1, 30], &[tokens.len()]] {
        assert_eq!(grouped(model, tokens, sizes), expected, "{sizes:?}");
    }
    let slot = model.open().unwrap();
    let (last, first) = tokens.split_last().unwrap();
    model.prefill(slot, first).unwrap();
    assert_eq!(model.len(slot), first.len());
    let feed = |model: &mut Model, t: Token| {
        let mut hash = None;
        model
            .step(&[(slot, t)], &mut |_, logits| hash = Some(row_hash(logits)))
            .unwrap();
        hash.unwrap()
    };
    assert_eq!(feed(model, *last), expected[first.len()]);
    // Roll back, go another way, roll back again.
    let at = tokens.len() / 2;
    model.truncate(slot, at);
    feed(model, 3);
    model.truncate(slot, at);
    assert_eq!(feed(model, tokens[at]), expected[at]);
    model.close(slot);
}

#[test]
fn any_grouping_threads_and_kernel_give_the_same_logits() {
    for (config, kv) in Tiny::GOLDEN
        .into_iter()
        .flat_map(|tiny| Kv::ALL.map(|kv| (tiny, kv)))
    {
        let options = |kernel, threads| Options {
            kv,
            ..options(kernel, threads)
        };
        let tokens = tokens(150, config.vocab);
        let expected = grouped(&mut tiny(&config, &options(Kernel::Reference, 2)), &tokens, &[64]);
        for kernel in kernels().filter(|&k| k != Kernel::Reference) {
            for threads in 1..=4 {
                check(&mut tiny(&config, &options(kernel, threads)), &tokens, &expected);
            }
        }
    }
}

#[test]
fn slots_do_not_see_each_other() {
    let config = Tiny::default();
    let mut model = tiny(&config, &options(Kernel::Portable, 2));
    let all: Vec<_> = (0..5).map(|i| tokens(40 + 7 * i, config.vocab)).collect();
    let alone: Vec<_> = all
        .iter()
        .map(|tokens| grouped(&mut model, tokens, &[1]))
        .collect();
    let slots: Vec<Slot> = all.iter().map(|_| model.open().unwrap()).collect();
    let mut rows = Vec::new();
    for round in 0..80 {
        for (i, tokens) in all.iter().enumerate() {
            rows.extend(tokens.get(round).map(|&token| (i, token)));
        }
    }
    let mut seen = vec![Vec::new(); all.len()];
    for rows in rows.chunks(77) {
        let fed: Vec<_> = rows.iter().map(|&(i, token)| (slots[i], token)).collect();
        model
            .step(&fed, &mut |row, logits| seen[rows[row].0].push(row_hash(logits)))
            .unwrap();
    }
    assert_eq!(seen, alone);
}

#[test]
fn limits_are_errors_and_leave_everything_as_it_was() {
    let config = Tiny::default();
    let limits = Options {
        kv_tokens: 128,
        max_context: 100,
        ..options(Kernel::Portable, 1)
    };
    let mut model = tiny(&config, &limits);
    let (a, b) = (model.open().unwrap(), model.open().unwrap());
    assert!(model.is_empty(a));
    model.prefill(a, &[1; 70]).unwrap();
    assert!(matches!(
        model.prefill(b, &[1]),
        Err(Error::PoolFull { needed: 64, free: 0 })
    ));
    assert!(matches!(
        model.prefill(a, &[1; 31]),
        Err(Error::ContextFull {
            len: 101,
            max: 100,
            ..
        })
    ));
    assert!(matches!(
        model.prefill(a, &[300]),
        Err(Error::NoToken {
            token: 300,
            vocab: 300
        })
    ));
    assert!(matches!(
        model.prefill(Slot(7), &[1]),
        Err(Error::NoSlot(Slot(7)))
    ));
    assert_eq!((model.len(a), model.len(b)), (70, 0));
    model.truncate(a, 64);
    model.prefill(b, &[1]).unwrap();
    model.close(a);
    model.close(a);
    model.prefill(b, &[1; 80]).unwrap();
    assert_eq!(model.open().unwrap(), a);
    model.step(&[], &mut |_, _| panic!("no rows")).unwrap();
}

#[test]
fn twins_share_weights_and_nothing_else() {
    let mut model = tiny(&Tiny::default(), &options(Kernel::Portable, 1));
    let mut twin = model.twin(&options(Kernel::Portable, 2)).unwrap();
    let slot = model.open().unwrap();
    model.prefill(slot, &[1, 2, 3]).unwrap();
    assert_eq!(twin.len(slot), 0);
    let tokens = tokens(9, 300);
    assert_eq!(
        grouped(&mut model, &tokens, &[9]),
        grouped(&mut twin, &tokens, &[1])
    );
    assert_eq!(model.hash(), twin.hash());
}

/// Compares with `vectors/logits.json` and the models there, or writes them where `WEIR_BLESS` is set.
#[test]
fn vectors() {
    let weak = || ("weak", embedded::weak().to_vec());
    let tinies = Tiny::GOLDEN
        .iter()
        .map(|config| (config.name(), tiny_gguf(config)));
    let mut digests = std::collections::BTreeMap::new();
    for (name, bytes) in tinies.chain([weak()]) {
        for (kernel, kv) in kernels().flat_map(|kernel| Kv::ALL.map(|kv| (kernel, kv))) {
            let options = Options {
                kv,
                ..options(kernel, 2)
            };
            let mut model = Model::from_bytes(name, &bytes, &options).unwrap();
            let got = golden::golden(&mut model).unwrap();
            let vector = golden::vector(name, kv);
            let first = digests.entry(vector.clone()).or_insert_with(|| got.clone());
            assert_eq!(&got, first, "{vector} {}", kernel.name());
        }
    }
    let file = |tiny: &Tiny| format!("{}/../vectors/{}.gguf", env!("CARGO_MANIFEST_DIR"), tiny.name());
    if std::env::var_os("WEIR_BLESS").is_some() {
        for tiny in &Tiny::GOLDEN {
            std::fs::write(file(tiny), tiny_gguf(tiny)).unwrap();
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/logits.json");
        std::fs::write(path, serde_json::to_string_pretty(&digests).unwrap() + "\n").unwrap();
        return;
    }
    for tiny in &Tiny::GOLDEN {
        assert!(
            std::fs::read(file(tiny)).unwrap() == tiny_gguf(tiny),
            "{}",
            tiny.name()
        );
    }
    for (name, digest) in digests {
        assert_eq!(digest, golden::expected(&name).unwrap(), "{name}");
    }
    for kv in Kv::ALL {
        let options = Options {
            kv,
            ..options(Kernel::Portable, 1)
        };
        Model::self_check(&options).unwrap();
    }
}

#[test]
fn a_real_model_is_exact_too() {
    let Some(path) = real("smollm2-135m-instruct-q4_1.gguf") else {
        return;
    };
    let mut model = Model::load(&path, &options(Kernel::Portable, 2)).unwrap();
    let tokens = tokens(24, model.vocab());
    let expected = grouped(&mut model, &tokens, &[24]);
    for (kernel, threads) in kernels().filter(|&k| k != Kernel::Reference).zip([1, 3, 4]) {
        let mut twin = model.twin(&options(kernel, threads)).unwrap();
        for sizes in [&[1][..], &[5, 2]] {
            assert_eq!(
                grouped(&mut twin, &tokens, sizes),
                expected,
                "{} {sizes:?}",
                kernel.name()
            );
        }
    }
}
