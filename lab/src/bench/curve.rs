//! `weir-lab bench curve`: what a deviation from the strong model saves in bits, and what it costs in nats.

mod loss;
mod point;
mod report;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use weir_codec::{Query, Sampling};
use weir_model::{Model, Options, PAGE, Predict as _, Tokenizer};
use weir_setup::Source;
use weir_setup::source::{EMBEDDED, vocabulary};

use crate::trace::{Ask, positions, queries};
use point::{Bench, Point};
use report::Report;
use weir_setup::tool::machine::{self, Machine};
use weir_setup::tool::prompts::{self, Prompt};

/// Answers prompts at several tau, codes the answers, and sets bits against nats lost under the strong model
///
/// Every point is generated and coded anew, with the sampler of SPEC 4.5; docs/research.md defines the loss. With --out,
/// curve.csv, curve.svg, curve.png and answers.md (answers side by side) are written, and the points themselves: a run
/// that was interrupted, or one with further points, measures only what is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The strong model: a .gguf or .weir file, or "embedded"
    #[arg(long, value_name = "FILE", default_value = EMBEDDED)]
    strong: String,
    /// The weak model: a .gguf or .weir file, or "embedded"
    #[arg(long, value_name = "FILE", default_value = EMBEDDED)]
    weak: String,
    /// Prompts, one {"id"?, "prompt"} a line; they go through the model's chat template [default: embedded]
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Take only the first N prompts
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u16).range(2..))]
    limit: u16,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 96, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Points of a curve; 1, the lossless one, is always there
    #[arg(long, value_name = "TAU,…", value_delimiter = ',', default_values_t = [0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02])]
    taus: Vec<f32>,
    /// A curve for each of these temperatures
    #[arg(long, value_name = "T,…", value_delimiter = ',', default_values_t = [0.0, 1.0])]
    temperatures: Vec<f32>,
    /// The seed from which every prompt's own seed is made
    #[arg(long, value_name = "K", default_value_t = 0)]
    seed: u64,
    /// Folder for charts, table, answers and points; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prompts whose answers are shown side by side
    #[arg(long, value_name = "N", default_value_t = 3)]
    show: usize,
    #[command(flatten)]
    machine: Machine,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut asked = prompts::load(args.prompts.as_deref())?;
    asked.truncate(usize::from(args.limit));
    ensure!(
        asked.len() > 1,
        "at least two prompts are needed: errors are estimated from the differences between answers"
    );
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    }
    let (strong, weak) = (Source::strong(&args.strong), Source::weak(&args.weak));
    let tokenizer = machine::tokenizer(&weak)?;
    ensure!(
        machine::tokenizer(&strong)?.metadata().tokens == tokenizer.metadata().tokens,
        "{} and {} have different vocabularies: a token of one means nothing to the other",
        strong.name(),
        weak.name()
    );
    let settings = samplings(args)?;
    let queries = |sampling: &Sampling| queries(&tokenizer, &asked, &ask(args, sampling));
    let sizes: Vec<usize> = queries(&settings[0])?.iter().map(positions).collect();
    let need = sizes.iter().max().copied().unwrap_or(0);
    let pool = sizes.iter().map(|size| size.next_multiple_of(PAGE)).sum();
    let options = args.machine.options(pool, need);
    // Whoever answers or codes has a pool of their own.
    let weights = Options {
        kv_tokens: PAGE,
        ..options
    };
    let bench = Bench {
        strong: machine::load(&strong, &weights)?,
        weak: machine::load(&weak, &weights)?,
        options,
        vocabulary: vocabulary(&tokenizer),
    };
    fits(&bench.strong, need, &strong)?;
    fits(&bench.weak, need, &weak)?;
    let mut points = Vec::new();
    for sampling in &settings {
        points.push(point(args, &bench, queries(sampling)?, sampling)?);
    }
    let report = Report::new([strong.name(), weak.name()], asked.len(), &points);
    if let Some(out) = &args.out {
        report.save(out)?;
        let shown = asked.len().min(args.show);
        save_answers(out, &tokenizer, &asked[..shown], &points)?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

/// All points, curve by curve, each from the lossless one down.
fn samplings(args: &Args) -> Result<Vec<Sampling>> {
    let mut taus = args.taus.clone();
    taus.push(1.0);
    taus.sort_by(|a, b| b.total_cmp(a));
    taus.dedup();
    let mut all = Vec::new();
    for &temperature in &args.temperatures {
        for &tau in &taus {
            let sampling = Sampling {
                tau,
                ..Sampling::at(temperature)
            };
            sampling
                .check()
                .with_context(|| format!("temperature {temperature}, tau {tau}"))?;
            all.push(sampling);
        }
    }
    ensure!(!all.is_empty(), "--temperatures is empty");
    Ok(all)
}

fn ask(args: &Args, sampling: &Sampling) -> Ask {
    let Sampling {
        temperature,
        top_p,
        top_k,
        tau,
    } = *sampling;
    Ask {
        temperature,
        top_p,
        top_k,
        tau,
        max_tokens: args.max_tokens,
        seed: args.seed,
    }
}

/// The point with the answers that were given before, if they are there and of the same models, prompts and settings, else
/// with new ones; coded anew where the codec is another.
fn point(args: &Args, bench: &Bench, queries: Vec<Query>, sampling: &Sampling) -> Result<Point> {
    let key = bench.key(&queries);
    let name = format!("point-t{}-tau{}.json", sampling.temperature, sampling.tau);
    let path = args.out.as_deref().map(|out| out.join(name));
    let there = path.as_deref().map(Point::read).transpose()?.flatten();
    let mut point = match there {
        Some(point) if point.key == key => point,
        other => {
            if let (Some(_), Some(path)) = (other, &path) {
                let name = path.display();
                eprintln!("{name}: of other models, prompts or settings; answered anew");
            }
            let point = bench.answer(key, &queries, sampling)?;
            // A coding that is interrupted must not cost the answers.
            path.as_deref().map_or(Ok(()), |path| point.write(path))?;
            point
        }
    };
    let coded = bench.code(&queries, &mut point)?;
    if let Some(path) = path.filter(|_| coded) {
        point.write(&path)?;
    }
    Ok(point)
}

fn fits(model: &Model, need: usize, source: &Source) -> Result<()> {
    let context = model.max_context();
    ensure!(
        need <= context,
        "{}: prompt and answer take {need} positions, the model has {context}",
        source.name()
    );
    Ok(())
}

/// Answers to the same prompts under each other, as Markdown.
fn save_answers(out: &Path, tokenizer: &Tokenizer, prompts: &[Prompt], points: &[Point]) -> Result<()> {
    let mut text = String::new();
    for (index, prompt) in prompts.iter().enumerate() {
        text += &format!("## {}\n\n{}\n", prompt.id, quoted(&prompt.text));
        for point in points {
            let answer = &point.answers[index];
            let bytes = tokenizer.decode(&answer.tokens);
            let per_token = answer.coded_bits / answer.tokens.len() as f64;
            text += &format!(
                "\n**T = {}, tau = {}** ({per_token:.2} bits/token)\n\n{}\n",
                point.temperature,
                point.tau,
                quoted(&String::from_utf8_lossy(&bytes))
            );
        }
        text.push('\n');
    }
    weir_setup::tool::files::write(&out.join("answers.md"), text.as_bytes())
}

fn quoted(text: &str) -> String {
    let lines = text
        .trim()
        .lines()
        .map(|line| format!("> {line}").trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}
