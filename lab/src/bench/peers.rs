//! `weir-lab bench peers`: what the same answers take by other means.

mod others;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::Serialize;
use weir_setup::Source;
use weir_setup::source::vocabulary;
use weir_wire::Parameters;

use super::codec::Report;
use super::codec::encoder::Encoding;
use super::jobs::{self, Traces};
use crate::plot::{self, Axis, Bars, Spacing};
use others::Other;
use weir_setup::tool::machine::{self, Machine};
use weir_setup::tool::{progress, table};

/// Weighs answers as other protocols and compressors would send them, and as frames
///
/// Bits are per token of the answer, end tokens included. "Alone": each answer by itself, as it must be if each goes to
/// another user; "together": all answers in one file, which no one could stream. A dictionary is made from every second
/// answer and used for the others, and the other way round; its own bytes are not counted.
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
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The object of `--json`.
#[derive(Debug, Serialize)]
struct Weighed {
    answers: usize,
    tokens: usize,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    bits_per_token: f64,
    /// How many times as much as ours in frames.
    times_ours: f64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let jobs = args.traces.jobs()?;
    let slots = args.traces.slots(&jobs);
    let (pool, context) = jobs::sizes(&jobs, slots);
    let source = Source::weak(&args.weak);
    let vocabulary = vocabulary(&machine::tokenizer(&source)?);
    let model = machine::load(&source, &args.machine.options(pool, context))?;
    jobs::check(&jobs, &model, &args.weak)?;

    let pieces = |tokens: &[u32]| {
        tokens
            .iter()
            .map(|&token| vocabulary.token_bytes(token).to_vec())
            .collect()
    };
    let answers: Vec<others::Answer> = jobs
        .iter()
        .map(|job| others::Answer {
            tokens: job.tokens.clone(),
            pieces: pieces(&job.tokens),
        })
        .collect();
    ensure!(
        answers
            .iter()
            .any(|answer| answer.pieces.iter().any(|piece| !piece.is_empty())),
        "these answers have no text"
    );
    let tokens = jobs::tokens(&jobs);
    let bar = progress::bar(Other::ALL.len() as u64, "Weighing", "ways");
    let mut rows = Vec::new();
    for other in Other::ALL {
        if let Some(bytes) = other.weigh(&answers)? {
            rows.push((other.name(), 8.0 * bytes as f64 / tokens as f64));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();

    let bar = progress::bar(tokens as u64, "Coding", "tokens");
    let encoding = Encoding {
        slots,
        parameters: Parameters {
            tokens_per_tick: args.traces.tokens_per_tick.into(),
            ..Parameters::default()
        },
        kernel: model.info().kernel,
    };
    let ours: Report = encoding.run(model, vocabulary, &jobs, None, &bar)?.report();
    bar.finish_and_clear();
    rows.push(("arithmetic coding, weak model alone", ours.plain_bits_per_token));
    rows.push(("ours, code", ours.bits_per_token));
    rows.push(("ours, frames", ours.frame_bits_per_token));

    let frames = ours.frame_bits_per_token;
    let row = |(name, bits): (&'static str, f64)| Row {
        name,
        bits_per_token: (bits * 1e4).round() / 1e4,
        times_ours: (bits / frames * 1e2).round() / 1e2,
    };
    let weighed = Weighed {
        answers: jobs.len(),
        tokens,
        rows: rows.into_iter().map(row).collect(),
    };
    if let Some(stem) = &args.plot {
        plot::save(&weighed.chart().svg()?, stem)?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&weighed)?);
    } else {
        weighed.print(&args.weak);
    }
    Ok(())
}

impl Weighed {
    fn chart(&self) -> Bars {
        Bars {
            title: format!("{} answers, {} tokens", self.answers, self.tokens),
            axis: Axis {
                label: "bits per token".to_owned(),
                spacing: Spacing::Logarithmic,
            },
            bars: self
                .rows
                .iter()
                .map(|row| (row.name.to_owned(), row.bits_per_token))
                .collect(),
        }
    }

    fn print(&self, weak: &str) {
        let head = format!("{} answers, {} tokens", self.answers, self.tokens);
        let mut lines = vec![vec![head, "bits/token".into(), "of ours".into()], vec![]];
        for row in &self.rows {
            let Row {
                name,
                bits_per_token,
                times_ours,
            } = row;
            lines.push(vec![
                (*name).to_owned(),
                format!("{bits_per_token:.3}"),
                format!("{times_ours:.2} x"),
            ]);
        }
        table::print(&lines);
        println!("\nWeak model: {weak}. Of ours: of frames as they leave, before the link's headers.");
    }
}
