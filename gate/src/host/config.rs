//! What the operator decides: a TOML file. docs/gate.toml shows every key.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use weir_ledger::MeterConfig;
use weir_link::{Address, is_name};
use weir_meter::{Limits, LinkCost};
use weir_wire::{CheckWidth, Format, IdWidth, Parameters, Shape};

use crate::Rules;

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The control socket.
    pub control: PathBuf,
    /// The link to inner.
    pub inside: LinkConfig,
    /// The link to outer, which is counted.
    pub outside: LinkConfig,
    /// What inner and outer have agreed on, as far as a gate sees it.
    pub session: SessionConfig,
    /// What is borne before the gate cuts.
    pub rules: Rules,
    /// What may leave.
    pub meter: MeterConfig,
    /// What outer says of what has come.
    pub receipts: ReceiptsConfig,
}

/// Both ends of a link. Half of one is none: what the file leaves out is refused when the address is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Ours.
    pub local: String,
    /// Inner's or outer's.
    pub peer: String,
    /// The network interface that the link has for itself, if it is one over UDP.
    pub device: Option<String>,
}

/// Layout and cadence of frames.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionConfig {
    /// Batches in use.
    pub batches: u16,
    /// Bits of a batch id: 8 or 16.
    pub id_bits: u8,
    /// Bytes of a frame's check: 2 or 4.
    pub check_bytes: u8,
    /// Milliseconds between ticks.
    pub tick_ms: u32,
    /// Most bytes of a frame.
    pub mtu: u16,
    /// `sealed`, `bucketed` or `constant`.
    pub shape: String,
}

/// Outer's receipts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiptsConfig {
    /// A file with the key that outer has too; without it receipts are dropped.
    pub key: Option<PathBuf>,
    /// Datagrams that may be lost on the way to outer, in all.
    pub tolerance: u64,
    /// Seconds without a receipt that are borne; 0 for any number.
    pub silence_s: u64,
    /// Seconds for which a start waits for a receipt, without which the ledger is not opened; 0 to open it without.
    pub at_start_s: u64,
}

impl LinkConfig {
    /// The address, where the interface is the name of one.
    fn address(&self) -> anyhow::Result<Address> {
        let address = Address::between(&self.local, &self.peer)?;
        if let Some(device) = &self.device {
            ensure!(
                is_name(device),
                "device: {device:?} is no name of an interface (letters, digits, - _ . and at most 15)"
            );
            ensure!(
                matches!(address, Address::Udp { .. }),
                "device: a unix:// link has none"
            );
        }
        Ok(address)
    }
}

impl Default for Config {
    fn default() -> Self {
        let link = |local: &str, peer: &str| LinkConfig {
            local: local.to_owned(),
            peer: peer.to_owned(),
            device: None,
        };
        Self {
            control: "/run/weir/gate.sock".into(),
            inside: link("udp://127.0.0.1:7003", "udp://127.0.0.1:7001"),
            outside: link("udp://127.0.0.1:7004", "udp://127.0.0.1:7002"),
            session: SessionConfig::default(),
            rules: Rules::default(),
            meter: MeterConfig::default(),
            receipts: ReceiptsConfig::default(),
        }
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            batches: 1,
            id_bits: 8,
            check_bytes: 4,
            tick_ms: 100,
            mtu: 1472,
            shape: "sealed".to_owned(),
        }
    }
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// An unreadable file, an unknown key, a value out of range: each says which.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let shown = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(shown)?;
        let config: Self = toml::from_str(&text).with_context(shown)?;
        config.check().with_context(shown)?;
        Ok(config)
    }

    /// The addresses of the links inside and outside.
    ///
    /// # Errors
    /// An address that is none.
    pub fn addresses(&self) -> anyhow::Result<(Address, Address)> {
        let at = |name, link: &LinkConfig| link.address().context(name);
        Ok((at("inside", &self.inside)?, at("outside", &self.outside)?))
    }

    /// What frames are held against.
    ///
    /// # Errors
    /// A value out of range.
    pub fn rules(&self) -> anyhow::Result<Rules> {
        let session = &self.session;
        let other = || {
            format!(
                "session.shape: sealed, bucketed or constant, not {:?}",
                session.shape
            )
        };
        let shape = Shape::named(&session.shape).with_context(other)?;
        let id = match session.id_bits {
            8 => IdWidth::One,
            16 => IdWidth::Two,
            bits => bail!("session.id_bits: 8 or 16, not {bits}"),
        };
        let check = match session.check_bytes {
            2 => CheckWidth::Two,
            4 => CheckWidth::Four,
            bytes => bail!("session.check_bytes: 2 or 4, not {bytes}"),
        };
        let rules = Rules {
            parameters: Parameters {
                format: Format { id, check },
                batches: session.batches,
                tick: session
                    .tick_ms
                    .checked_mul(1000)
                    .filter(|tick| (1_000..=10_000_000).contains(tick))
                    .context("session.tick_ms: 1 to 10000 milliseconds")?,
                mtu: session.mtu,
                shape,
                // Between inner and outer alone.
                window: 1,
                ..Parameters::default()
            },
            ..self.rules
        };
        rules.parameters.validate().context("session")?;
        rules.validate()?;
        // So that the program stays within the memory that it promises.
        ensure!(
            rules.queue_bytes <= QUEUE_MAX,
            "rules.queue_bytes: {QUEUE_MAX} at most, not {}",
            rules.queue_bytes
        );
        Ok(rules)
    }

    /// What may leave.
    ///
    /// # Errors
    /// A link that could not carry what the shape demands.
    pub fn limits(&self, cost: LinkCost) -> anyhow::Result<Limits> {
        let (rules, meter) = (self.rules()?, &self.meter);
        ensure!(
            meter.repeat_percent.is_none() && meter.side_bits.is_none(),
            "meter.repeat_percent, meter.side_bits: a gate cannot tell repeats, and goes by its shape"
        );
        let mtu = usize::from(self.session.mtu);
        let side_bits = rules.side_bits();
        let Some(dearest) = cost.bits(mtu).map(|bits| bits + side_bits) else {
            bail!("session.mtu: {mtu} bytes on a link that takes {}", cost.mtu());
        };
        let each_second = dearest
            .saturating_mul(1_000)
            .div_ceil(u64::from(self.session.tick_ms));
        ensure!(
            !rules.is_constant() || each_second <= meter.rate,
            "meter.rate: {} bits per second, but the constant shape takes {each_second}",
            meter.rate
        );
        // Where every tick has its piece, moments say nothing.
        let tick = u32::from(!rules.is_constant()) * rules.parameters.tick;
        Ok(meter.limits(side_bits, u64::from(tick)))
    }

    /// Everything that does not need a link.
    ///
    /// # Errors
    /// The first value that does not fit.
    pub fn check(&self) -> anyhow::Result<()> {
        let receipts = &self.receipts;
        let is_deaf = receipts.at_start_s > 0 && (receipts.key.is_none() || self.meter.ledger.is_none());
        ensure!(!is_deaf, "receipts.at_start_s: needs a key and a ledger");
        self.addresses()?;
        self.rules().map(|_| ())
    }
}

/// The queue's part of 16 MB.
const QUEUE_MAX: usize = 8 << 20;
