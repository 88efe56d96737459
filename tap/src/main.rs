//! The tap: counts every frame that comes in on an interface, below all sockets, and takes the interface down at the cap.
//!
//! It stands on outer's side of the link and shares no code with gate or inner: where it and they disagree, one of them is
//! wrong. What it sees of a frame is its length. What its own socket drops it counts as the longest frame, and says so.

#![deny(unsafe_code)]

mod clock;
mod count;
mod raw;
mod state;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use count::{Count, Verdict};
use raw::{Event, Tap};
use state::State;

/// Counts the frames that come in on an interface, and takes it down at a cap
///
/// Ends with 0 on SIGTERM or SIGINT, with 3 when it has taken the interface down.
#[derive(Debug, Parser)]
#[command(name = "weir-tap", version)]
struct Args {
    /// The interface of the link to the gate
    #[arg(short, long, value_name = "NAME")]
    interface: String,
    /// Bytes on the line, all headers, padding, preamble and gap included, after which the interface goes down
    #[arg(long, value_name = "BYTES")]
    cap_bytes: u64,
    /// File in which the counts outlive the program; they go on from there
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Drops of its own socket that are borne; each is counted as the longest frame, and one more takes the interface down
    #[arg(long, value_name = "N", default_value_t = 0)]
    drops: u64,
    /// Bytes of the receive buffer, in which frames wait while the machine is busy
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
    buffer: u32,
}

fn main() -> ExitCode {
    run(&Args::parse()).unwrap_or_else(|error| {
        eprintln!("weir-tap: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: &Args) -> Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals")?;
    }
    let mut state = State::open(&args.state, clock::now())?;
    let mut count = Count::new(state.counted(), args.cap_bytes, args.drops);
    let tap = Tap::open(&args.interface, args.buffer, WAIT)
        .with_context(|| format!("interface {}", args.interface))?;
    eprintln!(
        "weir-tap: {} bytes on the line so far, cap {}",
        count.total().bytes,
        args.cap_bytes
    );
    let mut verdict = count.verdict();
    while verdict == Verdict::Go && !stop.load(Ordering::Relaxed) {
        let event = tap.next().context("receive")?;
        let is_pause = matches!(event, Event::Nothing);
        if let Event::Frame(len) = event {
            count.frame(len);
        }
        // A look at the drops costs a call: on every pause, and now and then under load.
        if is_pause || count.total().frames.is_multiple_of(LOOK_EVERY) {
            let drops = tap.drops().context("statistics")?;
            if drops > 0 {
                count.drops(drops);
                eprintln!("weir-tap: alarm: {drops} frames were not seen; counted as {drops} of the longest");
            }
        }
        verdict = count.verdict();
        state.keep(count.total(), clock::now())?;
    }
    let mut down = Ok(());
    if verdict != Verdict::Go {
        // First of all the link; whatever else fails is said afterwards.
        down = tap
            .down()
            .with_context(|| format!("interface {} CANNOT BE TAKEN DOWN", args.interface));
        eprintln!(
            "weir-tap: alarm: {verdict}: interface {} goes down",
            args.interface
        );
    }
    drain(&tap, &mut count)?;
    state.close(count.total())?;
    down?;
    Ok(ExitCode::from(if verdict == Verdict::Go { 0 } else { 3 }))
}

/// Counts what has come and still waits in the socket.
fn drain(tap: &Tap, count: &mut Count) -> Result<()> {
    let until = clock::now() + DRAIN;
    // Steady traffic has no pause that could be waited for.
    while clock::now() < until {
        if let Event::Frame(len) = tap.next().context("receive")? {
            count.frame(len);
        }
    }
    count.drops(tap.drops().context("statistics")?);
    Ok(())
}

/// The longest time without a look at signals and drops.
const WAIT: Duration = Duration::from_millis(100);
const LOOK_EVERY: u64 = 1024;
/// Time in which all is read that a socket's buffer can hold.
const DRAIN: Duration = Duration::from_millis(500);
