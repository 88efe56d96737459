//! `weir reconcile`: do the gate, the kernel and the tap count the same? SPEC 9.3.
//!
//! The gate is asked before and after the others, so that what they say must lie between its two answers, whatever leaves
//! meanwhile; and so long before that a file that is a little old passes. What each counter has more or less than the others when
//! it is first looked at is kept in a file: from then on all must grow alike. A counter that cannot be read counts as one that differs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// Compares what gate, kernel and tap have counted; where they differ, the gate is cut
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The gate's control socket
    #[arg(long, value_name = "FILE", default_value = "/run/weir/gate.sock")]
    gate: PathBuf,
    /// Output of `nft -j list counters`, in place of asking the kernel
    #[arg(long, value_name = "FILE")]
    nft: Option<PathBuf>,
    /// The tap's state file, or a copy
    #[arg(long, value_name = "FILE")]
    tap: Option<PathBuf>,
    /// How old what the tap's file says may be, in seconds: it is written once a second; a copy takes its time
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    tap_age: u64,
    /// Where the counters stood when they were first compared; written if it is not there
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
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

/// Frames, bytes on the line, and of a counter beside the gate, frames that should not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Count {
    frames: u64,
    bytes: u64,
    strange: u64,
}

/// A counter beside the gate.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Reading {
    name: &'static str,
    count: Count,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    loop {
        let seen = look(args);
        let Some(baseline) = read_baseline(&args.baseline)? else {
            return begin(&args.baseline, &seen?);
        };
        let wrong = match &seen {
            Ok(seen) => compare(&baseline, seen.gate, &seen.others, args.tolerance),
            Err(error) => vec![format!("a counter cannot be read: {error:#}")],
        };
        for wrong in &wrong {
            eprintln!("weir: alarm: {wrong}");
        }
        if !wrong.is_empty() && !args.no_cut {
            say(&args.gate, "disagree").context("the gate CANNOT BE CUT")?;
        }
        match (args.every, &seen) {
            (Some(seconds), _) if wrong.is_empty() || args.no_cut => {
                std::thread::sleep(Duration::from_secs(seconds));
            }
            (None, Ok(Seen { gate: [_, gate], .. })) if wrong.is_empty() => {
                println!(
                    "{} frames, {} bytes on the line: all agree",
                    gate.frames, gate.bytes
                );
                return Ok(());
            }
            _ => bail!("{} differences between counters", wrong.len()),
        }
    }
}

/// What all counters say.
struct Seen {
    /// Before and after the others were read.
    gate: [Count; 2],
    others: Vec<Reading>,
}

fn look(args: &Args) -> Result<Seen> {
    let before = gate(&args.gate)?;
    let shown = |path: &Path| path.display().to_string();
    if args.tap.is_some() {
        // What has left until now, its file will say by then.
        std::thread::sleep(Duration::from_secs(args.tap_age));
    }
    let mut others = vec![match &args.nft {
        Some(path) => nft(&fs::read_to_string(path).with_context(|| shown(path))?)?,
        None => nft(&ask_kernel()?)?,
    }];
    if let Some(path) = &args.tap {
        let text = fs::read_to_string(path).with_context(|| shown(path))?;
        others.push(tap(&text).with_context(|| shown(path))?);
    }
    let gate = [before, gate(&args.gate)?];
    Ok(Seen { gate, others })
}

/// Writes the baseline.
fn begin(path: &Path, seen: &Seen) -> Result<()> {
    let [before, after] = seen.gate;
    ensure!(
        before == after,
        "frames leave: a first comparison needs a moment in which none does (`weir gate cut`)"
    );
    write_baseline(path, after, &seen.others)?;
    println!("baseline written to {}", path.display());
    Ok(())
}

/// What is wrong, in words; nothing if all is well. `gate` is the gate's count before and after the others were read.
fn compare(
    baseline: &[(String, Count)],
    gate: [Count; 2],
    readings: &[Reading],
    tolerance: u64,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let start = |name: &str| {
        baseline
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, count)| *count)
    };
    let grown = |now: Count, then: Count| {
        Some(Count {
            frames: now.frames.checked_sub(then.frames)?,
            bytes: now.bytes.checked_sub(then.bytes)?,
            strange: now.strange.checked_sub(then.strange)?,
        })
    };
    let [before, after] = gate.map(|count| start(GATE).and_then(|then| grown(count, then)));
    let (Some(before), Some(after)) = (before, after) else {
        wrong.push(
            "the gate's counters have gone back; if it was started anew, take a new baseline".to_owned(),
        );
        return wrong;
    };
    for Reading { name, count } in readings {
        let Some(then) = start(name) else {
            wrong.push(format!("{name}: not in the baseline; take a new one"));
            continue;
        };
        let Some(now) = grown(*count, then) else {
            wrong.push(format!("{name}: its counters have gone back"));
            continue;
        };
        if now.strange > 0 {
            wrong.push(format!(
                "{name}: {} frames that should not be there, or that were not seen",
                now.strange
            ));
        }
        if now.frames > after.frames || now.bytes > after.bytes {
            wrong.push(format!(
                "{name} has counted {} frames and {} bytes, the gate let out {} and {}",
                now.frames, now.bytes, after.frames, after.bytes
            ));
        }
        let lacks = before.bytes.saturating_sub(now.bytes);
        if before.frames.saturating_sub(now.frames) > tolerance || lacks > tolerance.saturating_mul(LONGEST) {
            wrong.push(format!(
                "{name} has counted {} frames and {} bytes only, the gate let out {} and {}",
                now.frames, now.bytes, before.frames, before.bytes
            ));
        }
    }
    wrong
}

fn gate(path: &Path) -> Result<Count> {
    let text = say(path, "status")?;
    let value = |wanted: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        let mut values = pairs.filter_map(|(name, value)| (name == wanted).then(|| value.parse().ok())?);
        values
            .next()
            .with_context(|| format!("the gate says no {wanted}"))
    };
    Ok(Count {
        frames: value("datagrams")?,
        bytes: value("line_bytes")?,
        strange: 0,
    })
}

fn say(path: &Path, order: &str) -> Result<String> {
    let speak = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("{order}\n").as_bytes())?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    };
    speak().with_context(|| format!("no gate answers at {}", path.display()))
}

fn ask_kernel() -> Result<String> {
    let done = Command::new("nft")
        .args(["-j", "list", "counters"])
        .output()
        .context("nft cannot be run")?;
    ensure!(
        done.status.success(),
        "nft: {}",
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(String::from_utf8(done.stdout)?)
}

/// The counters of the tables that `weir gate nft` made.
fn nft(text: &str) -> Result<Reading> {
    let all: serde_json::Value = serde_json::from_str(text).context("nft's answer")?;
    // One of each name in each of the tables; what is named `other` may be stopped in any of them.
    let counter = |wanted: &str| {
        let rows = all["nftables"].as_array().into_iter().flatten();
        let counters = rows.map(|row| &row["counter"]);
        let found = counters.filter(|row| row["table"] == "weir_gate" && row["name"] == wanted);
        let pairs = found.filter_map(|row| Some((row["packets"].as_u64()?, row["bytes"].as_u64()?)));
        let sum = pairs.reduce(|one, two| (one.0.saturating_add(two.0), one.1.saturating_add(two.1)));
        sum.with_context(|| {
            format!("no counter {wanted} in a table weir_gate: load the rules of `weir gate nft`")
        })
    };
    let ((short, _), (long, bytes)) = (counter("short")?, counter("long")?);
    Ok(Reading {
        name: "kernel",
        count: Count {
            frames: short + long,
            bytes: short * SHORTEST + bytes + long * AROUND,
            strange: counter("over")?.0 + counter("other")?.0,
        },
    })
}

/// The lines of the tap's state file.
fn tap(text: &str) -> Result<Reading> {
    let value = |wanted: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        let mut values =
            pairs.filter_map(|(name, value)| (name == wanted).then(|| value.parse::<u64>().ok())?);
        values.next().with_context(|| format!("no {wanted}"))
    };
    Ok(Reading {
        name: "tap",
        count: Count {
            frames: value("frames")?,
            bytes: value("bytes")?,
            strange: value("drops")? + value("joined")?,
        },
    })
}

fn read_baseline(path: &Path) -> Result<Option<Vec<(String, Count)>>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let line = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next()?.to_owned();
        let mut number = || words.next()?.parse().ok();
        let count = Count {
            frames: number()?,
            bytes: number()?,
            strange: number()?,
        };
        Some((name, count))
    };
    let lines: Option<Vec<_>> = text.lines().map(line).collect();
    let lines = lines.with_context(|| format!("{}: not a baseline", path.display()))?;
    Ok(Some(lines))
}

fn write_baseline(path: &Path, gate: Count, readings: &[Reading]) -> Result<()> {
    let all = readings.iter().map(|reading| (reading.name, reading.count));
    let lines = [(GATE, gate)].into_iter().chain(all).map(|(name, count)| {
        let Count {
            frames,
            bytes,
            strange,
        } = count;
        format!("{name} {frames} {bytes} {strange}\n")
    });
    let text: String = lines.collect();
    fs::write(path, text).with_context(|| path.display().to_string())
}

const GATE: &str = "gate";
/// Bytes on the line beside those that the kernel counts, and of the shortest and longest frame.
const AROUND: u64 = 24;
const SHORTEST: u64 = 84;
const LONGEST: u64 = 1538;

#[cfg(test)]
mod tests {
    use super::*;

    const fn count(frames: u64, bytes: u64) -> Count {
        Count {
            frames,
            bytes,
            strange: 0,
        }
    }

    const fn strange(count: Count, strange: u64) -> Count {
        Count { strange, ..count }
    }

    fn reading(name: &'static str, count: Count) -> Reading {
        Reading { name, count }
    }

    fn baseline() -> Vec<(String, Count)> {
        [
            (GATE, count(10, 1000)),
            ("kernel", count(110, 11_000)),
            ("tap", strange(count(0, 0), 2)),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .to_vec()
    }

    /// What `compare` says of a kernel and a tap.
    fn said(kernel: Count, tap: Count, tolerance: u64) -> String {
        let readings = [reading("kernel", kernel), reading("tap", strange(tap, 2))];
        compare(
            &baseline(),
            [count(20, 2000), count(22, 2200)],
            &readings,
            tolerance,
        )
        .join("\n")
    }

    #[test]
    fn between_the_gates_two_answers_all_agree() {
        assert_eq!(said(count(120, 12_000), count(12, 1200), 0), "");
        assert_eq!(said(count(122, 12_200), count(10, 1000), 0), "");
    }

    #[test]
    fn each_difference_is_named() {
        assert!(said(count(123, 12_200), count(10, 1000), 9).contains("kernel has counted 13 frames"));
        assert!(
            said(count(120, 12_201), count(10, 1000), 9).contains("1201 bytes, the gate let out 12 and 1200")
        );
        assert!(
            said(count(120, 12_000), count(9, 1000), 0)
                .contains("tap has counted 9 frames and 1000 bytes only")
        );
        assert_eq!(said(count(120, 12_000), count(9, 900), 1), "", "one may be lost");
        assert!(said(count(109, 11_000), count(10, 1000), 0).contains("kernel: its counters have gone back"));
        // Two were there when the baseline was taken.
        let third = reading("tap", strange(count(10, 1000), 3));
        assert!(
            compare(&baseline(), [count(20, 2000); 2], &[third], 0)[0].contains("tap: 1 frames that should")
        );
        let late = reading("receipts", count(10, 1000));
        assert!(compare(&baseline(), [count(20, 2000); 2], &[late], 0)[0].contains("not in the baseline"));
        assert!(
            compare(&baseline(), [count(9, 2000); 2], &[], 0)[0]
                .contains("the gate's counters have gone back")
        );
    }

    #[test]
    fn counters_are_read_as_they_are_written() {
        let text = r#"{"nftables": [{"metainfo": {}},
            {"counter": {"family": "netdev", "name": "short", "table": "weir_gate", "packets": 3, "bytes": 150}},
            {"counter": {"family": "netdev", "name": "long", "table": "weir_gate", "packets": 2, "bytes": 200}},
            {"counter": {"family": "netdev", "name": "over", "table": "weir_gate", "packets": 0, "bytes": 0}},
            {"counter": {"family": "netdev", "name": "other", "table": "weir_gate", "packets": 3, "bytes": 1}},
            {"counter": {"family": "inet", "name": "other", "table": "weir_gate", "packets": 2, "bytes": 1}},
            {"counter": {"family": "inet", "name": "other", "table": "another", "packets": 7, "bytes": 1}}]}"#;
        let kernel = nft(text).unwrap();
        assert_eq!(kernel.count, strange(count(5, 3 * 84 + 200 + 48), 5));
        assert!(nft("{}").unwrap_err().to_string().contains("short"));
        let tapped = tap("frames 5\nbytes 500\ndrops 1\njoined 0\nreserved 9\n").unwrap();
        assert_eq!(tapped.count, strange(count(5, 500), 1));
        assert!(tap("frames 5\n").is_err());
    }

    #[test]
    fn a_baseline_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline");
        assert!(read_baseline(&path).unwrap().is_none());
        write_baseline(
            &path,
            count(10, 1000),
            &[
                reading("kernel", count(110, 11_000)),
                reading("tap", strange(count(0, 0), 2)),
            ],
        )
        .unwrap();
        assert_eq!(read_baseline(&path).unwrap().unwrap(), baseline());
        fs::write(&path, "gate 1 2\n").unwrap();
        assert!(read_baseline(&path).is_err());
    }
}
