//! Everything that comes in on inside's interface, as its driver counts it, against what the link's socket got. SPEC 9.1.

use std::io::{self, ErrorKind};

use anyhow::Context as _;
use weir_link::Received;

/// The interface's counters. They are read once a tick at a fixed place, which takes as long whatever came.
pub(super) struct Traffic {
    received: Received,
    /// When the link was opened.
    base: u64,
    /// A tick ago.
    last: u64,
    /// Those found so far that were not the link's.
    strays: u64,
}

impl Traffic {
    /// To be called before the link is opened, so that the link's socket gets nothing that is not counted.
    pub(super) fn open(device: &str) -> anyhow::Result<Self> {
        let open = || {
            let received = Received::open(device)?;
            received.frames().map(|frames| (received, frames))
        };
        let (received, base) = open().with_context(|| format!("counters of {device}"))?;
        Ok(Self {
            received,
            base,
            last: base,
            strays: 0,
        })
    }

    /// How many strays there are that were not there before, when the socket has got `taken` datagrams since the link was opened. `is_empty`: since the last look
    /// there was a moment with nothing in the socket. Then all that had come before that look has been taken, or is a stray.
    /// What has come since may hide as many strays, until the next look.
    ///
    /// # Errors
    /// The interface has gone, or its counters went back.
    pub(super) fn look(&mut self, taken: u64, is_empty: bool) -> io::Result<u64> {
        let now = self.received.frames()?;
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
}
