//! `weir-lab bench retokenize`: what answers cost in the tokens of another model, by how they are cut.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;
use serde::Serialize;
use weir_codec::{Encoder, MAX_COUNT, Offer, Query, Settings, Vocabulary};
use weir_model::{Message, Model, PAGE, Token, TokenStream, Tokenizer};
use weir_setup::Source;
use weir_setup::source::{EMBEDDED, vocabulary};

use crate::trace::{self, Line};
use weir_setup::tool::machine::{self, Machine};
use weir_setup::tool::{progress, prompts, table};

/// Writes answers in the tokens of a weak model with another tokenizer, and says what they cost
///
/// Each row is another way to make tokens of the bytes of ten tokens a tick; `weir inner --retokenize` does what the row
/// "held back, 32 bytes" does. Frames of one code for all live queries are written, and not decoded.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model that the trace is of; its tokenizer is enough
    #[arg(long, value_name = "FILE")]
    strong: String,
    /// The weak model: a .gguf or .weir file, or "embedded"
    #[arg(long, value_name = "FILE", default_value = EMBEDDED)]
    weak: String,
    /// What `weir-lab trace` wrote
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// The prompts of the trace [default: embedded]
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Take only the first N answers
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    limit: usize,
    /// Queries that are live at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..=128))]
    slots: u8,
    #[command(flatten)]
    machine: Machine,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How a text that comes in pieces becomes tokens.
#[derive(Clone, Copy)]
enum Way {
    /// At most so many bytes wait for the next piece.
    Held(usize),
    /// Each tick's bytes by themselves.
    Ticks,
}

/// How many tokens a frame brings of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Portion {
    /// Multiples of ten, and the rest at the end.
    Tens,
    /// Whatever is there.
    All,
}

/// An answer as the weak model sees it.
struct Job {
    query: Query,
    /// Tokens that each tick adds.
    ticks: Vec<Vec<Token>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    tokens: u64,
    coded: f64,
    plain: f64,
    framing: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    weak_tokens: u64,
    bits_per_weak_token: f64,
    bits_per_strong_token: f64,
    bits_per_byte: f64,
    plain_bits_per_byte: f64,
    /// Counts of tokens and other symbols between them.
    framing_bits_per_strong_token: f64,
}

const WAYS: [(&str, Way, Portion); 7] = [
    ("held back, any length", Way::Held(usize::MAX), Portion::Tens),
    ("held back, 64 bytes", Way::Held(64), Portion::Tens),
    ("held back, 32 bytes", Way::Held(32), Portion::Tens),
    ("  the same, exact counts", Way::Held(32), Portion::All),
    ("held back, 16 bytes", Way::Held(16), Portion::Tens),
    ("cut at ticks", Way::Ticks, Portion::Tens),
    ("cut at every strong token", Way::Held(0), Portion::Tens),
];
/// Tokens of the strong model that a tick brings of each answer.
const TICK: usize = 10;

pub(crate) fn run(args: &Args) -> Result<()> {
    let strong = machine::tokenizer(&Source::strong(&args.strong))?;
    let source = Source::weak(&args.weak);
    let weak = machine::tokenizer(&source)?;
    let texts: HashMap<String, String> = prompts::load(args.prompts.as_deref())?
        .into_iter()
        .map(|prompt| (prompt.id, prompt.text))
        .collect();
    let mut lines = trace::read(&args.trace)?;
    lines.truncate(args.limit);
    ensure!(!lines.is_empty(), "{}: no answers", args.trace.display());
    ensure!(
        lines.iter().all(|line| line.tau == 1.0),
        "a line of the trace has a tau below 1: with another tokenizer there are no such answers"
    );
    let strong_tokens: usize = lines.iter().map(|line| line.tokens.len()).sum();
    let bytes: usize = lines.iter().map(|line| strong.decode(&line.tokens).len()).sum();

    let jobs = |way| -> Result<Vec<Job>> {
        lines
            .iter()
            .map(|line| {
                let text = texts.get(&line.id).with_context(|| {
                    format!(
                        "prompt {} of the trace is not among the prompts (--prompts)",
                        line.id
                    )
                })?;
                job(line, text, way, &strong, &weak).with_context(|| format!("answer {}", line.id))
            })
            .collect()
    };
    let shared = strong.metadata().tokens == weak.metadata().tokens;
    let longest = jobs(Way::Held(0))?;
    let context = longest
        .iter()
        .map(|job| trace::positions(&job.query))
        .max()
        .unwrap_or(0);
    let pool = usize::from(args.slots) * context.next_multiple_of(PAGE);
    let options = args.machine.options(pool, context);
    let model = machine::load(&source, &options)?;
    let mut rows = Vec::new();
    let bar = progress::bar((WAYS.len() * lines.len()) as u64, "Coding", "answers");
    let mut row = |name, jobs: &[Job], portion, retokenized| -> Result<()> {
        let settings = Settings {
            full: TICK as u8,
            retokenized,
        };
        let cost = code(
            model.twin(&options)?,
            vocabulary(&weak),
            settings,
            jobs,
            args.slots,
            portion,
            &bar,
        )?;
        let per = |bits: f64, count: usize| bits / count.max(1) as f64;
        rows.push(Row {
            name,
            weak_tokens: cost.tokens,
            bits_per_weak_token: per(cost.coded, cost.tokens as usize),
            bits_per_strong_token: per(cost.coded, strong_tokens),
            bits_per_byte: per(cost.coded, bytes),
            plain_bits_per_byte: per(cost.plain, bytes),
            framing_bits_per_strong_token: per(cost.framing, strong_tokens),
        });
        Ok(())
    };
    if shared {
        let own: Result<Vec<Job>> = lines.iter().map(own).collect();
        row(
            "the strong model's own tokens, with the seed",
            &own?,
            Portion::Tens,
            false,
        )?;
    }
    for (name, way, portion) in WAYS {
        row(name, &jobs(way)?, portion, true)?;
    }
    bar.finish_and_clear();
    print(args, &rows, lines.len(), strong_tokens, bytes)
}

/// The line of a trace in the weak model's tokens.
fn job(line: &Line, prompt: &str, way: Way, strong: &Tokenizer, weak: &Tokenizer) -> Result<Job> {
    let (limit, at_ticks) = match way {
        Way::Held(limit) => (limit, false),
        Way::Ticks => (usize::MAX, true),
    };
    let mut stream = TokenStream::new(limit);
    let mut ticks = Vec::new();
    for tick in line.tokens.chunks(TICK) {
        let mut tokens = Vec::new();
        for token in tick {
            stream.push(weak, strong.token_bytes(*token), &mut tokens)?;
        }
        if at_ticks {
            stream.finish(weak, &mut tokens);
        }
        ticks.push(tokens);
    }
    let last = ticks.last_mut().context("no tokens")?;
    stream.finish(weak, last);
    let is_over = line
        .tokens
        .last()
        .is_some_and(|token| strong.end_tokens().contains(token));
    if is_over {
        let end = weak.metadata().eos.or_else(|| weak.end_tokens().first().copied());
        last.push(end.context("the weak model has no end token")?);
    }
    ensure!(
        weak.decode(&ticks.concat()) == strong.decode(&line.tokens),
        "the weak model's tokens say something else"
    );
    let query = Query {
        prompt: weak.chat(&[Message::new("user", prompt)])?,
        max_tokens: u32::try_from(ticks.iter().map(Vec::len).sum::<usize>())?,
        ..line.query()?
    };
    Ok(Job { query, ticks })
}

/// The line of a trace as it is.
fn own(line: &Line) -> Result<Job> {
    Ok(Job {
        query: line.query()?,
        ticks: line.tokens.chunks(TICK).map(<[Token]>::to_vec).collect(),
    })
}

/// A live answer.
struct Live<'a> {
    ticks: std::slice::Iter<'a, Vec<Token>>,
    waiting: Vec<Token>,
}

/// Writes all answers to frames.
fn code(
    model: Model,
    vocabulary: Vocabulary,
    settings: Settings,
    jobs: &[Job],
    slots: u8,
    portion: Portion,
    bar: &ProgressBar,
) -> Result<Cost> {
    let kernel = model.info().kernel;
    let mut encoder = Encoder::new(model, vocabulary, settings, kernel);
    let mut todo = jobs.iter();
    let mut live: Vec<Option<Live<'_>>> = (0..slots).map(|_| None).collect();
    let mut cost = Cost::default();
    loop {
        let mut taken_in = 0;
        for (slot, place) in (0..).zip(&mut live).filter(|(_, place)| place.is_none()) {
            let Some(job) = todo.next() else { break };
            encoder.slots().open(slot, &job.query)?;
            *place = Some(Live {
                ticks: job.ticks.iter(),
                waiting: Vec::new(),
            });
            taken_in += 1;
        }
        let mut offers = Vec::new();
        for (slot, place) in (0..).zip(&mut live) {
            let Some(live) = place else { continue };
            if live.waiting.len() < TICK
                && let Some(tick) = live.ticks.next()
            {
                live.waiting.extend(tick);
            }
            let most = live.waiting.len().min(MAX_COUNT);
            let is_over = live.ticks.len() == 0;
            let count = match portion {
                Portion::Tens if !is_over => most - most % TICK,
                _ => most,
            };
            offers.push((slot, Offer::Tokens(&live.waiting[..count])));
        }
        if offers.is_empty() {
            return Ok(cost);
        }
        let sealed = encoder.frame(taken_in, &offers, usize::MAX, &mut Vec::new())?;
        cost.tokens += u64::from(sealed.stats.tokens);
        cost.coded += sealed.stats.coded_bits;
        cost.plain += sealed.stats.plain_bits;
        cost.framing += sealed.stats.framing_bits;
        for &(slot, count) in &sealed.coded {
            if let Some(live) = &mut live[usize::from(slot)] {
                live.waiting.drain(..count);
            }
        }
        for &slot in &sealed.ended {
            let is_whole = live[usize::from(slot)]
                .take()
                .is_some_and(|live| live.waiting.is_empty() && live.ticks.len() == 0);
            ensure!(
                is_whole,
                "an answer goes on after its end: the trace is of another model"
            );
            bar.inc(1);
        }
    }
}

fn print(args: &Args, rows: &[Row], answers: usize, strong_tokens: usize, bytes: usize) -> Result<()> {
    if args.json {
        let report = serde_json::json!({
            "answers": answers, "strong_tokens": strong_tokens, "bytes": bytes, "rows": rows,
        });
        println!("{report}");
        return Ok(());
    }
    println!("{answers} answers, {strong_tokens} tokens of the strong model, {bytes} bytes");
    let head = [
        "",
        "weak tokens",
        "bits/weak token",
        "bits/strong token",
        "bits/byte",
        "plain, bits/byte",
        "counts, bits/strong token",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec(), Vec::new()];
    lines.extend(rows.iter().map(|row| {
        let bits = [
            row.bits_per_weak_token,
            row.bits_per_strong_token,
            row.bits_per_byte,
            row.plain_bits_per_byte,
            row.framing_bits_per_strong_token,
        ];
        let mut line = vec![row.name.to_owned(), row.weak_tokens.to_string()];
        line.extend(bits.map(|bits| format!("{bits:.4}")));
        line
    }));
    table::print(&lines);
    Ok(())
}
