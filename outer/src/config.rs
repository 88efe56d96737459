//! What the operator decides: a TOML file, then flags over it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use weir_setup::file::{read, set};
use weir_setup::source::kernel;
use weir_setup::{SessionArgs, SessionConfig, WeakConfig};

/// Flags of `weir-outer`; each one given wins over the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Configuration file (TOML); docs/outer.toml shows every key and its default
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of the HTTP API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address of /metrics; without it there is none
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Address of a listener for /healthz alone; the API has it, too [default: none]
    #[arg(long, value_name = "ADDR")]
    pub health: Option<SocketAddr>,
    /// Our end of the link to inner, such as udp://10.0.0.2:7000 [default: udp://127.0.0.1:7002]
    #[arg(long, value_name = "URL")]
    pub local: Option<String>,
    /// Inner's (or the gate's) end of the link [default: udp://127.0.0.1:7001]
    #[arg(long, value_name = "URL")]
    pub peer: Option<String>,
    /// The weak model: a .gguf or .weir file, or "embedded" [default: embedded]
    #[arg(long, value_name = "FILE")]
    pub weak: Option<String>,
    /// Name under which the model is served [default: weir]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// An API key, or sha256: and the hex digest of one; may be given again. Replaces the keys of the file
    #[arg(long = "api-key", value_name = "KEY")]
    pub api_keys: Vec<String>,
    /// Kernel of the weak model: auto, reference, portable, avx2 or avx512 [default: auto]
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Threads of the weak model, per batch [default: all cores, shared among the batches]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Positions of all live queries of a batch together; both ends alike [default: 65536]
    #[arg(long, value_name = "N")]
    pub kv_tokens: Option<usize>,
    /// weir.tau of a request that does not say; 1 is lossless [default: 1]
    #[arg(long, value_name = "TAU")]
    pub default_tau: Option<f32>,
    /// What both ends must have alike
    #[command(flatten)]
    pub session: SessionArgs,
}

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the HTTP API.
    pub listen: SocketAddr,
    /// Address of `/metrics`, if any.
    pub metrics: Option<SocketAddr>,
    /// Address of a listener for `/healthz` alone, if any.
    pub health: Option<SocketAddr>,
    /// Name under which the model is served.
    pub model: String,
    /// Keys or their `sha256:` digests; none are needed on a loopback address only.
    pub api_keys: Vec<String>,
    /// Whether an answer says what it cost in bits. That depends on the other answers in its batch, so users learn a little
    /// of each other.
    pub expose_cost: bool,
    /// The way to inner.
    pub link: LinkConfig,
    /// The weak model.
    pub weak: WeakConfig,
    /// What both ends must have alike.
    pub session: SessionConfig,
    /// What one user may ask for.
    pub limits: Limits,
    /// What a gate is told.
    pub receipts: ReceiptsConfig,
}

/// Receipts for a gate.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiptsConfig {
    /// A file with the key that the gate has too; none are sent without it.
    pub key: Option<PathBuf>,
    /// A file with the id of the gate's ledger, if it has one.
    pub ledger: Option<PathBuf>,
    /// A file that keeps the counts from start to start; without it each start begins at 0.
    pub file: Option<PathBuf>,
    /// Milliseconds between two.
    pub every_ms: u64,
}

impl Default for ReceiptsConfig {
    fn default() -> Self {
        Self {
            key: None,
            ledger: None,
            file: None,
            every_ms: 1000,
        }
    }
}

/// Both ends of the link.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Ours.
    pub local: String,
    /// Inner's or the gate's.
    pub peer: String,
    /// Most bytes of a datagram from inner; as inner has it.
    pub mtu: usize,
}

/// What one user, and all of them together, may ask for.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Bytes of all requests' bodies together.
    pub bodies_bytes: usize,
    /// Seconds for a request's head, and then for its body, to arrive.
    pub body_timeout_s: u64,
    /// Seconds for a client to accept what is written to it.
    pub write_timeout_s: u64,
    /// Tokens of a prompt.
    pub prompt_tokens: usize,
    /// Tokens of an answer that a request may ask for.
    pub answer_tokens: u32,
    /// Tokens of an answer when the request does not say.
    pub default_answer_tokens: u32,
    /// `weir.tau` when the request does not say; 1 is lossless.
    pub default_tau: f32,
    /// Tokens of prompt and answer together. Lowered to what the weak model has room for.
    pub context_tokens: usize,
    /// Requests that wait for a slot; more get 429.
    pub queue: usize,
    /// Seconds a request waits for a slot.
    pub queue_timeout_s: u64,
    /// Seconds from a request's arrival to the end of its answer.
    pub request_timeout_s: u64,
    /// HTTP connections that have shown a key, open at once.
    pub connections: usize,
    /// Those that have shown none; the oldest makes room for the next.
    pub strangers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            metrics: None,
            health: None,
            model: "weir".to_owned(),
            api_keys: Vec::new(),
            expose_cost: true,
            link: LinkConfig::default(),
            weak: WeakConfig::default(),
            session: SessionConfig::default(),
            limits: Limits::default(),
            receipts: ReceiptsConfig::default(),
        }
    }
}

impl Default for LinkConfig {
    fn default() -> Self {
        let (local, peer) = (
            "udp://127.0.0.1:7002".to_owned(),
            "udp://127.0.0.1:7001".to_owned(),
        );
        Self {
            local,
            peer,
            mtu: 1472,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            bodies_bytes: 64 << 20,
            body_timeout_s: 30,
            write_timeout_s: 30,
            prompt_tokens: 4096,
            answer_tokens: 2048,
            default_answer_tokens: 512,
            default_tau: 1.0,
            context_tokens: usize::MAX,
            queue: 256,
            queue_timeout_s: 60,
            request_timeout_s: 600,
            connections: 512,
            strangers: 256,
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
            listen,
            metrics,
            health,
            local,
            peer,
            weak,
            model,
            api_keys,
            kernel,
            threads,
            kv_tokens,
            default_tau,
            session,
        } = args;
        set(&mut self.listen, listen);
        if metrics.is_some() {
            self.metrics = *metrics;
        }
        if health.is_some() {
            self.health = *health;
        }
        set(&mut self.link.local, local);
        set(&mut self.link.peer, peer);
        set(&mut self.weak.file, weak);
        set(&mut self.model, model);
        if !api_keys.is_empty() {
            self.api_keys.clone_from(api_keys);
        }
        set(&mut self.weak.kernel, kernel);
        set(&mut self.weak.threads, threads);
        set(&mut self.weak.kv_tokens, kv_tokens);
        set(&mut self.limits.default_tau, default_tau);
        self.session.apply(session);
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.api_keys.is_empty() && !self.listen.ip().is_loopback() {
            bail!(
                "api_keys: none are configured, and listen = {} is not a loopback address",
                self.listen
            );
        }
        kernel(&self.weak.kernel).context("weak.kernel")?;
        ensure!(!self.model.is_empty(), "model: the name is empty");
        self.session.parameters(self.link.mtu)?;
        ensure!(self.receipts.every_ms > 0, "receipts.every_ms: at least 1");
        let times = [
            ("body_timeout_s", self.limits.body_timeout_s),
            ("write_timeout_s", self.limits.write_timeout_s),
            ("queue_timeout_s", self.limits.queue_timeout_s),
            ("request_timeout_s", self.limits.request_timeout_s),
        ];
        for (name, seconds) in times {
            ensure!(
                (1..=DAY_S).contains(&seconds),
                "limits.{name} is {seconds}; 1 to {DAY_S} seconds are possible"
            );
        }
        for (name, value) in [
            ("body_bytes", self.limits.body_bytes),
            ("connections", self.limits.connections),
            ("strangers", self.limits.strangers),
        ] {
            ensure!(value > 0, "limits.{name}: at least 1");
        }
        let (all, one) = (self.limits.bodies_bytes, self.limits.body_bytes);
        ensure!(
            (one..=1 << 40).contains(&all),
            "limits.bodies_bytes is {all}; limits.body_bytes, which is {one}, to {} are possible",
            1_u64 << 40
        );
        let (least, default) = (self.session.least_tau(), self.limits.default_tau);
        ensure!(
            (least..=1.0).contains(&default),
            "limits.default_tau: session.least_tau, which is {least}, to 1, not {default}"
        );
        ensure!(self.limits.answer_tokens > 0, "limits.answer_tokens: at least 1");
        ensure!(
            self.limits.default_answer_tokens > 0,
            "limits.default_answer_tokens: at least 1"
        );
        Ok(())
    }
}

/// No request lasts longer, and none of its parts.
const DAY_S: u64 = 86_400;

impl Limits {
    /// How many tokens the answer to a prompt may have: what was asked, if it fits; the default, as far as it fits.
    ///
    /// # Errors
    /// A sentence with both numbers.
    pub(crate) fn answer(&self, prompt: usize, asked: Option<u32>) -> Result<u32, String> {
        // An answer has at least one token.
        let most = self.prompt_tokens.min(self.context_tokens.saturating_sub(1));
        if prompt > most {
            return Err(format!(
                "the prompt has {prompt} tokens; at most {most} are allowed"
            ));
        }
        let room = u32::try_from(self.context_tokens - prompt).unwrap_or(u32::MAX);
        let Some(asked) = asked else {
            return Ok(self.default_answer_tokens.min(self.answer_tokens).min(room));
        };
        if asked > self.answer_tokens {
            return Err(format!(
                "max_tokens is {asked}; at most {} are allowed",
                self.answer_tokens
            ));
        }
        if asked > room {
            let (sum, most) = (prompt as u64 + u64::from(asked), self.context_tokens);
            return Err(format!(
                "prompt ({prompt}) and max_tokens ({asked}) make {sum} tokens; {most} fit"
            ));
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn flags_win_over_the_file_and_both_are_checked() {
        let mut config: Config = toml::from_str("model = 'a'\n[session]\nslots = 7\nwindow = 2\n").unwrap();
        let args = Args {
            session: SessionArgs {
                slots: Some(9),
                ..SessionArgs::default()
            },
            ..Args::default()
        };
        config.apply(&args);
        assert_eq!(
            (config.model.as_str(), config.session.slots, config.session.window),
            ("a", 9, 2)
        );
        config.check().unwrap();
        config.listen = "0.0.0.0:80".parse().unwrap();
        assert!(config.check().unwrap_err().to_string().contains("loopback"));
        config.api_keys.push("k".to_owned());
        config.check().unwrap();
        config.limits.write_timeout_s = 0;
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .contains("write_timeout_s")
        );
        config.limits.write_timeout_s = DAY_S;
        config.check().unwrap();
        for (name, spoil) in [
            (
                "bodies_bytes",
                (|limits| limits.bodies_bytes = 1000) as fn(&mut Limits),
            ),
            ("bodies_bytes", |limits| limits.bodies_bytes = usize::MAX),
            ("body_bytes", |limits| limits.body_bytes = 0),
            ("connections", |limits| limits.connections = 0),
            ("strangers", |limits| limits.strangers = 0),
        ] {
            let mut bad = config.clone();
            spoil(&mut bad.limits);
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(&format!("limits.{name}")), "{error}");
        }
        config.limits.default_tau = 0.001;
        let low = config.check().unwrap_err().to_string();
        assert!(low.contains("default_tau") && low.contains("0.01"), "{low}");
        config.limits.default_tau = 0.5;
        config.check().unwrap();
        config.session.retokenize = true;
        assert!(config.check().unwrap_err().to_string().contains("default_tau"));
        config.limits.default_tau = 1.0;
        config.check().unwrap();
        config.weak.kernel = "fast".to_owned();
        assert!(format!("{:#}", config.check().unwrap_err()).contains("fast"));
        assert!(
            toml::from_str::<Config>("modle = 'a'")
                .unwrap_err()
                .to_string()
                .contains("modle")
        );
    }

    #[test]
    fn the_example_shows_every_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/outer.toml");
        let example: Config = read(Some(&path)).unwrap();
        let context = usize::try_from(i64::MAX).unwrap();
        let default = Config::default();
        let default = Config {
            limits: Limits {
                context_tokens: context,
                ..default.limits
            },
            ..default
        };
        let example = Config {
            limits: Limits {
                context_tokens: context,
                ..example.limits
            },
            ..example
        };
        assert_eq!(format!("{example:?}"), format!("{default:?}"));
    }

    #[test]
    fn answers_fit_the_context() {
        let limits = Limits {
            context_tokens: 100,
            prompt_tokens: 90,
            answer_tokens: 50,
            ..Limits::default()
        };
        assert_eq!(limits.answer(10, None), Ok(50));
        assert_eq!(limits.answer(80, None), Ok(20));
        assert_eq!(limits.answer(80, Some(20)), Ok(20));
        let both = limits.answer(80, Some(21)).unwrap_err();
        assert!(both.contains("101") && both.contains("100"), "{both}");
        let long = limits.answer(91, None).unwrap_err();
        assert!(long.contains("91") && long.contains("90"), "{long}");
        assert!(limits.answer(1, Some(51)).is_err());
    }
}
