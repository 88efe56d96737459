//! `weir-lab train`: the embedded pair, or the network that predicts which token wins.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use weir_model::PAGE;
use weir_setup::Source;
use weir_train::winner::{self, Answer, Observer, Plan};

use crate::trace;
use crate::trace::positions;
use weir_setup::tool::machine::{self, Machine};
use weir_setup::tool::{files, progress};

/// Trains a small pair of models that share a tokenizer, such as the embedded one, or the winner network
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    pair: Option<weir_train::Args>,
}

#[derive(Debug, clap::Subcommand)]
enum Other {
    Winner(WinnerArgs),
}

/// Fits the network that predicts which token wins, from answers of a strong model
///
/// Both models read the answers; then the strong one's tokens are drawn anew, many times, at the temperatures that the
/// network shall know. Every eighth answer is held out, and what the network makes of it is printed. The file is part of the
/// codec's source, and both ends must have the same.
#[derive(Debug, clap::Args)]
struct WinnerArgs {
    /// The strong model: a .gguf or .weir file
    #[arg(long, value_name = "FILE")]
    strong: String,
    /// The weak model
    #[arg(long, value_name = "FILE")]
    weak: String,
    /// What `weir-lab trace` wrote; may be given several times
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    trace: Vec<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "codec/src/predict/network.bin")]
    out: PathBuf,
    /// Updates of each of the two networks
    #[arg(long, value_name = "N", default_value_t = 3000)]
    steps: usize,
    /// Tokens of an update
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Highest learning rate
    #[arg(long, value_name = "R", default_value_t = 3e-3)]
    rate: f32,
    /// Seed of weights, order and noise
    #[arg(long, value_name = "K", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    machine: Machine,
}

pub(crate) fn run(args: Args) -> Result<()> {
    match (args.other, args.pair) {
        (Some(Other::Winner(args)), _) => fit(&args),
        (None, pair) => {
            weir_train::run(pair.context("say what to train on: --data FILE, or `weir-lab train winner`")?)
        }
    }
}

fn fit(args: &WinnerArgs) -> Result<()> {
    let mut answers = Vec::new();
    for path in &args.trace {
        for line in trace::read(path)?
            .into_iter()
            .filter(|line| !line.tokens.is_empty())
        {
            let query = line.query().with_context(|| format!("trace line {}", line.id))?;
            answers.push(Answer {
                query,
                tokens: line.tokens,
            });
        }
    }
    ensure!(
        answers.len() >= HELD_OUT,
        "at least {HELD_OUT} answers are needed to hold one out"
    );
    let context = answers.iter().map(|answer| positions(&answer.query)).max();
    let context = context.unwrap_or(0).next_multiple_of(PAGE);
    let load = |source: Source| machine::load(&source, &args.machine.options(context, context));
    let (weak, strong) = (
        load(Source::weak(&args.weak))?,
        load(Source::strong(&args.strong))?,
    );
    let mut observer = Observer::new(weak, strong);

    let tokens: usize = answers.iter().map(|answer| answer.tokens.len()).sum();
    let bar = progress::bar(tokens as u64, "Reading answers", "tokens");
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    for (index, answer) in answers.iter().enumerate() {
        let positions = observer
            .observe(answer)
            .with_context(|| format!("answer {} does not fit the models", index + 1))?;
        bar.inc(answer.tokens.len() as u64);
        let held = index % HELD_OUT == HELD_OUT - 1;
        if held { &mut held_out } else { &mut train }.push(positions);
    }
    bar.finish_and_clear();

    let plan = Plan {
        steps: args.steps,
        batch: args.batch.into(),
        rate: args.rate,
        seed: args.seed,
    };
    let bar = progress::bar(2 * args.steps as u64, "Fitting", "steps");
    let (weights, costs) = winner::fit(&plan, &train, &held_out, &mut || bar.inc(1))?;
    bar.finish_and_clear();
    let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    files::write(&args.out, &bytes)?;
    println!(
        "{}: {} weights, BLAKE3 {}",
        args.out.display(),
        weights.len(),
        blake3::hash(&bytes)
    );
    println!("held out, bits a token: temperature, top-p, plain, mixed");
    for cost in costs {
        println!(
            "  {:.1}  {:.2}  {:.4}  {:.4}  ({:.3} of plain)",
            cost.sampling.temperature,
            cost.sampling.top_p,
            cost.plain,
            cost.mixed,
            cost.mixed / cost.plain
        );
    }
    Ok(())
}

/// Every so manieth answer is held out.
const HELD_OUT: usize = 8;
