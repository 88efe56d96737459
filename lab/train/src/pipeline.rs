//! The whole way from questions and answers to two GGUF files. Every stage leaves a file in the work folder and is
//! skipped, or continued, where that file is found.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::corpus::{self, Sequence, Split};
use crate::fit::{Plan, fit};
use crate::llama::{Llama, Shape};
use crate::ngram::Ngram;
use crate::report::{Imitation, Report};
use crate::tokenizer::Tokenizer;
use crate::{export, generate, loss};

/// Train a strong model and a weak one that imitates it, with one tokenizer.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// JSONL of {"prompt", "answer"}; every 20th line is held out
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Where strong.gguf and weak.gguf go
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub out: PathBuf,
    /// Where checkpoints go; a run that finds some there continues them
    #[arg(long, value_name = "DIR", default_value = "target/weir-train")]
    pub work: PathBuf,
    /// Tokens of the vocabulary, at most 4096
    #[arg(long, default_value_t = 2048)]
    pub vocab: usize,
    /// Longest sequence trained on and longest answer sampled, in tokens, prompt included
    #[arg(long, default_value_t = 384, value_parser = at_least(16))]
    pub length: usize,
    /// Tokens of an update
    #[arg(long, default_value_t = 3072, value_parser = at_least(16))]
    pub batch: usize,
    /// Parts of an update, each computed by a thread of its own; set RAYON_NUM_THREADS=1 beside it
    #[arg(long, default_value_t = 2, value_parser = at_least(1))]
    pub shards: usize,
    /// Updates of the strong model
    #[arg(long, default_value_t = 2200)]
    pub strong_steps: usize,
    /// Updates of the weak model on the data, before it imitates
    #[arg(long, default_value_t = 700)]
    pub weak_steps: usize,
    /// Updates of the weak model on answers the strong one gave, and on its view of the data
    #[arg(long, default_value_t = 1400)]
    pub imitation_steps: usize,
    /// Answers the strong model gives to training prompts for the weak one to learn from, half of them greedy
    #[arg(long, default_value_t = 7000)]
    pub answers: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 3e-3)]
    pub rate: f32,
    /// Seed of weights, order and samples
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Trains the strong model, lets the weak one imitate it, writes both and prints a [`Report`], also to
/// `report.json` in the work folder.
pub fn run(args: Args) -> Result<()> {
    let args = &args;
    for folder in [&args.work, &args.out] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    settle(args)?;
    let split = corpus::read(&args.data)?;
    let tokenizer = tokenizer(args, &split)?;
    let train = Sequence::encode(&tokenizer, &split.train, args.length)?;
    let held_out = Sequence::encode(&tokenizer, &split.held_out, args.length)?;
    let ngram = Ngram::train(&train, tokenizer.vocab()).answer_loss(&held_out);
    eprintln!(
        "5-gram {ngram:.4} nats per held-out answer token; {} sequences to train on",
        train.len()
    );

    let (shape, path) = (Shape::strong(tokenizer.vocab()), args.out.join("strong.gguf"));
    let plan = plan(args, "strong", args.strong_steps, args.rate, true);
    let strong = fit(&plan, shape, None, &train, loss::cross_entropy)?;
    export::write(&path, "weir-strong", &shape, strong.weights(), &tokenizer)?;
    // From here on the strong model is what readers of its file get.
    let strong = Llama::frozen(shape, &export::read(&path, &shape)?)?;

    let (shape, path) = (Shape::weak(tokenizer.vocab()), args.out.join("weak.gguf"));
    let plan = Plan {
        name: "weak",
        steps: args.weak_steps,
        ..plan
    };
    let before = fit(&plan, shape, None, &train, loss::cross_entropy)?;
    let mut lessons = answers(args, &strong, &train)?;
    lessons.extend(train.iter().cloned());
    let plan = self::plan(args, "imitation", args.imitation_steps, args.rate / 2.0, false);
    let teach = |weak: &Llama, batch: &corpus::Batch| loss::imitation(weak, &strong, batch);
    let after = fit(&plan, shape, Some(before.weights()), &lessons, teach)?;
    export::write(&path, "weir-weak", &shape, after.weights(), &tokenizer)?;
    let weak = Llama::frozen(shape, &export::read(&path, &shape)?)?;

    let report = Report {
        train_tokens: train.iter().map(|s| s.tokens.len()).sum(),
        strong_parameters: strong.shape().parameters(),
        weak_parameters: weak.shape().parameters(),
        ngram,
        strong: loss::answer_loss(&strong, &held_out)?,
        weak_before: loss::answer_loss(&before, &held_out)?,
        weak: loss::answer_loss(&weak, &held_out)?,
        imitation: [1.0, 0.0]
            .iter()
            .map(|&t| Imitation::measure(t, &strong, &before, &weak, &tokenizer, &held_out, args.length))
            .collect::<Result<_>>()?,
    };
    let json = serde_json::to_string_pretty(&report)?;
    println!("{json}");
    write(&args.work.join("report.json"), &json)
}

/// Notes what the work folder's files are made with: others must not continue them.
fn settle(args: &Args) -> Result<()> {
    let Args {
        data,
        out: _,
        work,
        vocab,
        length,
        batch,
        shards,
        strong_steps,
        weak_steps,
        imitation_steps,
        answers,
        rate,
        seed,
    } = args;
    let now = format!(
        "data {}, vocab {vocab}, length {length}, batch {batch}, shards {shards}, strong-steps {strong_steps}, weak-steps {weak_steps}, \
         imitation-steps {imitation_steps}, answers {answers}, rate {rate}, seed {seed}\n",
        data.display()
    );
    let path = work.join("plan.txt");
    if !path.exists() {
        return write(&path, &now);
    }
    let then = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    ensure!(
        then == now,
        "{} holds the work of another plan: {} Take that one again, or another --work",
        work.display(),
        then.trim()
    );
    Ok(())
}

/// Numbers of at least `least`.
fn at_least(least: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(format!("a number of at least {least}")),
    }
}

fn tokenizer(args: &Args, split: &Split) -> Result<Tokenizer> {
    let path = args.work.join("tokenizer.json");
    if path.exists() {
        return Tokenizer::load(&path);
    }
    let tokenizer = Tokenizer::train(&split.train, args.vocab)?;
    tokenizer.save(&path)?;
    Ok(tokenizer)
}

fn plan(args: &Args, name: &'static str, steps: usize, rate: f32, prompts: bool) -> Plan {
    let (tokens, shards, seed, work) = (args.batch, args.shards, args.seed, args.work.clone());
    Plan {
        name,
        steps,
        tokens,
        shards,
        rate,
        prompts,
        seed,
        work,
    }
}

/// What the strong model says to training prompts, alternately at temperature 1 and greedy.
fn answers(args: &Args, strong: &Llama, train: &[Sequence]) -> Result<Vec<Sequence>> {
    let path = args.work.join("answers.json");
    if path.exists() {
        let json = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        return serde_json::from_slice(&json).with_context(|| format!("parse {}", path.display()));
    }
    let prompts: Vec<_> = train
        .iter()
        .cycle()
        .take(args.answers)
        .map(|s| s.tokens[..s.prompt].to_vec())
        .collect();
    let temperatures: Vec<f32> = (0..prompts.len())
        .map(|i| if i % 2 == 0 { 1.0 } else { 0.0 })
        .collect();
    let answers = generate::answer(strong, &prompts, &temperatures, args.length, args.seed)?;
    write(&path, &serde_json::to_string(&answers)?)?;
    Ok(answers)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
