//! The embedded weak model: one slot, many slots, prefill.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::kernels;
use weir_model::{Kernel, Model, Options, Predict, Slot, embedded};

fn model(kernel: Kernel, threads: usize) -> Model {
    let options = Options {
        kernel: Some(kernel),
        threads,
        kv_tokens: 64 * CONTEXT,
        max_context: CONTEXT,
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
            let mut model = model(kernel, 1);
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
        let mut model = model(kernel, 1);
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

const CONTEXT: usize = 256;

criterion_group!(benches, step, prefill);
criterion_main!(benches);
