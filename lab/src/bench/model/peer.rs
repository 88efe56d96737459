//! Another engine, in a process of its own, that does the same work when it is told to.
//!
//! The process is a script for Python that speaks lines: it says who it is, then answers each command with one JSON
//! line (`benches/peers/`). Whatever it does wrong ends in an error that names it; it is killed when this ends.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::{PROMPT, STEPS, Work};
use weir_setup::tool::progress;

/// An engine to compare with.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Name {
    /// llama.cpp by its Python binding, on a GGUF file
    #[value(name = "llama.cpp")]
    LlamaCpp,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama.cpp",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::LlamaCpp => include_str!("../../../../benches/peers/llama_peer.py"),
        }
    }
}

/// Where and how a peer runs.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: Name,
    pub(super) python: PathBuf,
    pub(super) model: PathBuf,
    pub(super) threads: usize,
}

/// The interpreter that was asked for, else the one of `benches/peers/install.sh`, else the system's.
pub(super) fn python(asked: Option<&Path>) -> PathBuf {
    let installed = || Some(PathBuf::from(INSTALLED)).filter(|path| path.exists());
    asked
        .map(Path::to_owned)
        .or_else(installed)
        .unwrap_or_else(|| "python3".into())
}

/// The peer's model: what was asked for, else the weak model if that is a GGUF file.
pub(super) fn model(asked: Option<&Path>, weak: &str) -> Result<PathBuf> {
    if let Some(path) = asked {
        ensure!(
            path.is_file(),
            "--peer-model: there is no file {}",
            path.display()
        );
        return Ok(path.to_owned());
    }
    let path = PathBuf::from(weak);
    let mut magic = [0; 4];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut magic));
    ensure!(
        read.is_ok() && &magic == b"GGUF",
        "the peer needs a GGUF file, which --weak {weak} is not: give --peer-model"
    );
    Ok(path)
}

/// What a peer says of itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Hello {
    pub(super) name: String,
    pub(super) version: String,
    /// What its build uses of the CPU.
    pub(super) system: String,
}

/// A peer that runs, and waits for work.
pub(super) struct Peer {
    name: &'static str,
    process: Process,
    hello: Hello,
}

impl Peer {
    /// Starts it and waits until it has loaded its model.
    pub(super) fn start(place: &Place) -> Result<Self> {
        Self::start_script(place, place.name.script(), PATIENCE)
    }

    fn start_script(place: &Place, script: &str, patience: Duration) -> Result<Self> {
        let name = place.name.text();
        let mut command = Command::new(&place.python);
        command.args(["-c", script, "--threads", &place.threads.to_string(), "--model"]);
        command.arg(&place.model);
        let spinner = progress::spinner(&format!("Loading {} into {name}", place.model.display()));
        let hello = Process::start(command, patience)
            .with_context(|| {
                let python = place.python.display();
                format!("cannot start {python}; benches/peers/install.sh makes an environment with {name}")
            })
            .and_then(|mut process| {
                let hello = process.answer().with_context(|| format!("the peer {name}"))?;
                Ok((process, hello))
            });
        spinner.finish_and_clear();
        let (process, hello) = hello?;
        Ok(Self { name, process, hello })
    }

    /// Seconds that the work takes it.
    pub(super) fn measure(&mut self, work: Work) -> Result<f64> {
        let command = match work {
            Work::Prefill => format!("prefill {PROMPT}"),
            Work::Decode { batch, before } => format!("decode {batch} {before} {STEPS}"),
        };
        let took = self.process.ask(&command).and_then(|took: Took| {
            ensure!(
                took.tokens == work.tokens() && took.seconds.is_finite() && took.seconds > 0.0,
                "it says that {} tokens took {} s",
                took.tokens,
                took.seconds
            );
            Ok(took.seconds)
        });
        took.with_context(|| format!("the peer {}, asked to {command}", self.name))
    }

    pub(super) fn hello(&self) -> &Hello {
        &self.hello
    }
}

/// What a peer answers to a command.
#[derive(Debug, Deserialize)]
struct Took {
    tokens: usize,
    seconds: f64,
}

/// A process that answers lines with lines of JSON, each within `patience`.
struct Process {
    child: Child,
    lines: Receiver<String>,
    /// A file, so that it can never stand still because nobody reads its complaints.
    complaints: File,
    patience: Duration,
}

impl Process {
    fn start(mut command: Command, patience: Duration) -> Result<Self> {
        let complaints = tempfile::tempfile()?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.try_clone()?);
        let mut child = command.spawn()?;
        let (send, lines) = sync_channel(1);
        let output = child.stdout.take();
        let process = Self {
            child,
            lines,
            complaints,
            patience,
        };
        let output = output.context("no standard output")?;
        // A thread, since a pipe has no deadline. It ends with the process, or when nobody listens any more.
        std::thread::Builder::new()
            .name("peer".into())
            .spawn(move || forward(output, &send))?;
        Ok(process)
    }

    fn ask<T: for<'a> Deserialize<'a>>(&mut self, command: &str) -> Result<T> {
        let input = self.child.stdin.as_mut().context("no standard input")?;
        // If it has gone, the missing answer says so with more reason.
        let _ = input.write_all(format!("{command}\n").as_bytes());
        self.answer()
    }

    fn answer<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T> {
        let line = match self.lines.recv_timeout(self.patience) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                let seconds = self.patience.as_secs_f64();
                return Err(self.blame(&format!("it did not answer within {seconds} s")));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self
                    .end()
                    .map_or_else(|e| e.to_string(), |status| status.to_string());
                return Err(self.blame(&format!("it ended ({status})")));
            }
        };
        serde_json::from_str(&line).map_err(|_| {
            let start: String = line.trim_end().chars().take(80).collect();
            self.blame(&format!("it answered nonsense, '{start}'"))
        })
    }

    /// An error with the last of the process's complaints.
    fn blame(&mut self, what: &str) -> anyhow::Error {
        let mut text = Vec::new();
        let read = self
            .complaints
            .rewind()
            .and_then(|()| self.complaints.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text);
        match text.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) if read.is_ok() => anyhow!("{what}: {}", line.trim()),
            _ => anyhow!("{what} and did not say why"),
        }
    }

    /// Waits a little for a process that has closed its output; one that lives on is killed.
    fn end(&mut self) -> std::io::Result<std::process::ExitStatus> {
        for _ in 0..100 {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends on what the process says, line by line; a line without an end is cut.
fn forward(output: ChildStdout, lines: &SyncSender<String>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        let read = output.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) || lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
    }
}

/// Where `benches/peers/install.sh` puts the interpreter.
const INSTALLED: &str = "target/peers/bin/python";
/// How long a peer may take to load its model or to do one piece of work.
const PATIENCE: Duration = Duration::from_secs(600);
/// Bytes of the longest line that is an answer.
const LONGEST: u64 = 1 << 16;
