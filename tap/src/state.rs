//! The counts in a file. It says more than was counted while the program runs, never less: what a crash leaves is too much.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::count::Total;

/// A file of four lines, `name value`.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    counted: Total,
    /// Bytes that the file speaks for.
    reserved: u64,
}

impl State {
    /// Reads the file; one that is not there begins at 0. From now on it speaks for a block more.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let shown = || format!("state {}", path.display());
        let counted = match fs::read_to_string(path) {
            Ok(text) => parse(&text).with_context(shown)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Total::default(),
            Err(error) => return Err(error).with_context(shown),
        };
        let mut state = Self {
            path: path.to_owned(),
            counted,
            reserved: 0,
        };
        state.keep(counted, false)?;
        Ok(state)
    }

    pub(crate) const fn counted(&self) -> Total {
        self.counted
    }

    /// Sees to it that the file speaks for all of `total`. In a pause it is brought up to date, for those who read it.
    pub(crate) fn keep(&mut self, total: Total, pause: bool) -> Result<()> {
        let news = pause && total != self.counted;
        if total.bytes >= self.reserved || news {
            self.reserved = total.bytes.saturating_add(BLOCK);
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
        let Total {
            frames,
            bytes,
            drops,
            joined,
        } = total;
        let text =
            format!("frames {frames}\nbytes {bytes}\ndrops {drops}\njoined {joined}\nreserved {reserved}\n");
        let new = self.path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            fs::rename(&new, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_data()
        };
        write().with_context(|| format!("state {}", self.path.display()))
    }
}

/// What the file says; of its bytes, those that it speaks for.
fn parse(text: &str) -> Result<Total> {
    let mut values = [None; 5];
    for line in text.lines() {
        let pair = line
            .split_once(' ')
            .and_then(|(name, value)| Some((name, value.parse().ok()?)));
        let Some((name, value)) = pair else {
            bail!("{line:?} is not a name and a number");
        };
        match NAMES.iter().position(|known| *known == name) {
            Some(index) if values[index].is_none() => values[index] = Some(value),
            _ => bail!("{name:?} is unknown, or there twice"),
        }
    }
    let [Some(frames), Some(_), Some(drops), Some(_), Some(bytes)] = values else {
        bail!("a line is missing: {NAMES:?}");
    };
    // Frames that were joined are of the run that saw them.
    let joined = 0;
    Ok(Total {
        frames,
        bytes,
        drops,
        joined,
    })
}

const NAMES: [&str; 5] = ["frames", "bytes", "drops", "joined", "reserved"];
/// Bytes on the line that the file speaks for in advance.
const BLOCK: u64 = 1 << 20;
