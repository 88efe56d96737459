//! `weir reconcile`: do the gate, the kernel and the tap count the same, and is all of it charged? SPEC 9.3.
//!
//! The gate is asked before and after the others, so that what they say must lie between its two answers, whatever leaves
//! meanwhile; and so long before that a file that is a little old passes. What each counter has more or less than the others when
//! it is first looked at is kept in a file: from then on all must grow alike, and the ledger at least as much. Whatever cannot be
//! read, or does not answer in time, counts as one that differs. The gate is cut before a word is said of it.

use std::fmt::Display;
use std::io::{stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use weir_gate::{Config, ConfigArgs};
use weir_link::ask;

use counters::{Baseline, Charged, Count, Gone, LONGEST, Reading, ask_kernel, charged, gate, kernel, tap};

pub(crate) mod counters;

/// Compares what gate, kernel, tap and ledger have counted; where they differ, the gate is cut
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Output of `nft -j list ruleset`, in place of asking the kernel
    #[arg(long, value_name = "FILE")]
    nft: Option<PathBuf>,
    /// The tap's state file, or a copy
    #[arg(long, value_name = "FILE")]
    tap: Option<PathBuf>,
    /// How old what the tap's file says may be, in seconds: it is written once a second; a copy takes its time
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    tap_age: u64,
    /// Where the counters stood when they were first compared. What has gone by the kernel is kept beside it, as FILE.kernel
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// Writes the baseline, which must not be there, while nothing leaves (`weir gate cut`)
    #[arg(long, conflicts_with = "every")]
    new: bool,
    /// Frames that a counter may lack, because they were lost before it; none may have more than the gate
    #[arg(long, value_name = "N", default_value_t = 0)]
    tolerance: u64,
    /// Compare again every so many seconds, until they differ
    #[arg(long, value_name = "SECONDS")]
    every: Option<u64>,
    /// Report only, and go on; do not cut the gate
    #[arg(long)]
    no_cut: bool,
}

/// What is wrong, in words.
#[derive(Debug, Default)]
struct Wrong {
    words: Vec<String>,
    /// More has left than the gate says, or has charged: its word that it is cut is not enough.
    is_lie: bool,
}

impl From<anyhow::Error> for Wrong {
    fn from(error: anyhow::Error) -> Self {
        Self {
            words: vec![format!("counters cannot be compared: {error:#}")],
            is_lie: false,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let config = Config::load(&args.config.config);
    // A gate of a configuration that cannot be read is cut all the same, if it is where gates are.
    let control = config
        .as_ref()
        .map_or_else(|_| Config::default().control, |config| config.control.clone());
    let mut look = Look {
        args: args.clone(),
        config: config.map_err(|error| format!("{error:#}")),
    }
    .begin();
    loop {
        let found = look.within(DEADLINE + Duration::from_secs(args.tap_age));
        // Before a word is said: nobody may read it, or not read on.
        let cut = match &found {
            Err(wrong) if !args.no_cut => cut(&control, wrong.is_lie && args.nft.is_none()),
            _ => Ok(()),
        };
        match (found, args.every) {
            (Ok(_), Some(seconds)) => thread::sleep(Duration::from_secs(seconds)),
            (Ok(words), None) => {
                say(stdout(), words);
                return Ok(());
            }
            (Err(wrong), every) => {
                for words in &wrong.words {
                    say(stderr(), format_args!("weir: alarm: {words}"));
                }
                cut?;
                match every {
                    Some(seconds) if args.no_cut => thread::sleep(Duration::from_secs(seconds)),
                    _ => bail!("{} differences between counters", wrong.words.len()),
                }
            }
        }
    }
}

/// A line, for whoever reads it.
fn say(mut out: impl std::io::Write, words: impl Display) {
    let _ = writeln!(out, "{words}");
}

/// Cuts the gate, and, if its word is not enough or it gives none, has the kernel let nothing pass until its rules are made anew.
fn cut(control: &Path, is_lie: bool) -> Result<()> {
    let order = control.to_owned();
    let said = in_time(CUT, move || {
        let said = ask(&order, "disagree")?;
        ensure!(said == "done\n", "it says {said:?}");
        Ok(())
    });
    if said.is_ok() && !is_lie {
        return Ok(());
    }
    let stopped = in_time(CUT, || {
        let rule = "insert rule netdev weir_gate link counter name over drop";
        let done = Command::new("nft")
            .arg(rule)
            .output()
            .context("nft cannot be run")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "nft: {}", said.trim());
        Ok(())
    });
    match (said, stopped) {
        (_, Ok(())) => Ok(()),
        (Ok(()), Err(kernel)) => {
            Err(kernel.context("the kernel CANNOT CUT it, and its own word is not enough"))
        }
        (Err(gate), Err(kernel)) => Err(anyhow!(
            "the gate CANNOT BE CUT: {gate:#}; nor by the kernel: {kernel:#}"
        )),
    }
}

/// Does the work in a thread of its own, and waits for it so long and no longer.
fn in_time<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (say, hear) = channel();
    thread::Builder::new().spawn(move || say.send(work()))?;
    hear.recv_timeout(limit).context("no answer in time")?
}

/// What is looked at.
struct Look {
    args: Args,
    config: Result<Config, String>,
}

/// Looks, each in a thread of its own: a counter may keep it waiting for ever.
struct Looks {
    look: Arc<Look>,
    pending: Option<Receiver<Result<String, Wrong>>>,
}

impl Looks {
    /// The next look, or the one that is under way.
    fn within(&mut self, limit: Duration) -> Result<String, Wrong> {
        let hear = match self.pending.take() {
            Some(hear) => hear,
            None => {
                let ((say, hear), look) = (channel(), Arc::clone(&self.look));
                let begun = thread::Builder::new().spawn(move || say.send(look.judge()));
                begun.map_err(anyhow::Error::from)?;
                hear
            }
        };
        match hear.recv_timeout(limit) {
            Ok(found) => found,
            Err(RecvTimeoutError::Disconnected) => Err(anyhow!("a fault of this program").into()),
            Err(RecvTimeoutError::Timeout) => {
                self.pending = Some(hear);
                Err(anyhow!("a counter has not answered for {} s", limit.as_secs()).into())
            }
        }
    }
}

/// What all counters say.
struct Seen {
    /// Before and after the others were read.
    gate: [Count; 2],
    others: Vec<Reading>,
    gone: Option<Gone>,
    charged: Option<Charged>,
}

impl Look {
    fn begin(self) -> Looks {
        Looks {
            look: Arc::new(self),
            pending: None,
        }
    }

    /// The whole judgement: words if all is well.
    fn judge(&self) -> Result<String, Wrong> {
        let args = &self.args;
        let baseline = (!args.new).then(|| Baseline::read(&args.baseline)).transpose()?;
        let seen = self.look()?;
        self.keep(&seen)?;
        let Some(baseline) = baseline else {
            begin(&args.baseline, &seen)?;
            return Ok(format!("baseline written to {}", args.baseline.display()));
        };
        let wrong = compare(&baseline, &seen, args.tolerance);
        let [_, Count { frames, bytes, .. }] = seen.gate;
        let charged = seen.charged.map_or(
            "; NO LEDGER, so nobody knows what is charged",
            |_| ", and all is charged",
        );
        match wrong.words.is_empty() {
            true => Ok(format!(
                "{frames} frames, {bytes} bytes on the line: all agree{charged}"
            )),
            false => Err(wrong),
        }
    }

    fn look(&self) -> Result<Seen> {
        let args = &self.args;
        let config = self.config.as_ref().map_err(|error| anyhow!("{error}"))?;
        let before = gate(&config.control)?;
        if args.tap.is_some() {
            // What has left until now, its file will say by then.
            thread::sleep(Duration::from_secs(args.tap_age));
        }
        let rules = match &args.nft {
            Some(path) => std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
            None => ask_kernel()?,
        };
        let (counted, gone) = kernel(&rules)?;
        let mut others = vec![counted];
        if let Some(path) = &args.tap {
            let (frames, bytes, strange) = tap(path)?;
            let count = Count {
                frames,
                bytes,
                strange,
            };
            others.push(Reading { name: "tap", count });
        }
        let gate = [before, gate(&config.control)?];
        // Last of all: what has left was reserved before.
        let charged = charged(config)?;
        Ok(Seen {
            gate,
            others,
            gone,
            charged,
        })
    }

    /// Keeps what has gone by the kernel, for the rules after the next boot.
    fn keep(&self, seen: &Seen) -> Result<()> {
        let mut path = self.args.baseline.as_os_str().to_owned();
        path.push(".kernel");
        seen.gone.map_or(Ok(()), |gone| gone.keep(path.as_ref()))
    }
}

/// Writes the baseline.
fn begin(path: &Path, seen: &Seen) -> Result<()> {
    let [before, after] = seen.gate;
    ensure!(
        !path.exists(),
        "{}: it is there already, and --new makes the first one",
        path.display()
    );
    ensure!(
        before == after,
        "frames leave: a first comparison needs a moment in which none does (`weir gate cut`)"
    );
    let others = seen.others.iter().map(|reading| (reading.name, reading.count));
    let all = [(GATE, after)].into_iter().chain(others);
    let baseline = Baseline {
        counts: all.map(|(name, count)| (name.to_owned(), count)).collect(),
        charged: seen.charged.as_ref().map(|charged| charged.spent),
    };
    baseline.write(path)
}

/// What is wrong; nothing if all is well.
fn compare(baseline: &Baseline, seen: &Seen, tolerance: u64) -> Wrong {
    let mut wrong = Wrong::default();
    let start = |name: &str| {
        let mut known = baseline.counts.iter().filter(|(known, _)| known == name);
        known.next().map(|(_, count)| *count)
    };
    let grown = |now: Count, then: Count| {
        Some(Count {
            frames: now.frames.checked_sub(then.frames)?,
            bytes: now.bytes.checked_sub(then.bytes)?,
            strange: now.strange.checked_sub(then.strange)?,
        })
    };
    let gate = seen
        .gate
        .map(|count| start(GATE).and_then(|then| grown(count, then)));
    if gate.contains(&None) {
        let words = "the gate's counters have gone back; if it was started anew, take a new baseline";
        wrong.words.push(words.to_owned());
    }
    if baseline.charged.is_some() != seen.charged.is_some() {
        let words = "the ledger: there was one, or none, when the baseline was taken; take a new one";
        wrong.words.push(words.to_owned());
    }
    for Reading { name, count } in &seen.others {
        let Some(then) = start(name) else {
            wrong
                .words
                .push(format!("{name}: not in the baseline; take a new one"));
            continue;
        };
        let Some(now) = grown(*count, then) else {
            wrong.words.push(format!("{name}: its counters have gone back"));
            continue;
        };
        if now.strange > 0 {
            wrong.words.push(format!(
                "{name}: {} frames that should not be there, or that were not seen",
                now.strange
            ));
        }
        if let [Some(before), Some(after)] = gate {
            if now.frames > after.frames || now.bytes > after.bytes {
                wrong.is_lie = true;
                wrong.words.push(format!(
                    "{name} has counted {} frames and {} bytes, the gate let out {} and {}",
                    now.frames, now.bytes, after.frames, after.bytes
                ));
            }
            let lacks = before.bytes.saturating_sub(now.bytes);
            if before.frames.saturating_sub(now.frames) > tolerance
                || lacks > tolerance.saturating_mul(LONGEST)
            {
                wrong.words.push(format!(
                    "{name} has counted {} frames and {} bytes only, the gate let out {} and {}",
                    now.frames, now.bytes, before.frames, before.bytes
                ));
            }
        }
        // SPEC 7.5: whatever leaves was reserved before.
        let held = seen.charged.iter().flat_map(|charged| &charged.reserved);
        for ((holder, reserved), charged) in held.zip(baseline.charged.into_iter().cycle()) {
            let (left, more) = (now.bytes.saturating_mul(8), reserved.saturating_sub(charged));
            if left > more {
                wrong.is_lie = true;
                wrong.words.push(format!(
                    "{name} has counted {left} bits, and {holder} has {more} reserved: what leaves is not charged"
                ));
            }
        }
    }
    wrong
}

/// Time for a look, beside the age of the tap's file: twice what the gate has to answer, and a witness's five tries.
const DEADLINE: Duration = Duration::from_secs(15);
/// Time for an order to cut.
const CUT: Duration = Duration::from_secs(6);
const GATE: &str = "gate";

#[cfg(test)]
mod tests;
