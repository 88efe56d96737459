//! What each counter says, and what is kept of it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use weir_gate::Config;
use weir_ledger::WitnessAt;
use weir_link::ask;

/// Frames, bytes on the line, and of a counter beside the gate, frames that should not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Count {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) strange: u64,
}

/// A counter beside the gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    pub(super) name: &'static str,
    pub(super) count: Count,
}

/// What has gone to outer since the first rules were loaded: where new rules begin, so that a boot gives nothing back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Gone {
    pub(crate) frames: u64,
    /// On the line.
    pub(crate) bytes: u64,
    /// Bytes of the kernel's quota.
    pub(crate) used: u64,
}

impl Gone {
    /// Of each number the greater one.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            frames: self.frames.max(other.frames),
            bytes: self.bytes.max(other.bytes),
            used: self.used.max(other.used),
        }
    }

    /// What `weir reconcile` has kept. An empty file is the beginning of all; one that is not there was taken away.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let text = fs::read_to_string(path)
                .context("only a first day begins with nothing: install -m 600 /dev/null FILE")?;
            if text.is_empty() {
                return Ok(Self::default());
            }
            let value = |name| value(&text, name);
            let (frames, bytes, used) = (value("frames")?, value("bytes")?, value("used")?);
            Ok(Self { frames, bytes, used })
        };
        read().with_context(|| path.display().to_string())
    }

    /// Keeps it, if it is more than what is kept.
    pub(super) fn keep(self, path: &Path) -> Result<()> {
        let kept = Self::read(path)?;
        let Self { frames, bytes, used } = self.or(kept);
        if self.or(kept) == kept {
            return Ok(());
        }
        write(path, &format!("frames {frames}\nbytes {bytes}\nused {used}\n"))
    }
}

/// The gate's own word.
pub(super) fn gate(control: &Path) -> Result<Count> {
    let said = ask(control, "status");
    let text = said.with_context(|| format!("no gate answers at {}", control.display()))?;
    let value = |name| value(&text, name).context("the gate's status");
    Ok(Count {
        frames: value("datagrams")?,
        bytes: value("line_bytes")?,
        strange: 0,
    })
}

/// The kernel's rules, as `nft` says them.
pub(crate) fn ask_kernel() -> Result<String> {
    let done = Command::new("nft")
        .args(["-j", "list", "ruleset"])
        .output()
        .context("nft cannot be run")?;
    ensure!(
        done.status.success(),
        "nft: {}",
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(String::from_utf8(done.stdout)?)
}

/// The counters of the tables that `weir gate nft` made, and what has gone by them; without a quota nobody can tell that.
pub(super) fn kernel(text: &str) -> Result<(Reading, Option<Gone>)> {
    let all: serde_json::Value = serde_json::from_str(text).context("nft's answer")?;
    let rows = || all["nftables"].as_array().into_iter().flatten();
    // One of each name in each of the tables; what is named `other` may be stopped in any of them.
    let counter = |wanted: &str| {
        let counters = rows().map(|row| &row["counter"]);
        let found = counters.filter(|row| row["table"] == "weir_gate" && row["name"] == wanted);
        let pairs = found.filter_map(|row| Some((row["packets"].as_u64()?, row["bytes"].as_u64()?)));
        let sum = pairs.reduce(|one, two| (one.0.saturating_add(two.0), one.1.saturating_add(two.1)));
        sum.with_context(|| {
            format!("no counter {wanted} in a table weir_gate: load the rules of `weir gate nft`")
        })
    };
    let ((short, _), (long, bytes)) = (counter("short")?, counter("long")?);
    let strange = counter("over")?.0.saturating_add(counter("other")?.0);
    let (frames, bytes) = (short + long, short * SHORTEST + bytes + long * AROUND);
    let quotas = rows().map(|row| &row["quota"]);
    let mut used = quotas
        .filter(|row| row["table"] == "weir_gate")
        .filter_map(|row| row["used"].as_u64());
    let gone = used.next().map(|used| Gone { frames, bytes, used });
    let count = Count {
        frames,
        bytes,
        strange,
    };
    Ok((
        Reading {
            name: "kernel",
            count,
        },
        gone,
    ))
}

/// What has gone by the rules that are loaded now; `None` if there are none.
pub(crate) fn loaded(text: &str) -> Option<Gone> {
    kernel(text).ok()?.1
}

/// The tap's state file.
pub(crate) fn tap(path: &Path) -> Result<(u64, u64, u64)> {
    let read = || -> Result<_> {
        let text = fs::read_to_string(path)?;
        let value = |name| value(&text, name);
        let strange = value("drops")?.saturating_add(value("joined")?);
        Ok((value("frames")?, value("bytes")?, strange))
    };
    read().with_context(|| path.display().to_string())
}

/// What those say who hold what the gate has charged: bits that may have left by then, each under its name. `None` for a gate without a ledger.
pub(super) struct Charged {
    /// Charged for certain by the ledger's last record.
    pub(super) spent: u64,
    /// Reserved, as the ledger says, and each witness that is a program elsewhere.
    pub(super) reserved: Vec<(String, u64)>,
}

pub(super) fn charged(config: &Config) -> Result<Option<Charged>> {
    let meter = &config.meter;
    let (Some(path), key) = (&meter.ledger, meter.key()?) else {
        return Ok(None);
    };
    let chain = weir_ledger::read(path, key.as_ref())?;
    let mut reserved = vec![("the ledger".to_owned(), chain.state.reserved)];
    for (index, witness) in (0..).zip(&meter.witnesses) {
        // A file is as easily set back as the ledger.
        if matches!(witness, WitnessAt::Program { .. }) {
            let held = weir_ledger::look(witness, &chain, index, key.as_ref())?;
            let head = held
                .head()
                .with_context(|| format!("{witness} holds no head of this ledger"))?;
            reserved.push((format!("witness {index}"), head.count));
        }
    }
    let spent = chain.state.spent;
    Ok(Some(Charged { spent, reserved }))
}

/// Where the counters stood when they were first compared.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Baseline {
    pub(super) counts: Vec<(String, Count)>,
    /// Bits charged for certain by then.
    pub(super) charged: Option<u64>,
}

impl Baseline {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let text =
                fs::read_to_string(path).context("no baseline: weir reconcile --new makes the first one")?;
            let mut baseline = Self::default();
            for line in text.lines() {
                let (name, numbers) = line.split_once(' ').context("not a baseline")?;
                let numbers: Result<Vec<u64>, _> = numbers.split(' ').map(str::parse).collect();
                match (name, &numbers?[..]) {
                    ("charged", &[bits]) => baseline.charged = Some(bits),
                    (_, &[frames, bytes, strange]) => {
                        let count = Count {
                            frames,
                            bytes,
                            strange,
                        };
                        baseline.counts.push((name.to_owned(), count));
                    }
                    _ => anyhow::bail!("not a baseline"),
                }
            }
            Ok(baseline)
        };
        read().with_context(|| path.display().to_string())
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut text = String::new();
        for (name, count) in &self.counts {
            let Count {
                frames,
                bytes,
                strange,
            } = count;
            text += &format!("{name} {frames} {bytes} {strange}\n");
        }
        if let Some(bits) = self.charged {
            text += &format!("charged {bits}\n");
        }
        write(path, &text)
    }
}

fn value(text: &str, wanted: &str) -> Result<u64> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let mut values = pairs.filter_map(|(name, value)| (name == wanted).then(|| value.parse().ok())?);
    values.next().with_context(|| format!("no {wanted}"))
}

/// A file of its owner's, there whole or not at all.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let put = || -> std::io::Result<()> {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&new, path)
    };
    put().with_context(|| path.display().to_string())
}

/// Bytes on the line beside those that the kernel counts, and of the shortest and longest frame.
const AROUND: u64 = 24;
const SHORTEST: u64 = 84;
pub(super) const LONGEST: u64 = 1538;
