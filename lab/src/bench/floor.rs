//! `weir-lab bench floor`: how near the code is to what any code could do with these two models.

mod information;

use std::ops::AddAssign;

use anyhow::{Result, ensure};
use rayon::prelude::*;
use serde::Serialize;
use weir_codec::predict::Predictor;
use weir_model::Predict as _;
use weir_setup::Source;

use super::jobs::{self, Traces};
use super::paired::Paired;
use super::replay::Replay;
use super::scorer::{Bits, Scorer};
use information::{Information, Room};
use weir_setup::tool::machine::{self, Machine};
use weir_setup::tool::{progress, table};

/// Reads traces with both models, and sets the code beside entropies and floors on the same tokens
///
/// With p what the strong model's tokens are drawn from (at the trace's temperature, top-p and top-k) and q the weak model
/// at temperature 1, means over the tokens of: H(p), the cross entropy H(p, q), KL(p || q), which no scheme that knows q and
/// shared randomness alone goes below however long its blocks, and the channel simulation divergence D_CS(p || q), which no
/// causal rejection sampler goes below that sends one token at a time: a yardstick, as ours is none. docs/research.md has the
/// definitions. Beside them, the code lengths of the tokens that came: plain arithmetic coding under q, and ours.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The strong model: a .gguf or .weir file, or "embedded"
    #[arg(long, value_name = "FILE")]
    strong: String,
    /// The weak model, likewise
    #[arg(long, value_name = "FILE")]
    weak: String,
    #[command(flatten)]
    traces: Traces,
    #[command(flatten)]
    machine: Machine,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The keys of `--json`: bits per token.
#[derive(Debug, Serialize)]
struct Report {
    h_p: f64,
    h_pq: f64,
    kl: f64,
    d_cs: f64,
    plain: f64,
    ours: f64,
    tokens: u64,
    /// Ours over D_CS; null where that is zero.
    ours_over_d_cs: Option<f64>,
    /// Of the difference between ours and plain; null where there are fewer than two answers.
    stderr: Option<f64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let jobs = args.traces.jobs()?;
    ensure!(
        jobs.iter().all(|job| !job.query.sampling.is_lossy()),
        "a line of the trace has a tau below 1: a floor needs tokens that are the strong model's alone"
    );
    let slots = args.traces.slots(&jobs);
    let (pool, context) = jobs::sizes(&jobs, slots);
    let options = args.machine.options(pool, context);
    let mut strong = machine::load(&Source::strong(&args.strong), &options)?;
    let mut weak = machine::load(&Source::weak(&args.weak), &options)?;
    let vocab = weak.vocab();
    ensure!(
        strong.vocab() == vocab,
        "{} has {} tokens and {} has {vocab}: a floor needs two models of one vocabulary",
        args.strong,
        strong.vocab(),
        args.weak
    );
    jobs::check(&jobs, &strong, &args.strong)?;
    jobs::check(&jobs, &weak, &args.weak)?;
    let bar = progress::bar(jobs::tokens(&jobs) as u64, "Reading with both models", "tokens");
    let replay = Replay {
        slots,
        tokens_per_tick: args.traces.tokens_per_tick.into(),
    };
    let (mut total, mut paired) = (Information::default(), Paired::default());
    let mut scorer = Scorer::new(Predictor::new(options.kernel), jobs.len());
    replay.run(&mut [&mut strong, &mut weak], &jobs, &bar, &mut |part| {
        let (tokens, p, q) = (part.tokens, &part.logits[0], &part.logits[1]);
        // The code learns token by token; what the models know of each token has no order.
        let (known, scored) = rayon::join(
            || {
                let rows = p.par_chunks(vocab).zip(q.par_chunks(vocab)).zip(tokens);
                let each = rows.map_init(Room::default, |room, ((p, q), at)| {
                    room.information(p, &jobs[at.job].query.sampling, q)
                });
                each.collect::<Vec<_>>()
            },
            || {
                scorer.score(part, 1, &jobs, |i, Bits { plain, coded }| {
                    paired.add(tokens[i].job, 1, plain, coded);
                })
            },
        );
        scored?;
        // In order, for a sum that is the same again.
        known.into_iter().for_each(|one| total += one);
        Ok(())
    })?;
    bar.finish_and_clear();
    let report = Report::new(&total, &paired);
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print(&args.strong, &args.weak);
    }
    Ok(())
}

impl AddAssign for Information {
    fn add_assign(&mut self, other: Self) {
        let Self { h_p, h_pq, d_cs } = other;
        self.h_p += h_p;
        self.h_pq += h_pq;
        self.d_cs += d_cs;
    }
}

impl Report {
    fn new(total: &Information, paired: &Paired) -> Self {
        let tokens = paired.tokens();
        let Information { h_p, h_pq, d_cs } = *total;
        let finite = |value: f64| value.is_finite().then(|| round(value));
        Self {
            h_p: round(h_p / tokens),
            h_pq: round(h_pq / tokens),
            kl: round((h_pq - h_p) / tokens),
            d_cs: round(d_cs / tokens),
            plain: round(paired.plain_per_token()),
            ours: round(paired.bits_per_token()),
            tokens: tokens as u64,
            ours_over_d_cs: finite(paired.bits_per_token() * tokens / d_cs),
            stderr: finite(paired.stderr()),
        }
    }

    fn print(&self, strong: &str, weak: &str) {
        let row = |name: &str, bits: f64| vec![name.to_owned(), format!("{bits:.4}")];
        table::print(&[
            vec![format!("{} tokens", self.tokens), "bits/token".into()],
            vec![],
            row("H(p), what the strong model leaves open", self.h_p),
            row("H(p, q), plain coding on average", self.h_pq),
            row("KL(p || q), floor of all schemes", self.kl),
            row("D_CS(p || q), floor of causal rejection samplers", self.d_cs),
            row("plain arithmetic coding under q", self.plain),
            row("ours", self.ours),
        ]);
        println!("\np: {strong}, q: {weak}.");
        if let Some(ratio) = self.ours_over_d_cs {
            println!("Ours is {ratio:.3} times D_CS.");
        }
        if let Some(stderr) = self.stderr {
            println!(
                "Standard error of the difference between ours and plain: {stderr:.4}, answers as clusters."
            );
        }
    }
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
