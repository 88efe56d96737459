//! The counts in a file. It says more than was counted while the program runs, never less: what a crash leaves is too much.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::count::Total;

/// A file of five lines, `name value`.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    /// One tap has it at a time.
    _lock: File,
    counted: Total,
    /// Bytes that the file speaks for.
    reserved: u64,
    written: Instant,
}

impl State {
    /// Reads the file, or makes a `new` one that begins at 0. From now on it speaks for a block more.
    pub(crate) fn open(path: &Path, new: bool, now: Instant) -> Result<Self> {
        let read = |is: fs::Metadata| {
            ensure!(!new, "it is there already, and --new is for a first start");
            ensure!(
                is.permissions().mode() & 0o022 == 0,
                "others can write it: chmod go-w"
            );
            parse(&fs::read_to_string(path)?)
        };
        let shown = || format!("state {}", path.display());
        let lock = File::create(beside(path, ".lock")).with_context(shown)?;
        ensure!(lock.try_lock().is_ok(), "{}: another tap has it", shown());
        let counted = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && new => Ok(Total::default()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(error).context("--new is for a first start, which begins at 0")
            }
            found => found.map_err(Into::into).and_then(read),
        };
        let counted = counted.with_context(shown)?;
        let mut state = Self {
            path: path.to_owned(),
            _lock: lock,
            counted,
            reserved: 0,
            written: now,
        };
        state.keep(counted, now)?;
        Ok(state)
    }

    pub(crate) const fn counted(&self) -> Total {
        self.counted
    }

    /// Sees to it that the file speaks for all of `total`, and is soon up to date for those who read it.
    pub(crate) fn keep(&mut self, total: Total, now: Instant) -> Result<()> {
        let is_old = total != self.counted && now - self.written >= AGE;
        if total.bytes >= self.reserved || is_old {
            (self.reserved, self.written) = (total.bytes.saturating_add(BLOCK), now);
            self.write(total, self.reserved)?;
        }
        Ok(())
    }

    /// The last word: exactly what was counted.
    pub(crate) fn close(&mut self, total: Total) -> Result<()> {
        self.write(total, total.bytes)
    }

    fn write(&mut self, total: Total, reserved: u64) -> Result<()> {
        self.counted = total;
        let text = format!(
            "frames {}\nbytes {}\ndrops {}\njoined {}\nreserved {reserved}\n",
            total.frames, total.bytes, total.drops, total.joined
        );
        let new = beside(&self.path, ".new");
        let write = || -> std::io::Result<()> {
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(0o644);
            let mut file = options.open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            fs::rename(&new, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_data()
        };
        write().with_context(|| format!("state {}", self.path.display()))
    }
}

/// The file with this end to its whole name: another state may have the same one up to its last dot.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// What the file says; of its bytes, those that it speaks for.
fn parse(text: &str) -> Result<Total> {
    let mut lines = text.lines();
    let mut value = |name| -> Result<u64> {
        let line = lines
            .next()
            .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.and_then(|value| value.parse().ok());
        value.with_context(|| format!("{name}: no such line, or no number"))
    };
    let (frames, _) = (value("frames")?, value("bytes")?);
    // Frames that were joined are of the run that saw them.
    let (drops, _, joined) = (value("drops")?, value("joined")?, 0);
    let bytes = value("reserved")?;
    ensure!(lines.next().is_none(), "a line too many");
    Ok(Total {
        frames,
        bytes,
        drops,
        joined,
    })
}

/// How old what the file says of the past may be, up to the next look: `weir reconcile` counts on two seconds.
const AGE: Duration = Duration::from_secs(1);
/// Bytes on the line that the file speaks for in advance.
const BLOCK: u64 = 1 << 20;
