//! `weir-lab bench ablation`: what each part of the prediction is worth.

use std::path::PathBuf;

use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;
use weir_codec::predict::{Ablation, Predictor};
use weir_setup::Source;

use super::jobs::{self, Traces};
use super::paired::Paired;
use super::replay::Replay;
use super::scorer::{Bits, Scorer};
use crate::plot::{self, Axis, Bars, Spacing};
use weir_setup::tool::machine::{self, Machine};
use weir_setup::tool::{progress, table};

/// Codes traces with more and more parts of the prediction, and says what each is worth
///
/// One pass of the weak model serves all rows, in the order of frames. Bits are code lengths under the prediction: no
/// counts, no tails of frames. Standard errors are of the paired difference to plain coding, clustered by answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The weak model: a .gguf or .weir file, or "embedded"
    #[arg(long, value_name = "FILE")]
    weak: String,
    #[command(flatten)]
    traces: Traces,
    #[command(flatten)]
    machine: Machine,
    /// Draw the rows to FILE.svg and FILE.png
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print one JSON list
    #[arg(long)]
    json: bool,
}

/// One row: an object of `--json`.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    bits_per_token: f64,
    /// Of the second half of the tokens in the order of coding.
    last_half: f64,
    /// Of the difference to plain coding, in bits a token; null where there are fewer than two answers.
    stderr: Option<f64>,
    tokens: u64,
    /// Bits over those of plain coding, and the standard error of that.
    of_plain: f64,
    of_plain_stderr: Option<f64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let jobs = args.traces.jobs()?;
    let slots = args.traces.slots(&jobs);
    let (pool, context) = jobs::sizes(&jobs, slots);
    let options = args.machine.options(pool, context);
    let mut model = machine::load(&Source::weak(&args.weak), &options)?;
    jobs::check(&jobs, &model, &args.weak)?;
    let kernel = options.kernel;
    let variant = |(name, parts)| Variant {
        name,
        scorer: Scorer::new(Predictor::with(kernel, parts), jobs.len()),
        sums: Sums::default(),
    };
    let mut variants: Vec<Variant> = STEPS.into_iter().map(variant).collect();
    let total = jobs::tokens(&jobs);
    let bar = progress::bar(total as u64, "Coding", "tokens");
    let replay = Replay {
        slots,
        tokens_per_tick: args.traces.tokens_per_tick.into(),
    };
    let mut seen = 0;
    replay.run(&mut [&mut model], &jobs, &bar, &mut |part| {
        variants
            .par_iter_mut()
            .try_for_each(|Variant { scorer, sums, .. }| {
                scorer.score(part, 0, &jobs, |i, bits| {
                    sums.add(part.tokens[i].job, bits, 2 * (seen + i) >= total);
                })
            })?;
        seen += part.tokens.len();
        Ok(())
    })?;
    bar.finish_and_clear();
    let plain = variants.first().map(|variant| variant.sums.plain().row("plain"));
    let coded = variants.iter().map(|variant| variant.sums.row(variant.name));
    let rows: Vec<Row> = plain.into_iter().chain(coded).collect();
    if let Some(stem) = &args.plot {
        plot::save(&chart(&rows).svg()?, stem)?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&rows)?);
    } else {
        print(&args.weak, &rows, jobs.len());
    }
    Ok(())
}

/// A prediction and what it has cost.
struct Variant {
    name: &'static str,
    scorer: Scorer,
    sums: Sums,
}

/// Bits of all tokens and of the second half of them.
#[derive(Default)]
struct Sums {
    all: Paired,
    late: Paired,
}

impl Sums {
    fn add(&mut self, answer: usize, bits: Bits, late: bool) {
        let Bits { plain, coded } = bits;
        self.all.add(answer, 1, plain, coded);
        if late {
            self.late.add(answer, 1, plain, coded);
        }
    }

    /// The sums of plain coding itself.
    fn plain(&self) -> Self {
        let Self { all, late } = self;
        Self {
            all: all.plain(),
            late: late.plain(),
        }
    }

    fn row(&self, name: &str) -> Row {
        let Self { all, late } = self;
        let error = |value: f64| value.is_finite().then(|| round(value));
        Row {
            name: name.to_owned(),
            bits_per_token: round(all.bits_per_token()),
            last_half: round(late.bits_per_token()),
            stderr: error(all.stderr()),
            tokens: all.tokens() as u64,
            of_plain: round(all.ratio()),
            of_plain_stderr: error(all.ratio_stderr()),
        }
    }
}

fn chart(rows: &[Row]) -> Bars {
    Bars {
        title: "What each part of the prediction is worth".to_owned(),
        axis: Axis {
            label: "bits per token".to_owned(),
            spacing: Spacing::Linear,
        },
        bars: rows
            .iter()
            .map(|row| (row.name.clone(), row.bits_per_token))
            .collect(),
    }
}

fn print(weak: &str, rows: &[Row], answers: usize) {
    let tokens = rows.first().map_or(0, |row| row.tokens);
    let head = ["bits/token", "+-", "last half", "of plain", "+-"].map(String::from);
    let mut lines = vec![
        [
            vec![format!("{weak}: {tokens} tokens, {answers} answers")],
            head.to_vec(),
        ]
        .concat(),
        vec![],
    ];
    let error = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    for row in rows {
        lines.push(vec![
            row.name.clone(),
            format!("{:.4}", row.bits_per_token),
            error(row.stderr),
            format!("{:.4}", row.last_half),
            format!("{:.4}", row.of_plain),
            error(row.of_plain_stderr),
        ]);
    }
    table::print(&lines);
    println!("\n+-: standard error of the difference to plain coding, answers as clusters.");
}

/// From little to everything.
const STEPS: [(&str, Ablation); 5] = {
    let sharpened = Ablation {
        blends: true,
        ..Ablation::NONE
    };
    let seeded = Ablation {
        seed: true,
        ..sharpened
    };
    let network = Ablation {
        network: true,
        ..seeded
    };
    let history = Ablation {
        history: true,
        ..network
    };
    [
        ("sharpened", sharpened),
        ("seeded", seeded),
        ("+ network", network),
        ("+ history of the answer", history),
        ("+ weights learned", Ablation::ALL),
    ]
};

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
