//! `weir-lab bench model`: how fast the exact engine is, against the least that memory allows and against a peer.

mod peer;
mod report;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use weir_model::{Model, Options, Predict as _, Slot, Token, Unverified};
use weir_setup::Source;
use weir_setup::source::EMBEDDED;

use peer::Peer;
use report::Report;
use weir_setup::tool::clock::Stopwatch;
use weir_setup::tool::machine::Machine;
use weir_setup::tool::progress;

/// Measures the exact engine: prefill, decoding of batches, loading, memory
///
/// Each figure is the median of several runs. Beside decoding of one query stands its floor: the bytes of weights, keys and values
/// that a token reads over the bandwidth at which this machine reads memory. The digest is that of the golden logits: equal on every machine.
/// With --peer another engine does the same work on the same number of threads, run by run in turn; ratios are ours over its.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model: a .gguf or .weir file, or "embedded"
    #[arg(long, value_name = "FILE", default_value = EMBEDDED)]
    weak: String,
    /// Sizes of batches to decode
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 16, 64, 128])]
    batches: Vec<usize>,
    /// Tokens in the context of every query before its decoding is measured
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    context: u16,
    /// Runs of each measurement
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    #[command(flatten)]
    machine: Machine,
    /// Measure this engine too; benches/peers/install.sh installs it
    #[arg(long, value_name = "NAME")]
    peer: Option<peer::Name>,
    /// Python that has the peer [default: target/peers/bin/python if it is there, else python3]
    #[arg(long, value_name = "PATH", requires = "peer")]
    peer_python: Option<PathBuf>,
    /// The peer's model [default: --weak, where that is a GGUF file]
    #[arg(long, value_name = "GGUF", requires = "peer")]
    peer_model: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Tokens of a prompt.
const PROMPT: usize = 512;
/// Tokens of every slot whose decoding is measured.
const STEPS: usize = 16;

/// Slots of the largest batch that a peer is asked for.
const PEER_SLOTS: usize = 64;
/// How long both rest before either is measured, so that no thread of the other still spins.
const REST: Duration = Duration::from_millis(20);

pub(crate) fn run(args: &Args) -> Result<()> {
    let source = Source::weak(&args.weak);
    let slots = args.batches.iter().copied().max().unwrap_or(1).max(1);
    let before = usize::from(args.context);
    let context = (before + STEPS).max(2 * PROMPT);
    let positions = (slots * (before + STEPS).next_multiple_of(64)).max(2 * PROMPT);
    let options = args.machine.options(positions, context);
    let place = match args.peer {
        Some(name) => Some(peer::Place {
            name,
            python: peer::python(args.peer_python.as_deref()),
            model: peer::model(args.peer_model.as_deref(), &args.weak)?,
            threads: options.threads,
        }),
        None => None,
    };
    let (mut model, load_s, verify_s) =
        load(&source, &options).with_context(|| format!("cannot load the model {}", source.name()))?;
    let digest = model.golden_digest().context("golden logits")?;
    let info = model.info().clone();
    let mut peer = place.map(|place| Peer::start(&place)).transpose()?;

    let bar = progress::bar(
        u64::from(args.runs) * (2 + args.batches.len() as u64),
        "Measuring",
        "runs",
    );
    let read_gb_s = runs(args.runs, &bar, || Ok(bandwidth(options.threads)))?;
    let prefill = in_turn(args.runs, &bar, Work::Prefill, &mut model, peer.as_mut())?;
    let mut decode = Vec::new();
    for &batch in &args.batches {
        let peer = peer.as_mut().filter(|_| batch <= PEER_SLOTS);
        let speeds = in_turn(args.runs, &bar, Work::Decode { batch, before }, &mut model, peer)?;
        decode.push((batch, speeds));
    }
    bar.finish_and_clear();
    let measured = report::Measured {
        prefill,
        decode,
        context: before + STEPS / 2,
        load_s,
        verify_s,
        kv_tokens: options.kv_tokens,
        read_gb_s,
        digest,
        threads: options.threads,
    };
    let report = Report::new(measured, &info, peer.as_ref().map(Peer::hello));
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print(&args.weak);
    }
    Ok(())
}

/// The model, and the seconds that it took to load and to verify it.
fn load(source: &Source, options: &Options) -> Result<(Model, f64, f64)> {
    Model::self_check(options)?;
    let spinner = progress::spinner(&format!("Loading {}", source.name()));
    let watch = Stopwatch::start();
    let unverified = match source.embedded() {
        Some(bytes) => Unverified::from_bytes(source.name(), bytes, options)?,
        None => Unverified::load(Path::new(source.name()), options)?,
    };
    let load_s = watch.seconds();
    let watch = Stopwatch::start();
    let model = unverified.verify()?;
    let verify_s = watch.seconds();
    spinner.finish_and_clear();
    Ok((model, load_s, verify_s))
}

/// What is measured, of the exact engine and of a peer alike.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// A prompt of [`PROMPT`] tokens, without logits.
    Prefill,
    /// [`STEPS`] tokens of each slot, with logits, on top of those `before`, which are not timed.
    Decode { batch: usize, before: usize },
}

impl Work {
    fn tokens(self) -> usize {
        match self {
            Self::Prefill => PROMPT,
            Self::Decode { batch, .. } => batch * STEPS,
        }
    }

    /// Seconds that it takes the exact engine.
    fn measure(self, model: &mut Model) -> Result<f64> {
        match self {
            Self::Prefill => prefill(model),
            Self::Decode { batch, before } => decode(model, batch, before),
        }
    }
}

/// Medians of tokens a second.
#[derive(Clone, Copy, Debug)]
struct Speeds {
    ours: f64,
    peer: Option<f64>,
}

/// Measures the exact engine and the peer run by run in turn, so that what slows the machine down slows both.
fn in_turn(
    count: u8,
    bar: &ProgressBar,
    work: Work,
    model: &mut Model,
    peer: Option<&mut Peer>,
) -> Result<Speeds> {
    let speed = |seconds: f64| work.tokens() as f64 / seconds;
    let Some(peer) = peer else {
        let ours = runs(count, bar, || Ok(speed(work.measure(model)?)))?;
        return Ok(Speeds { ours, peer: None });
    };
    // Neither pays for its first touch of memory.
    work.measure(model)?;
    peer.measure(work)?;
    let mut theirs = Vec::new();
    let ours = runs(count, bar, || {
        std::thread::sleep(REST);
        let ours = work.measure(model)?;
        std::thread::sleep(REST);
        theirs.push(speed(peer.measure(work)?));
        Ok(speed(ours))
    })?;
    Ok(Speeds {
        ours,
        peer: Some(median(theirs)),
    })
}

/// Seconds of a prompt.
fn prefill(model: &mut Model) -> Result<f64> {
    let tokens: Vec<Token> = (0..PROMPT).map(|i| token(model, i)).collect();
    let slot = model.open()?;
    let watch = Stopwatch::start();
    model.prefill(slot, &tokens)?;
    let seconds = watch.seconds();
    model.close(slot);
    Ok(seconds)
}

/// Seconds of [`STEPS`] tokens of `batch` slots together, a step of all at a time.
fn decode(model: &mut Model, batch: usize, before: usize) -> Result<f64> {
    let slots: Vec<Slot> = (0..batch).map(|_| model.open()).collect::<Result<_, _>>()?;
    for (i, &slot) in slots.iter().enumerate() {
        let tokens: Vec<Token> = (0..before).map(|k| token(model, i + k)).collect();
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
    Ok(seconds)
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

/// The median of several measurements.
fn runs(count: u8, bar: &ProgressBar, mut measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(measure()?);
        bar.inc(1);
    }
    Ok(median(values))
}

/// The middle of values, of which there is at least one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
