//! `weir bench codec`: what a trace costs, through real frames and a decoder in another process.

mod decoder;
mod encoder;
mod pipe;
mod report;
mod timed;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use weir_codec::Query;
use weir_model::{Kernel, PAGE, Predict as _, Token};
use weir_setup::Source;
use weir_setup::source::{EMBEDDED, vocabulary};
use weir_wire::{CheckWidth, Format, IdWidth};

use crate::models::{self, Choice, Machine};
use crate::trace::{self, positions};
use crate::{progress, prompts};
pub(crate) use decoder::{DecoderArgs, run as decode};
use encoder::Encoding;

/// Writes answers to frames, decodes them in another process, and says what that took
///
/// The other process gets only frames and queries, and runs the weak model on another kernel and number of threads.
/// Without --trace the embedded pair first answers the embedded prompts.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The weak model: a .gguf or .weir file, or "embedded"
    #[arg(long, value_name = "FILE", default_value = EMBEDDED, requires = "trace")]
    weak: String,
    /// What `weir trace` wrote; may be given several times
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
    #[command(flatten)]
    machine: Machine,
    /// Kernel of the decoding process; auto: another one than here
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = models::choice)]
    decode_kernel: Choice,
    /// Threads of the decoding process [default: one fewer than here, or one more]
    #[arg(long, value_name = "N")]
    decode_threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// One answer to be coded.
struct Job {
    query: Query,
    tokens: Vec<Token>,
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
    let jobs = jobs(args)?;
    let slots = usize::from(args.slots).min(jobs.len());
    let (pool, context) = sizes(&jobs, slots);
    let source = Source::weak(&args.weak);
    let options = args.machine.options(pool, context);
    let here = Kernel::choose(options.kernel)?;
    let there = decoder::Place {
        weak: args.weak.clone(),
        kernel: args.decode_kernel.0.unwrap_or_else(|| another(here)),
        threads: args.decode_threads.unwrap_or(if options.threads > 1 {
            options.threads - 1
        } else {
            2
        }),
        pool,
        context,
        tokens_per_tick: args.tokens_per_tick,
        format,
    };
    let tokenizer = models::tokenizer(&source)?;
    let model = models::load(&source, &options)?;
    for job in &jobs {
        job.query
            .check(model.vocab(), model.max_context())
            .context("this trace does not fit the weak model")?;
    }
    let total: usize = jobs.iter().map(|job| job.tokens.len()).sum();
    let mut peer = decoder::Process::start(&there)?;
    let bar = progress::bar(total as u64, "Coding and decoding", "tokens");
    let encoding = Encoding {
        slots,
        tokens_per_tick: args.tokens_per_tick,
        format,
    };
    let outcome = encoding.run(model, vocabulary(&tokenizer), &jobs, &mut peer, &bar);
    bar.finish_and_clear();
    let mut report = outcome?;
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

/// The answers of the traces, cut to the limit.
fn jobs(args: &Args) -> Result<Vec<Job>> {
    let mut lines = Vec::new();
    for path in &args.trace {
        lines.extend(trace::read(path)?);
    }
    if args.trace.is_empty() {
        lines = embedded(args)?;
    }
    let mut left = args.limit_tokens.unwrap_or(usize::MAX);
    let mut jobs = Vec::new();
    for mut line in lines {
        line.tokens.truncate(left);
        if line.tokens.is_empty() {
            continue;
        }
        left -= line.tokens.len();
        let query = line.query().with_context(|| format!("trace line {}", line.id))?;
        jobs.push(Job {
            query,
            tokens: line.tokens,
        });
    }
    ensure!(
        !jobs.is_empty(),
        "there is nothing to code: the trace has no tokens"
    );
    Ok(jobs)
}

/// Answers of the embedded strong model to the embedded prompts, each asked thrice.
fn embedded(args: &Args) -> Result<Vec<trace::Line>> {
    let prompts = prompts::embedded();
    let prompts: Vec<_> = (0..3).flat_map(|_| prompts.iter().cloned()).collect();
    let ask = trace::Ask {
        temperature: args.temperature,
        top_p: 1.0,
        top_k: 0,
        max_tokens: 128,
        seed: 0,
    };
    trace::make(
        &Source::strong(EMBEDDED),
        &prompts,
        &ask,
        usize::from(args.slots),
        &args.machine,
    )
}

/// Positions of a pool for the largest `slots` answers, and of the largest answer.
fn sizes(jobs: &[Job], slots: usize) -> (usize, usize) {
    let mut sizes: Vec<usize> = jobs
        .iter()
        .map(|job| positions(&job.query).next_multiple_of(PAGE))
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    (
        sizes.iter().take(slots).sum(),
        sizes.first().copied().unwrap_or(0),
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
