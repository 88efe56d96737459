//! What the operator decides: a TOML file, then flags over it.

use anyhow::{Context, ensure};
use serde::Deserialize;
use std::path::PathBuf;
use weir_ledger::MeterConfig;
use weir_model::PAGE;
use weir_setup::file::{read, set};
use weir_setup::source::{EMBEDDED, kernel};
use weir_setup::{SessionArgs, SessionConfig, WeakConfig};

/// Flags of `weir-inner`; each one given wins over the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Configuration file (TOML); docs/inner.toml shows every key and its default
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Our end of the link to outer (or the gate) [default: udp://127.0.0.1:7001]
    #[arg(long, value_name = "URL")]
    pub local: Option<String>,
    /// The other end of the link [default: udp://127.0.0.1:7002]
    #[arg(long, value_name = "URL")]
    pub peer: Option<String>,
    /// The strong model: a .gguf or .weir file, or "embedded" [default: embedded]
    #[arg(long, value_name = "FILE")]
    pub strong: Option<String>,
    /// What runs the strong model [default: auto: exact where it knows the architecture, else candle, if that is built in]
    #[arg(long, value_enum, value_name = "ENGINE")]
    pub engine: Option<Engine>,
    /// Positions of all live queries together in the strong model [default: 65536]
    #[arg(long, value_name = "N")]
    pub strong_kv_tokens: Option<usize>,
    /// Positions of all live queries with a tau below 1 in the weak model that is asked beside the strong one
    /// [default: as many as all batches have for live queries]
    #[arg(long, value_name = "N")]
    pub lossy_kv_tokens: Option<usize>,
    /// The weak model: a .gguf or .weir file, or "embedded" [default: embedded]
    #[arg(long, value_name = "FILE")]
    pub weak: Option<String>,
    /// Positions of all live queries of a batch together in the weak model; both ends alike [default: 65536]
    #[arg(long, value_name = "N")]
    pub weak_kv_tokens: Option<usize>,
    /// Kernel of both models: auto, reference, portable, avx2 or avx512 [default: auto]
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Threads of both models, which never run at once [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// What both ends must have alike
    #[command(flatten)]
    pub session: SessionArgs,
    /// Bits per second that may leave in the long run, headers and gaps of the link included
    #[arg(long, value_name = "BITS")]
    pub rate: Option<u64>,
    /// Bits that may leave over the lifetime of this process
    #[arg(long, value_name = "BITS")]
    pub total: Option<u64>,
    /// The ledger that holds the budget from start to start (`weir ledger init` begins it, once, when the weights are made); its witnesses are in the file
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Appends every answer to this file as a line of JSON
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Seconds between status lines in the log; 0 for none but the last [default: 60]
    #[arg(long, value_name = "S")]
    pub status_s: Option<u64>,
}

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Appends every answer to this file.
    pub record: Option<PathBuf>,
    /// Seconds between status lines; 0 for none but the last.
    pub status_s: u64,
    /// The way to outer.
    pub link: LinkConfig,
    /// The strong model.
    pub strong: StrongConfig,
    /// The weak model.
    pub weak: WeakConfig,
    /// What both ends must have alike.
    pub session: SessionConfig,
    /// What may leave.
    pub meter: MeterConfig,
}

/// What runs the strong model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// `exact` where it knows the architecture, else `candle`.
    Auto,
    /// Our own bit-exact crate: batched.
    Exact,
    /// Candle: one query after the other. Needs the feature `candle`.
    Candle,
}

/// Both ends of the link.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Ours.
    pub local: String,
    /// Outer's or the gate's.
    pub peer: String,
    /// Most bytes of a datagram.
    pub mtu: usize,
    /// Milliseconds after a start in which nothing is heard: the longest life of a datagram on the link.
    pub quarantine_ms: u64,
}

/// The strong model and its resources.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrongConfig {
    /// A file, or `embedded`.
    pub file: String,
    /// What runs it.
    pub engine: Engine,
    /// A kernel's name, or `auto`; of the exact engine.
    pub kernel: String,
    /// 0: all cores; of the exact engine (candle follows `RAYON_NUM_THREADS`).
    pub threads: usize,
    /// Positions of all live queries together.
    pub kv_tokens: usize,
    /// Positions of all live queries with a `tau` below 1 together, in the weak model that is asked beside the strong one; 0:
    /// as many as all batches have for live queries, so that none that outer admits is refused for them.
    pub lossy_kv_tokens: usize,
    /// Most positions of one query.
    pub max_context: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            record: None,
            status_s: 60,
            link: LinkConfig::default(),
            strong: StrongConfig::default(),
            weak: WeakConfig::default(),
            session: SessionConfig::default(),
            meter: MeterConfig::default(),
        }
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        let (local, peer) = (
            "udp://127.0.0.1:7001".to_owned(),
            "udp://127.0.0.1:7002".to_owned(),
        );
        Self {
            local,
            peer,
            mtu: 1472,
            quarantine_ms: 1000,
        }
    }
}

impl Default for StrongConfig {
    fn default() -> Self {
        Self {
            file: EMBEDDED.to_owned(),
            engine: Engine::Auto,
            kernel: "auto".to_owned(),
            threads: 0,
            kv_tokens: 65_536,
            lossy_kv_tokens: 0,
            max_context: 4096,
        }
    }
}

impl Config {
    /// The file, if one is named, and the flags over it.
    ///
    /// # Errors
    /// An unreadable file, an unknown key, a value out of range: each says which.
    pub fn load(args: &Args) -> anyhow::Result<Self> {
        let mut config: Self = read(args.config.as_deref())?;
        config.apply(args);
        config.check()?;
        Ok(config)
    }

    fn apply(&mut self, args: &Args) {
        // Named one by one, so that a new flag cannot be forgotten here.
        let Args {
            config: _,
            local,
            peer,
            strong,
            engine,
            strong_kv_tokens,
            lossy_kv_tokens,
            weak,
            weak_kv_tokens,
            kernel,
            threads,
            session,
            rate,
            total,
            ledger,
            record,
            status_s,
        } = args;
        set(&mut self.link.local, local);
        set(&mut self.link.peer, peer);
        set(&mut self.strong.file, strong);
        set(&mut self.strong.engine, engine);
        set(&mut self.strong.kv_tokens, strong_kv_tokens);
        set(&mut self.strong.lossy_kv_tokens, lossy_kv_tokens);
        set(&mut self.strong.kernel, kernel);
        set(&mut self.strong.threads, threads);
        set(&mut self.weak.file, weak);
        set(&mut self.weak.kv_tokens, weak_kv_tokens);
        set(&mut self.weak.kernel, kernel);
        set(&mut self.weak.threads, threads);
        self.session.apply(session);
        set(&mut self.meter.rate, rate);
        set(&mut self.meter.total, total);
        set(&mut self.status_s, status_s);
        if ledger.is_some() {
            self.meter.ledger.clone_from(ledger);
        }
        if record.is_some() {
            self.record.clone_from(record);
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        kernel(&self.strong.kernel).context("strong.kernel")?;
        kernel(&self.weak.kernel).context("weak.kernel")?;
        ensure!(
            self.strong.engine != Engine::Candle || cfg!(feature = "candle"),
            "strong.engine: {NO_CANDLE}"
        );
        ensure!(self.strong.kv_tokens > 1, "strong.kv_tokens: at least 2");
        ensure!(
            self.strong.lossy_kv_tokens == 0 || self.strong.lossy_kv_tokens >= PAGE,
            "strong.lossy_kv_tokens: 0, or at least {PAGE}, which is one page"
        );
        self.session.parameters(self.link.mtu)?;
        Ok(())
    }
}

/// What a program without the engine says of it.
pub(crate) const NO_CANDLE: &str = "the engine candle is not in this program, as it was built without the feature \
     candle; build it with `cargo build --release -p weir-cli --features candle` (weir-inner: `-p weir-inner`)";

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn flags_win_over_the_file_and_both_are_checked() {
        let mut config: Config = toml::from_str("status_s = 5\n[session]\nslots = 7\nwindow = 2\n").unwrap();
        let args = Args {
            session: SessionArgs {
                slots: Some(9),
                ..SessionArgs::default()
            },
            engine: Some(Engine::Exact),
            ..Args::default()
        };
        config.apply(&args);
        assert_eq!(
            (config.status_s, config.session.slots, config.session.window),
            (5, 9, 2)
        );
        assert_eq!(config.strong.engine, Engine::Exact);
        config.check().unwrap();
        config.strong.engine = Engine::Candle;
        assert_eq!(config.check().is_ok(), cfg!(feature = "candle"));
        if let Err(error) = config.check() {
            let error = error.to_string();
            let named = ["strong.engine", "candle", "-p weir-cli --features candle"];
            assert!(named.iter().all(|name| error.contains(name)), "{error}");
        }
        config.strong.engine = Engine::Exact;
        let complaint = |config: &Config| format!("{:#}", config.check().unwrap_err());
        config.session.tokens_per_tick = 65;
        assert!(complaint(&config).contains("tokens_per_tick"));
        config.session.tokens_per_tick = 64;
        config.weak.kernel = "fast".to_owned();
        assert!(complaint(&config).contains("weak.kernel"));
        config.weak.kernel = "auto".to_owned();
        config.strong.lossy_kv_tokens = PAGE - 1;
        assert!(complaint(&config).contains("lossy_kv_tokens"));
        let unknown = toml::from_str::<Config>("[strong]\nfiel = 'a'").unwrap_err();
        assert!(unknown.to_string().contains("fiel"));
    }

    #[test]
    fn the_example_shows_every_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/inner.toml");
        let example: Config = read(Some(&path)).unwrap();
        assert_eq!(format!("{example:?}"), format!("{:?}", Config::default()));
    }
}
