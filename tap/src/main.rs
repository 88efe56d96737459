//! The tap: counts every frame that comes in on an interface, below all sockets, and takes the interface down at the cap.
//!
//! It stands on outer's side of the link and shares no code with gate or inner: where it and they disagree, one of them is
//! wrong. What it sees of a frame is its length. There is no link without it: it sets the interface up once it listens, and
//! whatever ends it takes the interface down first. A frame that it may not have seen counts as the longest.

#![deny(unsafe_code)]

mod clock;
mod count;
mod hold;
mod link;
mod netlink;
mod raw;
mod state;

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, io, thread};

use anyhow::{Context as _, Error, Result, ensure};
use clap::Parser;

use count::{Compare, Count};
use hold::{DOWN, NOT_DOWN, caught, hold};
use link::Link;
use raw::Tap;
use state::State;

/// Counts the frames that come in on an interface, and takes it down at a cap
///
/// Sets the interface up once it listens, and takes it down however it ends. Exit codes: 0 after a signal; 2 if it was called wrongly; 3 if it took the interface down for a reason of its own, or could not write its state;
/// 4 if it could not take it down.
#[derive(Debug, Parser)]
#[command(name = "weir-tap", version)]
struct Args {
    /// The interface of the link to the gate; after the start its name plays no part
    #[arg(short, long, value_name = "NAME")]
    interface: String,
    /// Bytes on the line, all headers, padding, preamble and gap included, after which the interface goes down
    #[arg(long, value_name = "BYTES", required_unless_present = "down")]
    cap_bytes: Option<u64>,
    /// File in which the counts outlive the program; they go on from there
    #[arg(long, value_name = "FILE", required_unless_present = "down")]
    state: Option<PathBuf>,
    /// First start: makes the state file, which must not be there
    #[arg(long)]
    new: bool,
    /// Frames not seen that are borne, dropped by its own socket or missing beside the interface's counters; each is counted
    /// as the longest frame, and one more takes the interface down
    #[arg(long, value_name = "N", default_value_t = 0)]
    drops: u64,
    /// Bytes of the receive buffer, in which frames wait while the machine is busy
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    buffer: u32,
    /// File for the interface's index, for `--down`; it must not outlive a boot
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Only takes the interface down, the one of `--index` or, if there is none, of `--interface`: for when a tap was killed
    #[arg(long)]
    down: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    hold::keep_panics_quiet();
    let code = if args.down { take_down(&args) } else { run(&args) };
    ExitCode::from(code.unwrap_or_else(|error| {
        say(&format!("alarm: interface {}: {error:#}", args.interface));
        NOT_DOWN
    }))
}

fn run(args: &Args) -> Result<u8> {
    let link = Link::open(None, &args.interface)?;
    let mut watch = None;
    let work = || watch.insert(Watch::begin(args, &link)?).run(&link);
    let code = hold(&link.name, work, || link.down(), say);
    let last = watch.map_or(Ok(()), |mut watch| caught(|| watch.finish(&link)));
    let Err(error) = last else { return Ok(code) };
    say(&format!("alarm: {error:#}"));
    Ok(code.max(DOWN))
}

/// What is to be done when a tap was killed.
fn take_down(args: &Args) -> Result<u8> {
    let read = |path| fs::read_to_string(path).ok()?.trim().parse().ok();
    let index: Option<i32> = args.index.as_ref().and_then(read);
    // If the index is gone, so is the link. Another interface with its name was made in its place.
    let link = index.and_then(|index| Link::open(Some(index), &args.interface).ok());
    let link = link.map_or_else(|| Link::open(None, &args.interface), Ok)?;
    link.down()?;
    say(&format!("{} with index {} is down", link.name, link.index));
    Ok(0)
}

/// A tap that listens.
struct Watch {
    tap: Tap,
    count: Count,
    compare: Compare,
    state: State,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn begin(args: &Args, link: &Link) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in (1..=64).filter(|signal| !LEFT.contains(signal)) {
            signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals")?;
        }
        if let Some(path) = &args.index {
            let write = fs::write(path, format!("{}\n", link.index));
            write.with_context(|| format!("index {}", path.display()))?;
        }
        let state = args.state.as_ref().context("no --state")?;
        let state = State::open(state, args.new, clock::now())?;
        let cap = args.cap_bytes.context("no --cap-bytes")?;
        let count = Count::new(state.counted(), cap, args.drops);
        count.verdict().map_err(Error::msg)?;
        link.joins_nothing()?;
        let tap = Tap::open(link.index, args.buffer).context("packet socket")?;
        // First the socket's count: what comes between the two is with the socket.
        tap.offered().context("statistics")?;
        let compare = Compare::new(link.received()?);
        // What it has let pass nobody has counted.
        ensure!(!link.status()?.is_up, "it is up: something else sets it up");
        guard(Link::open(Some(link.index), &args.interface)?)?;
        link.up()?;
        let bytes = count.total().bytes;
        say(&format!("{bytes} bytes on the line so far, cap {cap}"));
        Ok(Self {
            tap,
            count,
            compare,
            state,
            stop,
        })
    }

    /// Counts. Ends well on a signal only.
    fn run(&mut self, link: &Link) -> Result<()> {
        let mut next_look = clock::now();
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(frame) = self.tap.next().context("receive")? {
                self.count.frame(&frame);
            } else {
                self.tap.wait(&link.events, LOOK);
                link.changes()?;
            }
            let now = clock::now();
            if now >= next_look {
                BEATS.fetch_add(1, Ordering::Relaxed);
                self.unseen(link.received()?)?;
                link.changes().and_then(|()| link.joins_nothing())?;
                next_look = now + LOOK;
            }
            self.count.verdict().map_err(Error::msg)?;
            self.state.keep(self.count.total(), now)?;
        }
        Ok(())
    }

    /// Counts what has come and was not seen.
    fn unseen(&mut self, received: u64) -> Result<()> {
        let (offered, drops) = self.tap.offered().context("statistics")?;
        let missing = self.compare.look(offered, received);
        let unseen = drops.saturating_add(missing.unwrap_or(0));
        if unseen > 0 {
            self.count.drops(unseen);
            say(&format!(
                "alarm: {unseen} frames were not seen; each is the longest"
            ));
        }
        missing.map(drop).context("the interface's counter has gone back")
    }

    /// Counts what still waits in the socket, sees to it that the link stays down, and writes the last word.
    fn finish(&mut self, link: &Link) -> Result<()> {
        let until = clock::now() + DRAIN;
        while clock::now() < until {
            match self.tap.next() {
                Ok(Some(frame)) => self.count.frame(&frame),
                Ok(None) => self.tap.wait(&link.events, LOOK),
                Err(_) => self.count.drops(1),
            }
            // Whoever set it down or renamed it may set it up as the next step.
            if link.changes().is_err() && link.status().is_ok_and(|status| status.is_up) {
                say(&format!("alarm: {} was up again: {:?}", link.name, link.down()));
            }
        }
        let received = link.status().ok().and_then(|status| status.received);
        for _ in 0..3 {
            // Without an interface, what the socket had no room for.
            let _ = self.unseen(received.unwrap_or(0));
        }
        self.state.close(self.count.total())
    }
}

/// Takes the link down when the loop hangs, as in a write to a disk that has stopped.
fn guard(link: Link) -> io::Result<()> {
    let watch = move || {
        let (mut last, mut same) = (0, 0);
        loop {
            thread::sleep(BEAT);
            let now = BEATS.load(Ordering::Relaxed);
            (last, same) = (now, if now == last { same + 1 } else { 0 });
            if same == HUNG {
                let down = link.down();
                say(&format!("alarm: the tap hangs: {} down: {down:?}", link.name));
            }
        }
    };
    thread::Builder::new().spawn(watch).map(drop)
}

/// A line for the log. Nothing waits for whoever reads it, and nothing ends if nobody does.
fn say(words: &str) {
    let mut log = io::stderr();
    if raw::takes(log.as_fd()) {
        let _ = log.write_all(format!("weir-tap: {words}\n").as_bytes());
    }
}

/// The longest time without a look at signals, drops, counters and features.
const LOOK: Duration = Duration::from_millis(100);
/// Time in which all is read that a socket's buffer can hold, and in which the link is held down.
const DRAIN: Duration = Duration::from_millis(500);
/// Signals that end no program (CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH), cannot be taken (KILL), are faults (ILL, BUS, FPE, SEGV), or
/// are ignored or the C library's own (PIPE, 32, 33).
const LEFT: [i32; 16] = [4, 7, 8, 9, 11, 13, 17, 18, 19, 20, 21, 22, 23, 28, 32, 33];
/// Looks of the loop. There must be one between two beats; after so many without one it hangs.
static BEATS: AtomicU64 = AtomicU64::new(0);
const BEAT: Duration = Duration::from_secs(1);
const HUNG: u32 = 3;
