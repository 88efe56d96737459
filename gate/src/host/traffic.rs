//! Everything that comes in on inside's interface, as its driver counts it, against what the link's socket got. SPEC 9.1.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Context as _;

/// The interface's counters. They are read once a tick at a fixed place, which takes as long whatever came.
pub(super) struct Traffic {
    /// Frames that are whole, and those that are not.
    counters: [File; 2],
    /// When the link was opened.
    base: u64,
    /// A tick ago.
    last: u64,
    /// Those found so far that were not the link's.
    strays: u64,
}

impl Traffic {
    /// To be called when the link is open, so that all that is counted from now on is either the link's or a stray.
    pub(super) fn open(device: &str) -> anyhow::Result<Self> {
        let open = |name| {
            let path = Path::new("/sys/class/net")
                .join(device)
                .join("statistics")
                .join(name);
            File::open(&path).with_context(|| path.display().to_string())
        };
        let mut traffic = Self {
            counters: [open("rx_packets")?, open("rx_errors")?],
            base: 0,
            last: 0,
            strays: 0,
        };
        traffic.base = traffic.read().with_context(|| format!("counters of {device}"))?;
        traffic.last = traffic.base;
        Ok(traffic)
    }

    /// How many strays there are that were not there before, when the socket has got `taken` datagrams since the link was opened. `is_empty`: since the last look
    /// there was a moment with nothing in the socket. Then all that had come before that look has been taken, or is a stray.
    /// What has come since may hide as many strays, until the next look.
    ///
    /// # Errors
    /// The interface has gone, or its counters went back.
    pub(super) fn look(&mut self, taken: u64, is_empty: bool) -> io::Result<u64> {
        let now = self.read()?;
        if now < self.last {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut new = 0;
        if is_empty {
            let strays = (self.last - self.base).saturating_sub(taken);
            new = strays.saturating_sub(self.strays);
            self.strays += new;
        }
        self.last = now;
        Ok(new)
    }

    fn read(&self) -> io::Result<u64> {
        let mut sum = 0_u64;
        for counter in &self.counters {
            let mut text = [0; 24];
            let len = counter.read_at(&mut text, 0)?;
            let number = str::from_utf8(&text[..len])
                .ok()
                .and_then(|text| text.trim().parse().ok());
            sum = sum.saturating_add(number.ok_or(ErrorKind::InvalidData)?);
        }
        Ok(sum)
    }
}
