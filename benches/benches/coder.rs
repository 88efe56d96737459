//! The range coder alone: symbols of a 32-bit total.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::Random;
use weir_codec::coder::{Decoder, Encoder};

const SYMBOLS: u64 = 10_000;

/// Symbols of some bits each.
fn symbols() -> Vec<(u32, u32)> {
    let mut random = Random(1);
    let symbol = |_| {
        let width = 1 + (random.bits() >> 34) as u32;
        let start = (random.bits() % ((1 << 32) - u64::from(width))) as u32;
        (start, width)
    };
    (0..SYMBOLS).map(symbol).collect()
}

fn coder(criterion: &mut Criterion) {
    let symbols = symbols();
    let mut code = Vec::new();
    let mut encoder = Encoder::default();
    symbols
        .iter()
        .for_each(|&(start, width)| encoder.code(start, width));
    encoder.seal(&mut code);

    let mut group = criterion.benchmark_group("coder");
    group.throughput(Throughput::Elements(SYMBOLS));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            encoder.reset();
            symbols
                .iter()
                .for_each(|&(start, width)| encoder.code(start, width));
            black_box(encoder.tail())
        });
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let mut decoder = Decoder::new(&code);
            for &(start, width) in &symbols {
                black_box(decoder.peek());
                decoder.take(start, width);
            }
            decoder.interval()
        });
    });
    group.finish();
}

criterion_group!(benches, coder);
criterion_main!(benches);
