//! The embedded weak model: one slot, many slots, keys and values of either kind, prefill, prefill behind a shared prefix.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::kernels;
use weir_model::{Kernel, Kv, Model, Options, Predict, Slot, embedded};

fn model(kernel: Kernel, context: usize, kv: Kv) -> Model {
    let options = Options {
        kernel,
        threads: 1,
        kv_tokens: 64 * context,
        max_context: context,
        kv,
    };
    Model::from_bytes("the embedded weak model", embedded::weak(), &options)
        .expect("the embedded model loads")
}

fn open(model: &mut Model, slots: usize) -> Vec<Slot> {
    let open = |_| {
        let slot = model.open().expect("the pool has room");
        model
            .prefill(slot, &[7; CONTEXT / 2])
            .expect("the context has room");
        slot
    };
    (0..slots).map(open).collect()
}

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward/step");
    for kernel in kernels().filter(|&kernel| kernel != Kernel::Reference) {
        for slots in [1, 16, 64] {
            let mut model = model(kernel, CONTEXT, Kv::F32);
            let slots = open(&mut model, slots);
            group.throughput(Throughput::Elements(slots.len() as u64));
            group.bench_function(BenchmarkId::new(kernel.name(), slots.len()), |bencher| {
                bencher.iter(|| {
                    // Back to the middle of an answer.
                    for &slot in &slots {
                        model.truncate(slot, CONTEXT / 2);
                    }
                    let rows: Vec<_> = slots.iter().map(|&slot| (slot, 5)).collect();
                    model
                        .step(&rows, &mut |_, logits| {
                            black_box(logits[0]);
                        })
                        .is_ok()
                });
            });
        }
    }
    group.finish();
}

fn prefill(criterion: &mut Criterion) {
    let prompt = [7; CONTEXT / 2];
    let mut group = criterion.benchmark_group("forward/prefill");
    group.throughput(Throughput::Elements(prompt.len() as u64));
    for kernel in kernels().filter(|&kernel| kernel != Kernel::Reference) {
        let mut model = model(kernel, CONTEXT, Kv::F32);
        group.bench_function(BenchmarkId::new(kernel.name(), prompt.len()), |bencher| {
            bencher.iter_batched(
                || (),
                |()| {
                    let slot = model.open().expect("the pool has room");
                    let fed = model.prefill(slot, &prompt).is_ok();
                    model.close(slot);
                    fed
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// A prompt of 1,000 tokens: all computed, or 900 of them shared.
fn prefix(criterion: &mut Criterion) {
    let prompt = [7; 1000];
    let mut group = criterion.benchmark_group("forward/prefix");
    for kernel in kernels().filter(|&kernel| kernel != Kernel::Reference) {
        for shared in [0, 900] {
            let mut model = model(kernel, 1024, Kv::F32);
            model.share(&prompt[..shared]).expect("the context has room");
            group.bench_function(BenchmarkId::new(kernel.name(), shared), |bencher| {
                bencher.iter(|| {
                    let slot = model.open().expect("the pool has room");
                    let fed = model.prefill(slot, &prompt).is_ok();
                    assert_eq!(model.len(slot), prompt.len());
                    model.close(slot);
                    fed
                });
            });
        }
    }
    group.finish();
}

/// One token of eight slots that hold 1,000 each.
fn attend(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward/attend");
    for kernel in kernels().filter(|&kernel| kernel != Kernel::Reference) {
        for kv in Kv::ALL {
            let mut model = model(kernel, 1024, kv);
            let slots = [(); 8].map(|()| {
                let slot = model.open().expect("the pool has room");
                model.prefill(slot, &[7; 1000]).expect("the context has room");
                slot
            });
            group.bench_function(BenchmarkId::new(kernel.name(), kv.name()), |bencher| {
                bencher.iter(|| {
                    slots.iter().for_each(|&slot| model.truncate(slot, 1000));
                    let fed = model.step(&slots.map(|slot| (slot, 5)), &mut |_, logits| {
                        black_box(logits[0]);
                    });
                    fed.is_ok()
                });
            });
        }
    }
    group.finish();
}

const CONTEXT: usize = 256;

criterion_group!(benches, step, attend, prefill, prefix);
criterion_main!(benches);
