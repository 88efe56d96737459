//! `weir bench model`: how fast the exact engine is, against the least that memory allows.

use std::collections::BTreeMap;
use std::hint::black_box;

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use serde::Serialize;
use weir_model::{Model, Predict as _, Slot, Token};
use weir_setup::Source;
use weir_setup::source::EMBEDDED;

use crate::clock::Stopwatch;
use crate::models::{self, Machine};
use crate::{progress, table};

/// Measures the exact engine: prefill, decoding of batches, loading, memory
///
/// Each figure is the median of several runs. Beside decoding of one query stands its floor: the bytes of weights that a token
/// reads over the bandwidth at which this machine reads memory. The digest is that of the golden logits: equal on every machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model: a .gguf or .weir file, or "embedded"
    #[arg(long, value_name = "FILE", default_value = EMBEDDED)]
    weak: String,
    /// Sizes of batches to decode
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 16, 64, 128])]
    batches: Vec<usize>,
    /// Runs of each measurement
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    #[command(flatten)]
    machine: Machine,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    prefill_tok_s: f64,
    /// Tokens of all slots together, by number of slots.
    decode_tok_s: BTreeMap<usize, f64>,
    load_s: f64,
    /// Resident memory once the model has been used, in MiB.
    rss_mb: f64,
    kernel: &'static str,
    threads: usize,
    digest: String,
    /// Bytes of weights that a token reads, in MiB.
    weights_mb: f64,
    /// Bandwidth at which all threads together read memory.
    read_gb_s: f64,
    /// Milliseconds of one token at one slot, and the least that the bandwidth allows.
    token_ms: f64,
    floor_ms: f64,
}

/// Tokens of a prompt.
const PROMPT: usize = 512;
/// Positions of every slot before decoding is measured, and tokens that it then takes.
const BEFORE: usize = 32;
const STEPS: usize = 16;

pub(crate) fn run(args: &Args) -> Result<()> {
    let source = Source::weak(&args.weak);
    let slots = args.batches.iter().copied().max().unwrap_or(1).max(1);
    let positions = (slots * (BEFORE + STEPS).next_multiple_of(64)).max(2 * PROMPT);
    let options = args.machine.options(positions, 2 * PROMPT);
    let watch = Stopwatch::start();
    let mut model = models::load(&source, &options)?;
    let load_s = watch.seconds();
    let digest = model.golden_digest().context("golden logits")?;
    let info = model.info().clone();

    let bar = progress::bar(
        u64::from(args.runs) * (2 + args.batches.len() as u64),
        "Measuring",
        "runs",
    );
    let read_gb_s = median(args.runs, &bar, || Ok(bandwidth(options.threads)))?;
    let prefill_tok_s = median(args.runs, &bar, || prefill(&mut model))?;
    let mut decode_tok_s = BTreeMap::new();
    for &batch in &args.batches {
        let speed = median(args.runs, &bar, || decode(&mut model, batch))?;
        decode_tok_s.insert(batch, speed);
    }
    bar.finish_and_clear();
    let token_ms = decode_tok_s.get(&1).map_or(0.0, |speed| 1e3 / speed);
    let report = Report {
        prefill_tok_s: tenth(prefill_tok_s),
        decode_tok_s: decode_tok_s
            .into_iter()
            .map(|(n, speed)| (n, tenth(speed)))
            .collect(),
        load_s: (load_s * 1e3).round() / 1e3,
        rss_mb: tenth(resident().unwrap_or(0.0)),
        kernel: info.kernel.name(),
        threads: options.threads,
        digest,
        weights_mb: tenth(info.bytes_per_token as f64 / MIB),
        read_gb_s: tenth(read_gb_s),
        token_ms: tenth(token_ms),
        floor_ms: tenth(info.bytes_per_token as f64 / read_gb_s / 1e6),
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print(&args.weak);
    }
    Ok(())
}

impl Report {
    fn print(&self, name: &str) {
        let row = |what: String, value: f64| vec![what, format!("{value:.1}")];
        let mut rows = vec![
            vec![
                format!("{name} ({}, {} threads)", self.kernel, self.threads),
                "tokens/s".into(),
            ],
            vec![],
            row(format!("prefill, {PROMPT} tokens"), self.prefill_tok_s),
        ];
        for (slots, speed) in &self.decode_tok_s {
            rows.push(row(format!("decode, {slots} slots together"), *speed));
        }
        table::print(&rows);
        println!(
            "\nOne token at one slot: {} ms; the floor is {} ms ({} MiB of weights at {} GB/s).",
            self.token_ms, self.floor_ms, self.weights_mb, self.read_gb_s
        );
        println!(
            "Loaded in {} s; {} MiB resident. Golden logits: {}",
            self.load_s, self.rss_mb, self.digest
        );
    }
}

/// Tokens of a prompt a second.
fn prefill(model: &mut Model) -> Result<f64> {
    let tokens: Vec<Token> = (0..PROMPT).map(|i| token(model, i)).collect();
    let slot = model.open()?;
    let watch = Stopwatch::start();
    model.prefill(slot, &tokens)?;
    let seconds = watch.seconds();
    model.close(slot);
    Ok(PROMPT as f64 / seconds)
}

/// Tokens of `batch` slots together a second, a step of all at a time.
fn decode(model: &mut Model, batch: usize) -> Result<f64> {
    let slots: Vec<Slot> = (0..batch).map(|_| model.open()).collect::<Result<_, _>>()?;
    for (i, &slot) in slots.iter().enumerate() {
        let tokens: Vec<Token> = (0..BEFORE).map(|k| token(model, i + k)).collect();
        model.prefill(slot, &tokens)?;
    }
    let watch = Stopwatch::start();
    for step in 0..STEPS {
        let row = |(i, &slot): (usize, &Slot)| (slot, token(model, i * STEPS + step));
        let rows: Vec<_> = slots.iter().enumerate().map(row).collect();
        model.step(&rows, &mut |_, logits| {
            black_box(logits);
        })?;
    }
    let seconds = watch.seconds();
    slots.into_iter().for_each(|slot| model.close(slot));
    Ok((batch * STEPS) as f64 / seconds)
}

/// Any token, another for every number.
fn token(model: &Model, number: usize) -> Token {
    (number * 2_654_435_761 % model.vocab()) as Token
}

/// GB/s at which `threads` threads together read memory that no cache holds.
fn bandwidth(threads: usize) -> f64 {
    const WORDS: usize = 1 << 24;
    let memory: Vec<Vec<u64>> = (0..threads).map(|seed| vec![seed as u64 + 1; WORDS]).collect();
    let read = |memory: &[u64]| {
        // Several sums, or the additions would be waited for and not the memory.
        let mut sums = [0u64; 32];
        for words in memory.as_chunks::<32>().0 {
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum = sum.wrapping_add(*word);
            }
        }
        sums
    };
    let pass = || {
        let watch = Stopwatch::start();
        std::thread::scope(|scope| {
            for memory in &memory {
                scope.spawn(|| black_box(read(memory)));
            }
        });
        (threads * WORDS * 8) as f64 / watch.seconds() / 1e9
    };
    // What disturbs a pass makes it slower, never faster.
    (0..5).map(|_| pass()).fold(0.0, f64::max)
}

/// The middle of several measurements.
fn median(runs: u8, bar: &ProgressBar, mut measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut values = Vec::new();
    for _ in 0..runs {
        values.push(measure()?);
        bar.inc(1);
    }
    values.sort_by(f64::total_cmp);
    Ok(values[values.len() / 2])
}

/// Resident memory of this process in MiB, where the system tells.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

const MIB: f64 = 1024.0 * 1024.0;
