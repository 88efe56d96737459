//! What a permit costs: the governor alone, with windows, and on a ledger with its files and syncs.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_ledger::{Cap, Genesis, Governor, Ledger, Limit, Paths, Settings, WitnessAt, init, moment, open};
use weir_meter::{Limits, LinkCost, Purpose, Release, Span};

const TICK: Duration = Duration::from_millis(100);

/// So wide that nothing waits; with ticks, so that moments are charged.
const LIMITS: Limits = Limits {
    rate: 1 << 50,
    burst: 1 << 50,
    total: 1 << 62,
    repeat_percent: 10,
    handshake_percent: 1,
    soft_percent: 80,
    side_bits: 11,
    tick: TICK.as_micros() as u64,
    handshakes_per_hour: 1 << 50,
    out_per_in: 16,
    reserve: 0,
};

const SPANS: [Span; 3] = [
    Span {
        seconds: 3_600,
        bits: 1 << 60,
    },
    Span {
        seconds: 86_400,
        bits: 1 << 61,
    },
    Span {
        seconds: 604_800,
        bits: 1 << 61,
    },
];

/// A ledger of its own in a folder that goes with it.
fn ledger(folder: &tempfile::TempDir) -> Ledger {
    let paths = Paths {
        ledger: folder.path().join("ledger"),
        witnesses: vec![WitnessAt::File(folder.path().join("witness"))],
    };
    let genesis = Genesis {
        id: [1; 32],
        weights: [2; 32],
        operators: Vec::new(),
        threshold: 0,
        caps: vec![Cap {
            limit: Limit::Total,
            bits: 1 << 62,
        }],
        spent: 0,
    };
    let moment = moment().expect("a clock");
    init(&paths, moment, None, &genesis).expect("a new ledger");
    open(&paths, moment, Settings::default(), &[], None).expect("a good ledger")
}

fn permits(c: &mut Criterion) {
    let mut group = c.benchmark_group("permit");
    group
        .throughput(Throughput::Elements(1))
        .measurement_time(Duration::from_secs(8));
    let folder = tempfile::tempdir().expect("a folder");
    let now = moment().expect("a clock").since_boot;
    let on = |ledger, spans: &[Span]| {
        Governor::with_account(ledger, now, LinkCost::UdpIpv4, LIMITS, spans).expect("limits")
    };
    for (name, mut governor) in [
        ("in memory", on(None, &[])),
        ("three windows", on(None, &SPANS)),
        (
            "three windows, ledger and witness on files",
            on(Some(ledger(&folder)), &SPANS),
        ),
    ] {
        let mut now = now;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                // A frame on each tick.
                now = now + TICK;
                match governor.release(black_box(now), black_box(200), Purpose::Frame) {
                    Release::Go(permit) => permit,
                    other => panic!("{other:?}"),
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, permits);
criterion_main!(benches);
