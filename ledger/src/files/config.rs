//! Section `[meter]` of a program's settings, and the governor that it makes: on a ledger, if one is named.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error as ThisError;
use weir_meter::{Instant, Limits, LimitsError, LinkCost, Span};

use super::address::WitnessAt;
use super::clock::{moment, since_boot};
use super::error::Error;
use super::keys::read_key;
use super::paths::{Paths, open, read};
use crate::account::Governor;
use crate::echo::Echo;
use crate::error::LedgerError;
use crate::exit::Exit;
use crate::ledger::{Ledger, Settings};
use crate::record::Limit;

/// What may leave; in bits on the physical link.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MeterConfig {
    /// The ledger, which holds the budget from start to start.
    pub ledger: Option<PathBuf>,
    /// The ledger's witnesses, in the order in which orders number them.
    pub witnesses: Vec<WitnessAt>,
    /// A file with the key of the ledger's hashes.
    pub ledger_key: Option<PathBuf>,
    /// Bits that are reserved at a time.
    pub block: u64,
    /// Starts within an hour, at most.
    pub starts_per_hour: u32,
    /// Per second, in the long run.
    pub rate: u64,
    /// At once, after a pause.
    pub burst: u64,
    /// In all; the ledger has a total of its own.
    pub total: u64,
    /// Windows besides the ledger's.
    pub windows: Vec<WindowConfig>,
    /// Percent of rate, burst, total and (at most 10) windows for frames that outer asks for again; for inner, as a gate cannot tell
    /// them.
    pub repeat_percent: Option<u8>,
    /// Percent of rate, burst and total for control frames.
    pub handshake_percent: u8,
    /// In an hour for control frames.
    pub handshakes_per_hour: u64,
    /// Percent of total and windows from which on there is an alarm.
    pub soft_percent: u8,
    /// Charged for each datagram for what its length can say; for inner, as a gate goes by its shape.
    pub side_bits: Option<u64>,
    /// Alarm when in an hour more bits leave than so many times those that come in; 0 for none.
    pub out_per_in: u64,
}

/// A limit on what leaves in any stretch of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// Its length.
    pub seconds: u32,
    /// Bits.
    pub bits: u64,
}

/// Why these settings make no governor.
#[derive(Debug, ThisError)]
pub enum ConfigError {
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] Error),
    /// The clocks cannot be read.
    #[error("the clocks cannot be read")]
    Clock(#[from] io::Error),
    /// A limit is out of range.
    #[error("meter")]
    Limits(#[from] LimitsError),
    /// A limit never lets the longest datagram out.
    #[error("{name}: {bits} bits, but the longest datagram is charged up to {dearest}")]
    Room {
        /// Which limit.
        name: &'static str,
        /// Its value.
        bits: u64,
        /// The charge.
        dearest: u64,
    },
}

impl ConfigError {
    /// What a program that ends for this reason should exit with: each reason of a ledger's has a number of its own.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Ledger(error) => error.exit(),
            Self::Clock(_) | Self::Limits(_) | Self::Room { .. } => Exit::Other,
        }
    }
}

/// What a program that ends with this error should exit with, if it has to do with its budget; else 1.
pub fn exit_code<'a>(causes: impl IntoIterator<Item = &'a (dyn std::error::Error + 'static)>) -> u8 {
    let exit = |cause: &'a (dyn std::error::Error + 'static)| {
        let config = cause.downcast_ref().map(ConfigError::exit);
        let ledger = || cause.downcast_ref().map(Error::exit);
        let broken = || cause.downcast_ref().map(LedgerError::exit);
        config.or_else(ledger).or_else(broken)
    };
    causes.into_iter().find_map(exit).unwrap_or(Exit::Other).code()
}

impl Default for MeterConfig {
    fn default() -> Self {
        let (limits, settings) = (Limits::default(), Settings::default());
        Self {
            ledger: None,
            witnesses: Vec::new(),
            ledger_key: None,
            block: settings.block,
            starts_per_hour: settings.starts_per_hour,
            rate: limits.rate,
            burst: limits.burst,
            total: limits.total,
            windows: Vec::new(),
            repeat_percent: None,
            handshake_percent: limits.handshake_percent,
            handshakes_per_hour: limits.handshakes_per_hour,
            soft_percent: limits.soft_percent,
            side_bits: None,
            out_per_in: 16,
        }
    }
}

impl MeterConfig {
    /// The limits, where `side_bits` are charged for a length unless the settings say otherwise, and a datagram may leave every `tick`
    /// microseconds (0: as in [`Limits`]).
    pub fn limits(&self, side_bits: u64, tick: u64) -> Limits {
        let limits = Limits::default();
        Limits {
            rate: self.rate,
            burst: self.burst,
            total: self.total,
            repeat_percent: self.repeat_percent.unwrap_or(limits.repeat_percent),
            handshake_percent: self.handshake_percent,
            soft_percent: self.soft_percent,
            side_bits: self.side_bits.unwrap_or(side_bits),
            tick,
            handshakes_per_hour: self.handshakes_per_hour,
            out_per_in: self.out_per_in,
            reserve: 0,
        }
    }

    /// A governor with these limits, for datagrams of at most `longest` bytes. `heard` are bits that another device counts as sent. All
    /// settings are judged before the ledger is opened: what can never work uses up no start of it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn governor(
        &self,
        cost: LinkCost,
        limits: Limits,
        longest: usize,
        heard: Option<u64>,
    ) -> Result<Governor, ConfigError> {
        let span = |&WindowConfig { seconds, bits }: &WindowConfig| Span { seconds, bits };
        let spans: Vec<Span> = self.windows.iter().map(span).collect();
        let now = moment()?.since_boot;
        Governor::with_account(None, now, cost, limits, &spans)?;
        let mut room = vec![("meter.burst", limits.burst), ("meter.total", limits.total)];
        room.extend(spans.iter().map(|span| ("meter.windows", span.bits)));
        if let Some(ledger) = &self.ledger {
            room.push(("meter.block", self.block));
            let chain = read(ledger, self.key()?.as_ref())?;
            let caps = chain.caps.iter();
            let windows = caps.filter(|cap| matches!(cap.limit, Limit::Window(_)));
            room.extend(windows.map(|cap| ("the ledger's windows", cap.bits)));
        }
        let dearest = limits.dearest(cost, longest).unwrap_or(u64::MAX);
        // Of a window or total frames have all but what is kept for handshakes.
        let is_shared = |name: &str| name.ends_with("windows") || name.ends_with("total");
        let kept = |(name, bits)| {
            if is_shared(name) {
                bits - limits.kept(bits)
            } else {
                bits
            }
        };
        if let Some((name, bits)) = room.into_iter().find(|&limit| kept(limit) < dearest) {
            return Err(ConfigError::Room { name, bits, dearest });
        }
        let ledger = self.open(heard)?;
        Ok(Governor::with_account(
            ledger,
            moment()?.since_boot,
            cost,
            limits,
            &spans,
        )?)
    }

    /// Listens for outer's word for `seconds`. Gives the most bits that it says it has received in the ledger's life, and those that the
    /// ledger has reserved: the greater of both is spent. `next` takes a buffer and gives a receipt that has come, or what is none; `None`
    /// if nothing has. Nothing is waited for without a key, a ledger, or seconds.
    ///
    /// # Errors
    /// [`Error::Silent`] if it does not come, [`Error::Beyond`] if it is more than the ledger's total; the ledger or the clock cannot be
    /// read.
    pub fn hear(
        &self,
        key: Option<[u8; 32]>,
        seconds: u64,
        mut next: impl FnMut(&mut [u8]) -> Option<Vec<u8>>,
    ) -> Result<Option<(u64, u64)>, ConfigError> {
        let (Some(key), Some(ledger), 1..) = (key, &self.ledger, seconds) else {
            return Ok(None);
        };
        let chain = read(ledger, self.key()?.as_ref())?;
        let until: Instant = moment()?.since_boot + Duration::from_secs(seconds);
        let (mut most, mut buffer) = (None, [0; 2048]);
        while since_boot() < until {
            let Some(receipt) = next(&mut buffer) else {
                std::thread::sleep(PAUSE);
                continue;
            };
            let echo = Echo::open(&receipt, &key).filter(|echo| echo.ledger == chain.id);
            most = most.max(echo.map(|echo| echo.bits));
        }
        let bits = most.ok_or(Error::Silent { seconds })?;
        let total = chain.cap(Limit::Total).unwrap_or(0);
        if bits > total {
            return Err(Error::Beyond { bits, total }.into());
        }
        Ok(Some((bits, chain.state.reserved)))
    }

    /// The key of the ledger's hashes, if there is one.
    ///
    /// # Errors
    /// As for [`read_key`].
    pub fn key(&self) -> Result<Option<[u8; 32]>, Error> {
        self.ledger_key.as_deref().map(read_key).transpose()
    }

    fn open(&self, heard: Option<u64>) -> Result<Option<Ledger>, ConfigError> {
        let Some(ledger) = self.ledger.clone() else {
            return Ok(None);
        };
        let settings = Settings {
            key: self.key()?,
            block: self.block,
            starts_per_hour: self.starts_per_hour,
            ..Settings::default()
        };
        let paths = Paths {
            ledger,
            witnesses: self.witnesses.clone(),
        };
        let counts = heard.as_slice();
        Ok(Some(open(&paths, moment()?, settings, counts, None)?))
    }
}

/// Between two looks for a receipt.
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::paths::init;
    use crate::record::Cap;
    use crate::segment::Genesis;

    /// A setting that can never work is named, as often as it is tried, and the ledger has not been opened once.
    #[test]
    fn settings_that_cannot_work_use_up_no_start() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            ledger: folder.path().join("ledger"),
            witnesses: vec![WitnessAt::File(folder.path().join("witness"))],
        };
        let genesis = Genesis {
            id: [1; 32],
            weights: [2; 32],
            operators: vec![],
            threshold: 0,
            caps: vec![Cap {
                limit: Limit::Total,
                bits: 1_000_000_000,
            }],
            spent: 0,
        };
        init(&paths, moment().unwrap(), None, &genesis).unwrap();
        let good = MeterConfig {
            ledger: Some(paths.ledger.clone()),
            witnesses: paths.witnesses,
            ..MeterConfig::default()
        };
        let start = |config: &MeterConfig| {
            config.governor(LinkCost::UdpIpv4, config.limits(11, 100_000), 1_472, None)
        };
        let window = |seconds, bits| vec![WindowConfig { seconds, bits }];
        let bad = |change: fn(&mut MeterConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config
        };
        let mut windows = [window(60, 5), window(0, 1_000_000)].into_iter();
        let mut with_window = || MeterConfig {
            windows: windows.next().unwrap(),
            ..good.clone()
        };
        let all = [
            ("meter.windows", with_window()),
            ("0 seconds", with_window()),
            ("meter.burst", bad(|config| config.burst = 10)),
            ("meter.total", bad(|config| config.total = 10)),
            ("meter.block", bad(|config| config.block = 10)),
            ("rate", bad(|config| config.rate = 0)),
            ("soft_percent", bad(|config| config.soft_percent = 101)),
        ];
        for (words, config) in all.iter().cycle().take(100) {
            let why = start(config).expect_err(words);
            let said = match &why {
                ConfigError::Limits(error) => error.to_string(),
                why => why.to_string(),
            };
            assert!(said.contains(words), "{words}: {said}");
        }
        let governor = start(&good).unwrap();
        assert_eq!(governor.ledger().unwrap().state().starts, 1);
    }
}
