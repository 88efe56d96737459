//! `weir demo`: a whole system on one machine, and what it cost.

mod children;
mod client;
mod report;
mod screen;
mod sse;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use weir_setup::Source;
use weir_setup::source::EMBEDDED;

pub(crate) use children::end_with_parent;
use children::{Ports, Running, Server};
use client::{Api, News, Wish};
use report::{Answer, Report};
use screen::Screen;
use weir_setup::tool::ends;
use weir_setup::tool::machine;
use weir_setup::tool::progress;
use weir_setup::tool::prompts::{self, Prompt};

/// Runs the two ends as processes on this machine and shows what their answers cost
///
/// Starts `weir inner` and `weir outer` with a UDP link over the loopback interface, sends prompts through outer's HTTP
/// API, streams an answer while all of them come in, and ends with a table of bits per token: coded, in frames, on the
/// link, and what other ways would take.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model inside: a .gguf or .weir file, or "embedded"
    #[arg(long, value_name = "FILE", default_value = EMBEDDED, requires = "weak")]
    strong: String,
    /// The model that both ends have: the same, of the strong one's family unless --retokenize is given
    #[arg(long, value_name = "FILE", default_value = EMBEDDED, requires = "strong")]
    weak: String,
    /// Prompts, one {"id"?, "prompt"} a line [default: word problems that come with the program, thrice]
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// 0 takes the best token; above, tokens are drawn with seeded noise
    #[arg(long, value_name = "T", default_value_t = 0.7)]
    temperature: f32,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Queries that are live at once
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u8).range(16..=128))]
    live: u8,
    /// Strong and weak model have different tokenizers
    #[arg(long)]
    retokenize: bool,
    /// How often every prompt is asked, with another seed each time [default: 1, embedded prompts 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Show nothing but one JSON object, as the last line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(
        (0.0..=2.0).contains(&args.temperature),
        "--temperature must be between 0 and 2"
    );
    let mut asked = prompts::load(args.prompts.as_deref())?;
    let rounds = args
        .rounds
        .unwrap_or_else(|| if args.prompts.is_some() { 1 } else { 3 });
    asked = (0..rounds).flat_map(|_| asked.iter().cloned()).collect();
    let tokenizer = machine::tokenizer(&Source::weak(&args.weak))?;

    let folder = TempDir::with_prefix("weir-demo-").context("cannot make a temporary folder")?;
    let left = folder.path().to_owned();
    let running = Running::default();
    let ending = running.clone();
    ends::at_the_end(move || {
        // A server that lives writes into the folder, or makes it anew.
        ending.end();
        drop(std::fs::remove_dir_all(left));
    })?;
    let record = folder.path().join("record.jsonl");
    let ports = Ports::free().context("no free ports on the loopback interface")?;
    let api = Api::new(ports.api, ports.metrics);
    let mut servers = start(args, &ports, folder.path(), &record, &running)?;
    let spinner = progress::spinner("Starting inner and outer, loading their models");
    let ready = children::wait(&api, &mut servers);
    spinner.finish_and_clear();
    ready?;

    let answers = ask(args, &api, &asked, &mut servers)?;
    let counters = api.metrics()?;
    let report = Report::new(&answers, &counters, &record, &tokenizer)?;
    drop(servers);
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print();
    }
    ensure!(
        report.exact,
        "what outer streamed is not what inner recorded: {}",
        report.difference()
    );
    Ok(())
}

fn start(args: &Args, ports: &Ports, folder: &Path, record: &Path, running: &Running) -> Result<Vec<Server>> {
    let Ports {
        inner,
        outer,
        api,
        metrics,
    } = ports;
    let common = |ours: u16, theirs: u16| {
        let mut common = vec![
            format!("--local=udp://127.0.0.1:{ours}"),
            format!("--peer=udp://127.0.0.1:{theirs}"),
            format!("--slots={}", args.live),
        ];
        common.extend(args.retokenize.then(|| "--retokenize".to_owned()));
        common
    };
    let mut inside = common(*inner, *outer);
    inside.push(format!("--record={}", record.display()));
    let mut outside = common(*outer, *inner);
    outside.extend([
        format!("--listen=127.0.0.1:{api}"),
        format!("--metrics=127.0.0.1:{metrics}"),
        format!("--model={}", client::MODEL),
    ]);
    let Args { strong, weak, .. } = args;
    inside.extend([format!("--strong={strong}"), format!("--weak={weak}")]);
    outside.push(format!("--weak={weak}"));
    Ok(vec![
        Server::start(running, "inner", &inside, folder)?,
        Server::start(running, "outer", &outside, folder)?,
    ])
}

/// Sends all prompts in and waits for the answers.
fn ask(args: &Args, api: &Api, asked: &[Prompt], servers: &mut [Server]) -> Result<Vec<Answer>> {
    let queue = Mutex::new(
        asked
            .iter()
            .map(|prompt| prompt.text.as_str())
            .enumerate()
            .collect::<VecDeque<_>>(),
    );
    let wish = Wish {
        temperature: args.temperature,
        max_tokens: args.max_tokens,
    };
    let workers = usize::from(args.live).min(asked.len());
    let mut screen = Screen::new(asked.len(), args.json);
    let mut answers = vec![Answer::default(); asked.len()];
    let outcome = std::thread::scope(|scope| {
        let (news, inbox) = mpsc::channel();
        for _ in 0..workers {
            let news = news.clone();
            let (queue, wish) = (&queue, &wish);
            scope.spawn(move || client::work(api, wish, queue, &news));
        }
        drop(news);
        let outcome = listen(&inbox, asked, &mut answers, &mut screen);
        if outcome.is_err() {
            queue
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clear();
        }
        outcome
    });
    screen.close();
    if let Err(error) = outcome {
        // A server that has died is the better explanation.
        servers.iter_mut().try_for_each(Server::check)?;
        return Err(error);
    }
    Ok(answers)
}

fn listen(
    inbox: &mpsc::Receiver<News>,
    asked: &[Prompt],
    answers: &mut [Answer],
    screen: &mut Screen,
) -> Result<()> {
    for news in inbox {
        match news {
            News::Begun => screen.begun(),
            News::Text(index, piece) => {
                let text = &mut answers[index].text;
                screen.text(index, &asked[index].text, text, &piece);
                text.push_str(&piece);
            }
            News::Tokens(index, tokens) => answers[index].tokens.extend(tokens),
            News::Done(index, usage) => {
                screen.over(index);
                answers[index].usage = Some(usage);
            }
            News::Failed(index, error) => bail!("prompt {}: {error:#}", asked[index].id),
        }
    }
    Ok(())
}
