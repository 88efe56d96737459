//! Both ends of the codec as processes on different kernels, killed at random frames and resumed: 10^5 tokens of the
//! embedded pair must come through without a difference.
//!
//! A killed process has lost its session (SPEC 6.7): coder, weights, slots, keys and values. What is left is what others
//! hold: of inner its record of queries and tokens, of outer the queries that it asked and the frames that came. The state
//! of either end is a function of those alone, so a process is resumed by doing everything again from frame 0, mostly on
//! another kernel with another number of threads. All that it says again must be what was said before it was killed, byte
//! for byte: inner's frames with their checks (each vouches for the digest of the coder's state W frames before), outer's
//! tokens and digests.

mod ends;

use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ends::{Line, Receipt, Said, receive, send};
use weir_model::{Kernel, Token};
use weir_setup::tool::prompts;

/// Tokens that must come through.
const TOKENS: usize = 100_000;
/// Answers of one session; it starts with nothing learned.
const ANSWERS: usize = 64;
/// One frame in so many is the last thing that a process does, of each process.
const KILLS: u64 = 30;
/// Frames that inner may be ahead of outer: W of SPEC 6.4.
const WINDOW: usize = 4;
/// Whoever waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The body of both ends, which this test starts as processes of their own. By itself it does nothing.
#[test]
fn an_end() {
    let Ok(socket) = std::env::var(ends::SOCKET) else {
        return;
    };
    let stream = UnixStream::connect(socket).unwrap();
    match std::env::var(ends::ROLE).as_deref() {
        Ok("inner") => ends::inner(stream),
        Ok("outer") => ends::outer(stream),
        other => panic!("no such role: {other:?}"),
    }
}

#[test]
fn killed_at_random_frames_nothing_is_different() {
    let seed = std::env::var("WEIR_KILL_SEED").map_or(20_260_101, |seed| seed.parse().unwrap());
    println!("WEIR_KILL_SEED={seed} repeats this run");
    let mut random = Random(seed);
    let folder = tempfile::TempDir::new().unwrap();
    let lines = answers(folder.path());
    let (mut tokens, mut frames, mut kills) = (0, 0, [0, 0]);
    for session in lines.chunks(ANSWERS) {
        let mut run = Session::new(folder.path(), session, &mut random);
        run.run(&mut random);
        tokens += session.iter().map(|line| line.tokens.len()).sum::<usize>();
        frames += run.said.len();
        kills = [kills[0] + run.kills[0], kills[1] + run.kills[1]];
        if tokens >= TOKENS {
            break;
        }
    }
    println!(
        "{tokens} tokens in {frames} frames; inner killed {} times, outer {}",
        kills[0], kills[1]
    );
    assert!(tokens >= TOKENS, "only {tokens} tokens");
    assert!(
        kills.iter().all(|&kills| kills >= 5),
        "{kills:?} kills are too few to say anything"
    );
}

/// More than enough answers of the embedded pair, at three temperatures in turn.
fn answers(folder: &Path) -> Vec<Line> {
    let prompts: Vec<&str> = prompts::EMBEDDED.lines().collect();
    let mut all: Vec<Vec<Line>> = Vec::new();
    for (name, temperature, top_p) in [("a", "0", "1"), ("b", "0.7", "0.9"), ("c", "1", "1")] {
        let (asked, out) = (folder.join(format!("{name}.prompts")), folder.join(name));
        // Of equal questions only the seeds differ; without noise there is no use in asking again.
        let times = if temperature == "0" { 1 } else { 14 };
        std::fs::write(&asked, prompts.join("\n").repeat(times).replace("}{", "}\n{")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-lab"));
        command.args(["trace", "--live", "128", "--max-tokens", "160"]);
        command.args(["--temperature", temperature, "--top-p", top_p]);
        command.arg("--prompts").arg(&asked).arg("--out").arg(&out);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = std::fs::read_to_string(&out).unwrap();
        all.push(
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
        );
    }
    // Each session has some of all, from the longest list down.
    let most = all.iter().map(Vec::len).max().unwrap();
    let nth = |n: usize| all.iter().filter_map(move |lines| lines.get(n).cloned());
    (0..most).flat_map(nth).collect()
}

/// One session as the link between the ends sees it: it holds what has been said.
struct Session<'a> {
    folder: PathBuf,
    lines: &'a [Line],
    said: Vec<Said>,
    receipts: Vec<Receipt>,
    inner: End,
    outer: End,
    /// Of inner and of outer.
    kills: [usize; 2],
}

impl<'a> Session<'a> {
    fn new(folder: &Path, lines: &'a [Line], random: &mut Random) -> Self {
        let inner = End::start("inner", folder, None, random);
        let outer = End::start("outer", folder, Some(inner.kernel), random);
        let mut session = Self {
            folder: folder.to_owned(),
            lines,
            said: Vec::new(),
            receipts: Vec::new(),
            inner,
            outer,
            kills: [0; 2],
        };
        session.brief();
        session
    }

    /// Passes frames on until all has been said; kills whom chance picks.
    fn run(&mut self, random: &mut Random) {
        loop {
            let number = self.receipts.len();
            let Some(said) = self.inner.hear() else { break };
            self.said.push(said);
            if random.one_in(KILLS) {
                // It is at work on the frames after this one.
                self.inner.kill(random.below(3));
                self.kills[0] += 1;
                self.inner = End::start("inner", &self.folder, Some(self.inner.kernel), random);
                self.brief();
                self.repeat_inner();
            }
            self.tell_outer(number);
            if random.one_in(KILLS) {
                // It is at work on this frame; what it says of it is lost, or not said.
                self.outer.kill(random.below(3));
                self.kills[1] += 1;
                self.outer = End::start("outer", &self.folder, Some(self.outer.kernel), random);
                self.repeat_outer();
                self.tell_outer(number);
            }
            let receipt: Receipt = self.outer.hear().expect("outer has ended before inner");
            assert_eq!(
                receipt.digest, self.said[number].digest,
                "digests after frame {number}"
            );
            self.receipts.push(receipt);
            // Outer acknowledges: inner may go on.
            send(&mut self.inner.stream, &());
        }
        self.check();
    }

    /// Gives inner its record, and leave to fill the window.
    fn brief(&mut self) {
        send(&mut self.inner.stream, &self.lines);
        (0..WINDOW).for_each(|_| send(&mut self.inner.stream, &()));
    }

    /// Lets a new inner say everything again.
    fn repeat_inner(&mut self) {
        for (number, said) in self.said.iter().enumerate() {
            let again: Said = self.inner.hear().expect("inner says less than before");
            assert_eq!(
                &again,
                said,
                "frame {number} of an inner on {}",
                self.inner.kernel.name()
            );
            if number < self.receipts.len() {
                send(&mut self.inner.stream, &());
            }
        }
    }

    /// Lets a new outer hear everything again.
    fn repeat_outer(&mut self) {
        for number in 0..self.receipts.len() {
            self.tell_outer(number);
            let again: Receipt = self.outer.hear().expect("outer ends early");
            assert_eq!(
                again,
                self.receipts[number],
                "frame {number} at an outer on {}",
                self.outer.kernel.name()
            );
        }
    }

    /// Sends outer a frame, with the queries that it takes in, but none of their answers.
    fn tell_outer(&mut self, number: usize) {
        let Said { opened, frame, .. } = &self.said[number];
        let query = |&(slot, job): &(u8, usize)| (slot, self.lines[job].query());
        let queries: Vec<(u8, Line)> = opened.iter().map(query).collect();
        send(&mut self.outer.stream, &(queries, frame));
    }

    /// Every answer has come out as it is in the record.
    fn check(&self) {
        let mut answers: Vec<Vec<Token>> = vec![Vec::new(); self.lines.len()];
        let mut slots = [usize::MAX; 128];
        for (said, receipt) in self.said.iter().zip(&self.receipts) {
            said.opened
                .iter()
                .for_each(|&(slot, job)| slots[usize::from(slot)] = job);
            for (slot, tokens) in &receipt.answers {
                answers[slots[usize::from(*slot)]].extend(tokens);
            }
        }
        for (line, answer) in self.lines.iter().zip(answers) {
            assert_eq!(answer, line.tokens, "answer {}", line.id);
        }
    }
}

/// A process, and the line to it.
struct End {
    child: Child,
    stream: UnixStream,
    kernel: Kernel,
}

impl End {
    /// Starts a process on a kernel that is not `other`, if there is a choice.
    fn start(role: &str, folder: &Path, other: Option<Kernel>, random: &mut Random) -> Self {
        let kernels = Kernel::ALL.into_iter().filter(|kernel| kernel.supported());
        // The reference is for reading, not for 10^5 tokens.
        let kernels: Vec<Kernel> = kernels
            .filter(|kernel| *kernel != Kernel::Reference && Some(*kernel) != other)
            .collect();
        let count = kernels.len().max(1) as u64;
        let kernel = kernels
            .get(random.below(count) as usize)
            .copied()
            .unwrap_or(Kernel::Portable);
        let socket = folder.join("socket");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "an_end", "--quiet", "--nocapture"])
            .stdout(Stdio::null());
        command.env(ends::ROLE, role).env(ends::SOCKET, &socket);
        // The codec's own passes follow the variable, as the model does.
        command.env("WEIR_KERNEL", kernel.name());
        command.env(ends::THREADS, (1 + random.below(3)).to_string());
        let child = command.spawn().unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            child,
            stream,
            kernel,
        }
    }

    /// The next thing that it says; nothing once it has said all.
    fn hear<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        receive(&mut self.stream)
    }

    /// SIGKILL, after some milliseconds of work.
    fn kill(&mut self, milliseconds: u64) {
        std::thread::sleep(Duration::from_millis(milliseconds));
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        // An inner that has said everything may have ended by itself.
        assert!(status.signal() == Some(9) || status.success(), "{status}");
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// SplitMix64: a run is its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}
