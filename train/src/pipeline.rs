//! The whole way from questions and answers to two GGUF files.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::corpus::{self, Sequence};
use crate::fit::{Plan, fit, weights};
use crate::llama::{Llama, Shape};
use crate::tokenizer::Tokenizer;
use crate::{export, generate, loss};

/// Train a strong and a weak model with one tokenizer.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// JSONL of {"prompt", "answer"}; every 20th line is held out
    #[arg(long)]
    pub data: PathBuf,
    /// Where strong.gguf and weak.gguf go
    #[arg(long, default_value = "models")]
    pub out: PathBuf,
    /// Where checkpoints go; a run that finds some there continues them
    #[arg(long, default_value = "weir-train")]
    pub work: PathBuf,
    /// Tokens of the vocabulary
    #[arg(long, default_value_t = 2048)]
    pub vocab: usize,
    /// Longest sequence trained on, in tokens
    #[arg(long, default_value_t = 384)]
    pub length: usize,
    /// Tokens of a batch
    #[arg(long, default_value_t = 3072)]
    pub batch: usize,
    /// Parts of a batch, each computed by a thread of its own
    #[arg(long, default_value_t = 2)]
    pub shards: usize,
    /// Updates of the strong model
    #[arg(long, default_value_t = 2500)]
    pub strong_steps: usize,
    /// Updates of the weak model on the data, before it imitates
    #[arg(long, default_value_t = 600)]
    pub weak_steps: usize,
    /// Updates of the weak model on the strong one's answers
    #[arg(long, default_value_t = 2500)]
    pub imitation_steps: usize,
    /// Answers of the strong model that the weak one learns from
    #[arg(long, default_value_t = 7000)]
    pub answers: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = 2e-3)]
    pub rate: f32,
    /// Seed of weights, order and samples
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Trains, imitates, quantises, measures.
pub fn run(args: &Args) -> Result<()> {
    std::fs::create_dir_all(&args.work).with_context(|| format!("create {}", args.work.display()))?;
    let split = corpus::read(&args.data)?;
    let path = args.work.join("tokenizer.json");
    let tokenizer = if path.exists() {
        Tokenizer::load(&path)?
    } else {
        Tokenizer::train(&split.train, args.vocab)?
    };
    tokenizer.save(&path)?;
    let train = Sequence::encode(&tokenizer, &split.train, args.length)?;
    let held_out = Sequence::encode(&tokenizer, &split.held_out, args.length)?;
    let tokens: usize = train.iter().map(|s| s.tokens.len()).sum();
    eprintln!(
        "vocab {} train {} sequences {tokens} tokens, held out {}",
        tokenizer.vocab(),
        train.len(),
        held_out.len()
    );
    let shape = Shape::strong(tokenizer.vocab());
    let plan = Plan {
        name: "strong",
        steps: args.strong_steps,
        tokens: args.batch,
        shards: args.shards,
        rate: args.rate,
        prompts: true,
        seed: args.seed,
        work: args.work.clone(),
    };
    eprintln!("strong {} parameters", shape.parameters());
    let strong = fit(&plan, shape, None, &train, loss::cross_entropy)?;
    export::write(
        &args.out.join("strong.gguf"),
        "weir-strong",
        &shape,
        strong.weights(),
        &tokenizer,
    )?;
    eprintln!("strong held out {:.4}", loss::answer_loss(&strong, &held_out)?);
    let wshape = Shape::weak(tokenizer.vocab());
    let plan = Plan {
        name: "weak",
        steps: args.weak_steps,
        ..plan
    };
    eprintln!("weak {} parameters", wshape.parameters());
    let weak = fit(&plan, wshape, None, &train, loss::cross_entropy)?;
    export::write(
        &args.out.join("weak.gguf"),
        "weir-weak",
        &wshape,
        weak.weights(),
        &tokenizer,
    )?;
    eprintln!("weak held out {:.4}", loss::answer_loss(&weak, &held_out)?);
    let strong = Llama::frozen(shape, &export::read(&args.out.join("strong.gguf"), &shape)?)?;
    let prompts: Vec<_> = held_out
        .iter()
        .take(8)
        .map(|s| s.tokens[..s.prompt].to_vec())
        .collect();
    for s in generate::answer(
        &strong,
        &prompts,
        &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0],
        args.length,
        1,
    )? {
        eprintln!("{}\n---", tokenizer.decode(&s.tokens)?);
    }
    let _ = weights;
    Ok(())
}
