//! `weir-lab bench codec`: what a trace costs, through real frames and a decoder in another process.

mod decoder;
pub(super) mod encoder;
mod pipe;
mod report;
mod timed;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use weir_model::{Kernel, Kv};
use weir_setup::Source;
use weir_setup::source::{EMBEDDED, kernel, vocabulary};
use weir_wire::{CheckWidth, Format, IdWidth, Parameters, Shape};

use super::jobs::{self, Job};
use crate::trace;
pub(crate) use decoder::{DecoderArgs, run as decode};
use encoder::Encoding;
pub(super) use report::Report;
use weir_setup::tool::machine::{self, Machine};
use weir_setup::tool::{progress, prompts};

/// Writes answers to frames, decodes them in another process, and says what that took
///
/// The other process gets only frames and queries, and runs the weak model on another kernel and number of threads.
/// Without --trace the embedded pair first answers the embedded prompts.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The weak model: a .gguf or .weir file, or "embedded"
    #[arg(long, value_name = "FILE", default_value = EMBEDDED, requires = "trace")]
    weak: String,
    /// What `weir-lab trace` wrote; may be given several times
    #[arg(long, value_name = "FILE", num_args = 1..)]
    trace: Vec<PathBuf>,
    /// Temperature of the answers that are made where there is no trace
    #[arg(long, value_name = "T", default_value_t = 1.0, conflicts_with = "trace")]
    temperature: f32,
    /// Take only the first N tokens of the trace
    #[arg(long, value_name = "N")]
    limit_tokens: Option<usize>,
    /// Queries that are live at once
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u8).range(1..=128))]
    slots: u8,
    /// Tokens of a query in a frame
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=64))]
    tokens_per_tick: u8,
    /// Bytes of a frame's batch id, 1 or 2
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    id_bytes: u8,
    /// Bytes of a frame's check, 2 or 4
    #[arg(long, value_name = "N", default_value_t = 4)]
    check_bytes: u8,
    /// How frame lengths follow code lengths: sealed, bucketed or constant
    #[arg(long, value_name = "NAME", default_value = "sealed", value_parser = shape)]
    shape: Shape,
    /// Bytes of the longest frame
    #[arg(long, value_name = "N", default_value_t = Parameters::default().mtu)]
    mtu: u16,
    #[command(flatten)]
    machine: Machine,
    /// Kernel of the decoding process [default: another one than here]
    #[arg(long, value_name = "NAME", value_parser = kernel)]
    decode_kernel: Option<Kernel>,
    /// Threads of the decoding process [default: one fewer than here, or one more]
    #[arg(long, value_name = "N")]
    decode_threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn shape(name: &str) -> Result<Shape, String> {
    Shape::named(name).ok_or_else(|| "not sealed, bucketed or constant".to_owned())
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let format = Format {
        id: if args.id_bytes == 1 {
            IdWidth::One
        } else {
            IdWidth::Two
        },
        check: match args.check_bytes {
            2 => CheckWidth::Two,
            4 => CheckWidth::Four,
            other => bail!("--check-bytes must be 2 or 4, not {other}"),
        },
    };
    let parameters = Parameters {
        format,
        tokens_per_tick: args.tokens_per_tick.into(),
        mtu: args.mtu,
        shape: args.shape,
        ..Parameters::default()
    };
    parameters.validate()?;
    let jobs = answers(args)?;
    let slots = usize::from(args.slots).min(jobs.len());
    let (pool, context) = jobs::sizes(&jobs, slots);
    let source = Source::weak(&args.weak);
    let options = args.machine.options(pool, context);
    let here = options.kernel;
    let there = decoder::Place {
        weak: args.weak.clone(),
        kernel: args.decode_kernel.unwrap_or_else(|| another(here)),
        threads: args.decode_threads.unwrap_or(if options.threads > 1 {
            options.threads - 1
        } else {
            2
        }),
        pool,
        context,
        parameters,
    };
    let tokenizer = machine::tokenizer(&source)?;
    let model = machine::load(&source, &options)?;
    jobs::check(&jobs, &model, source.name())?;
    let total = jobs::tokens(&jobs);
    let mut peer = decoder::Process::start(&there)?;
    let bar = progress::bar(total as u64, "Coding and decoding", "tokens");
    let encoding = Encoding {
        slots,
        parameters,
        kernel: here,
    };
    let outcome = encoding.run(model, vocabulary(&tokenizer), &jobs, Some(&mut peer), &bar);
    bar.finish_and_clear();
    let mut report = outcome?.report();
    report.kernels = [here.name(), there.kernel.name()];
    report.threads = [options.threads, there.threads];
    peer.finish()?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        let weak = source.name();
        println!(
            "{weak}: {} ({} threads) codes, {} ({}) decodes",
            here.name(),
            options.threads,
            there.kernel.name(),
            there.threads
        );
        report.print();
    }
    ensure!(report.roundtrip, "what came back is not what was sent");
    Ok(())
}

/// The answers of the traces, or of the embedded pair where there are none.
fn answers(args: &Args) -> Result<Vec<Job>> {
    let lines = if args.trace.is_empty() {
        embedded(args)?
    } else {
        jobs::read(&args.trace)?
    };
    jobs::jobs(lines, args.limit_tokens)
}

/// Answers of the embedded strong model to the embedded prompts, each asked thrice.
fn embedded(args: &Args) -> Result<Vec<trace::Line>> {
    let prompts = prompts::embedded();
    let prompts: Vec<_> = (0..3).flat_map(|_| prompts.iter().cloned()).collect();
    let ask = trace::Ask {
        temperature: args.temperature,
        top_p: 1.0,
        top_k: 0,
        tau: 1.0,
        max_tokens: 128,
        seed: 0,
    };
    trace::make(
        &Source::strong(EMBEDDED),
        (&Source::weak(EMBEDDED), Kv::F32),
        &prompts,
        &ask,
        usize::from(args.slots),
        &args.machine,
    )
}

/// The fastest kernel that is not `here`.
fn another(here: Kernel) -> Kernel {
    let others = Kernel::ALL
        .into_iter()
        .rev()
        .filter(|kernel| kernel.supported() && *kernel != here);
    others.into_iter().next().unwrap_or(Kernel::Portable)
}
