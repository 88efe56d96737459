//! `weir-lab trace`: what a strong model says to some prompts, written down for measurements.

pub(crate) mod engine;
mod file;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use weir_codec::{Query, Sampling, Seed};
use weir_model::{Kv, Message, Options, PAGE, Predict as _, Tokenizer};
use weir_setup::Source;
use weir_setup::source::{EMBEDDED, vocabulary};

use engine::{answers, exact};
use file::write;
pub(crate) use file::{Line, read};
use weir_setup::tool::machine::{self, Machine};
use weir_setup::tool::progress;
use weir_setup::tool::prompts::{self, Prompt};

/// Lets the strong model answer prompts and writes one line of tokens for each
///
/// A line is {"id", "prompt_tokens", "tokens", "temperature", "top_p", "top_k", "tau", "seed"}. The same flags give the
/// same file on every machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model: a .gguf or .weir file
    #[arg(long, value_name = "FILE", default_value = EMBEDDED)]
    strong: String,
    /// The weak model, which has a say where --tau is below 1: a .gguf or .weir file
    #[arg(long, value_name = "FILE", default_value = EMBEDDED)]
    weak: String,
    /// What the weak model's keys and values are kept as, where it has a say: f32 or int8, as `weak.kv` has it on both ends
    #[arg(long, value_name = "KIND", default_value = "f32", value_parser = machine::kv)]
    kv: Kv,
    /// Prompts, one {"id"?, "prompt"} a line; they go through the model's chat template [default: embedded]
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    #[command(flatten)]
    ask: Ask,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Queries that are live at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    live: u16,
    /// Take only the first N prompts
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    machine: Machine,
}

/// How the prompts are asked.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Ask {
    /// 0 takes the best token; above, tokens are drawn with seeded noise
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub(crate) temperature: f32,
    /// Draw only from the smallest set of tokens that has this probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub(crate) top_p: f32,
    /// Draw only from the K best tokens; 0 is all of them
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) top_k: u32,
    /// Below 1 the answer may be the weak model's: greedy, its best token stands while the strong model gives it at least
    /// TAU times the probability of its own best; drawn, from strong^TAU weak^(1 - TAU)
    #[arg(long, value_name = "TAU", default_value_t = 1.0)]
    pub(crate) tau: f32,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// The seed from which every prompt's own seed is made
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) seed: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut asked = prompts::load(args.prompts.as_deref())?;
    asked.truncate(args.limit.unwrap_or(usize::MAX));
    let source = Source::strong(&args.strong);
    let weak = Source::weak(&args.weak);
    let lines = make(
        &source,
        (&weak, args.kv),
        &asked,
        &args.ask,
        usize::from(args.live),
        &args.machine,
    )?;
    write(&args.out, &lines)?;
    let tokens: usize = lines.iter().map(|line| line.tokens.len()).sum();
    println!("{}: {} answers, {tokens} tokens", args.out.display(), lines.len());
    Ok(())
}

/// Answers prompts, at most `live` at a time, with a strong and, where it is needed, a weak model.
pub(crate) fn make(
    source: &Source,
    (weak, kv): (&Source, Kv),
    prompts: &[Prompt],
    ask: &Ask,
    live: usize,
    machine: &Machine,
) -> Result<Vec<Line>> {
    let tokenizer = machine::tokenizer(source)?;
    let queries = queries(&tokenizer, prompts, ask)?;
    let need = queries.iter().map(positions).max().unwrap_or(0);
    let live = live.min(queries.len());
    let options = machine.options(live * need.next_multiple_of(PAGE), need);
    let model = machine::load(source, &options)?;
    let weak = match ask.tau < 1.0 {
        true => Some(machine::load(weak, &Options { kv, ..options })?),
        false => None,
    };
    for (query, prompt) in queries.iter().zip(prompts) {
        query.check(model.vocab(), model.max_context()).with_context(|| {
            format!(
                "prompt {}: {} tokens and {} of answer",
                prompt.id,
                query.prompt.len(),
                query.max_tokens
            )
        })?;
    }
    let bar = progress::bar(prompts.len() as u64, "Answering", "prompts");
    let engine = exact(
        model,
        weak,
        tokenizer.vocab(),
        options.kv_tokens,
        options.kernel,
        None,
    );
    let answers = answers(engine, vocabulary(&tokenizer), &queries, live, |_| bar.inc(1))?;
    bar.finish_and_clear();
    let answered = prompts.iter().zip(queries).zip(answers);
    Ok(answered
        .map(|((prompt, query), tokens)| Line::new(&prompt.id, query, tokens))
        .collect())
}

/// Puts prompts through the chat template and gives each a seed of its own.
pub(crate) fn queries(tokenizer: &Tokenizer, prompts: &[Prompt], ask: &Ask) -> Result<Vec<Query>> {
    let sampling = Sampling {
        temperature: ask.temperature,
        top_p: ask.top_p,
        top_k: ask.top_k,
        tau: ask.tau,
    };
    sampling
        .check()
        .context("these sampling parameters cannot be used")?;
    ensure!(!prompts.is_empty(), "there are no prompts to answer");
    let query = |(index, prompt): (usize, &Prompt)| {
        let message = Message {
            role: "user".to_owned(),
            content: prompt.text.clone(),
        };
        let tokens = tokenizer
            .chat(&[message])
            .with_context(|| format!("prompt {}", prompt.id))?;
        let seed = seed(ask.seed, index as u64);
        Ok(Query {
            seed,
            sampling,
            max_tokens: ask.max_tokens,
            stop: Vec::new(),
            prompt: tokens,
        })
    };
    prompts.iter().enumerate().map(query).collect()
}

/// Positions that a query takes in a model's context: all but its last token are fed.
pub(crate) fn positions(query: &Query) -> usize {
    query.prompt.len() + query.max_tokens as usize
}

/// The seed of request `index` of a run seeded with `key`: half a BLAKE3 hash of both.
fn seed(key: u64, index: u64) -> Seed {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(b"weir trace seed")
        .update(&key.to_be_bytes())
        .update(&index.to_be_bytes());
    let mut seed = Seed::default();
    hasher.finalize_xof().fill(&mut seed);
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_a_seed_of_its_own() {
        let seeds = [seed(0, 0), seed(0, 1), seed(1, 0), seed(1, 1)];
        for (index, one) in seeds.iter().enumerate() {
            assert!(!seeds[..index].contains(one));
        }
    }
}
