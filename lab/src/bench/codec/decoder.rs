//! Outer's side of the bench: a process that is told queries and frames and nothing else.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use weir_codec::{Sampling, Settings, Slots};
use weir_model::{Kernel, Kv, Options, Predict};
use weir_setup::Source;
use weir_setup::source::{kernel, vocabulary};
use weir_wire::frame::{self, Frame, Sealed};
use weir_wire::{Caps, CheckWidth, Format, IdWidth, Message, Parameters};

use super::encoder::{SESSION, behind};
use super::pipe::{Down, Up};
use super::timed::{Spent, Timed};
use weir_setup::coding::{BatchDecoder, Heard};
use weir_setup::tool::clock::Stopwatch;

/// Flags of the process, which nobody but the bench starts.
#[derive(Debug, clap::Args)]
pub(crate) struct DecoderArgs {
    #[arg(long)]
    weak: String,
    #[arg(long, value_parser = kernel)]
    kernel: Kernel,
    #[arg(long)]
    threads: usize,
    #[arg(long)]
    pool: usize,
    #[arg(long)]
    context: usize,
    #[arg(long)]
    tokens_per_tick: u8,
    #[arg(long)]
    id_bytes: usize,
    #[arg(long)]
    check_bytes: usize,
    /// Bytes of code of every frame, in the constant shape.
    #[arg(long)]
    piece: Option<usize>,
}

/// Where and how the decoder runs.
pub(super) struct Place {
    pub(super) weak: String,
    pub(super) kernel: Kernel,
    pub(super) threads: usize,
    pub(super) pool: usize,
    pub(super) context: usize,
    pub(super) parameters: Parameters,
}

/// The process as the encoder sees it.
pub(in crate::bench) struct Process {
    child: Child,
    down: BufWriter<ChildStdin>,
    up: BufReader<ChildStdout>,
}

impl Process {
    pub(super) fn start(place: &Place) -> Result<Self> {
        let Place {
            weak,
            kernel,
            threads,
            pool,
            context,
            parameters,
        } = place;
        let Parameters {
            format,
            tokens_per_tick,
            ..
        } = parameters;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.args(["bench", "codec-decoder"]);
        command.args(["--weak", weak]);
        command.args(["--kernel", kernel.name(), "--threads", &threads.to_string()]);
        command.args(["--pool", &pool.to_string(), "--context", &context.to_string()]);
        command.args(["--tokens-per-tick", &tokens_per_tick.to_string()]);
        command.args(["--id-bytes", &format.id.bytes().to_string()]);
        command.args(["--check-bytes", &format.check.bytes().to_string()]);
        if let Some(len) = parameters.piece_len() {
            command.args(["--piece", &len.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the decoder")?;
        let down = BufWriter::new(child.stdin.take().context("the decoder has no standard input")?);
        let up = BufReader::new(
            child
                .stdout
                .take()
                .context("the decoder has no standard output")?,
        );
        Ok(Self { child, down, up })
    }

    pub(super) fn send_message(&mut self, message: &Message) -> Result<()> {
        let mut bytes = Vec::new();
        message.emit(&mut bytes);
        Down::Message(bytes).write(&mut self.down).context(GONE)
    }

    /// Sends a frame and waits for what it said.
    pub(super) fn decode(&mut self, frame: &[u8]) -> Result<Up> {
        Down::Frame(frame.to_vec()).write(&mut self.down).context(GONE)?;
        let mut line = String::new();
        self.up.read_line(&mut line).context(GONE)?;
        Up::read(&line)
    }

    /// Lets the process end by itself.
    pub(super) fn finish(self) -> Result<()> {
        let Self { mut child, down, up } = self;
        drop((down, up));
        let status = child.wait()?;
        ensure!(status.success(), "the decoding process ended with {status}");
        Ok(())
    }
}

/// The process itself.
pub(crate) fn run(args: &DecoderArgs) -> Result<()> {
    let format = Format {
        id: if args.id_bytes == 1 {
            IdWidth::One
        } else {
            IdWidth::Two
        },
        check: if args.check_bytes == 2 {
            CheckWidth::Two
        } else {
            CheckWidth::Four
        },
    };
    let source = Source::weak(&args.weak);
    let vocabulary = vocabulary(&source.tokenizer()?);
    let options = Options {
        kernel: args.kernel,
        threads: args.threads,
        kv_tokens: args.pool,
        max_context: args.context,
        kv: Kv::F32,
    };
    let (model, spent) = Timed::new(source.model(&options)?);
    let mut decoder = BatchDecoder::new(
        model,
        vocabulary,
        Settings {
            full: args.tokens_per_tick,
            ..Settings::default()
        },
        args.kernel,
        args.piece,
    );
    let mut messages = VecDeque::new();
    let mut digests = Vec::new();
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    while let Some(down) = Down::read(&mut input)? {
        let bytes = match down {
            Down::Message(bytes) => {
                let message = Message::parse(&bytes, Caps::default());
                messages.push_back(message.map_err(|_| anyhow::anyhow!("a malformed message"))?);
                continue;
            }
            Down::Frame(bytes) => bytes,
        };
        let frame =
            Frame::new_checked(format, bytes).map_err(|_| anyhow::anyhow!("a frame without a header"))?;
        let number = digests.len() as u64;
        let seal = Sealed {
            session: SESSION,
            batch: frame.batch(),
            number,
            digest: behind(&digests),
        };
        ensure!(
            frame.check() == frame::check(format, &seal, frame.code()),
            "frame {number} fails its check"
        );

        let (mut clock, mut prompts) = (Clock::new(&spent), Clock::new(&spent));
        let mut answers = Vec::new();
        let digest = clock.time(|| {
            decoder.read(frame.code(), |said| match said {
                Heard::TakenIn(slots, count) => prompts.time(|| take_in(slots, &mut messages, count)),
                Heard::Tokens(decoded) => {
                    answers.extend(decoded.answers);
                    Ok(())
                }
            })
        })?;
        let seconds = clock.seconds - prompts.seconds;
        let forward = clock.forward - prompts.forward;
        let answers = answers
            .into_iter()
            .map(|answer| (answer.slot, answer.tokens))
            .collect();
        serde_json::to_writer(
            &mut output,
            &Up {
                answers,
                digest,
                seconds,
                forward,
            },
        )?;
        output.write_all(b"\n")?;
        output.flush()?;
        digests.push(digest);
    }
    Ok(())
}

/// Time that some work takes.
struct Clock<'a> {
    spent: &'a Spent,
    seconds: f64,
    /// Of them in the model.
    forward: f64,
}

impl<'a> Clock<'a> {
    fn new(spent: &'a Spent) -> Self {
        Self {
            spent,
            seconds: 0.0,
            forward: 0.0,
        }
    }

    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = self.spent.seconds();
        let watch = Stopwatch::start();
        let done = work();
        self.seconds += watch.seconds();
        self.forward += self.spent.seconds() - before;
        done
    }
}

/// Opens the slots of the next queries.
fn take_in<P: Predict>(mut slots: Slots<'_, P>, messages: &mut VecDeque<Message>, count: u32) -> Result<()> {
    for _ in 0..count {
        let Some(Message::Query(query)) = messages.pop_front() else {
            bail!("a frame takes in a query that nobody sent")
        };
        let (slot, query) = open(query);
        slots.open(slot, &query)?;
    }
    Ok(())
}

fn open(query: weir_wire::Query) -> (u8, weir_codec::Query) {
    let weir_wire::Query {
        slot,
        seed,
        temperature,
        top_p,
        top_k,
        tau,
        max_tokens,
        stop,
        prompt,
        source: _,
    } = query;
    let sampling = Sampling {
        temperature,
        top_p,
        top_k,
        tau,
    };
    (
        slot,
        weir_codec::Query {
            seed,
            sampling,
            max_tokens,
            stop,
            prompt,
        },
    )
}

const GONE: &str = "the decoding process has gone; its last words are above";
