//! Sizes that inner and outer must have alike.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use weir_codec::{Sampling, Settings};
use weir_wire::{CheckWidth, Format, IdWidth, Parameters, Shape};

use crate::file::set;

/// Flags of both servers; each one given wins over the file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SessionArgs {
    /// Batches; both ends alike [default: 1]
    #[arg(long, value_name = "N")]
    pub batches: Option<u16>,
    /// Queries that are live at once in a batch, at most 128; both ends alike [default: 128]
    #[arg(long, value_name = "N")]
    pub slots: Option<u8>,
    /// Frames a batch may send before one is acknowledged (W); both ends alike [default: 8]
    #[arg(long, value_name = "N")]
    pub window: Option<u8>,
    /// Tokens per query and frame, 1 to 64; both ends alike [default: 10]
    #[arg(long, value_name = "N")]
    pub tokens_per_tick: Option<u8>,
    /// Milliseconds between frames of a batch; both ends alike [default: 100]
    #[arg(long, value_name = "MS")]
    pub tick_ms: Option<u32>,
    /// Strong and weak model have different tokenizers: answers are coded in the weak one's tokens; both ends alike
    #[arg(long)]
    pub retokenize: bool,
    /// Least weir.tau of a request; 1 allows lossless answers only; both ends alike [default: 0.01]
    #[arg(long, value_name = "TAU")]
    pub least_tau: Option<f32>,
    /// How long frames are made: sealed, bucketed or constant; both ends alike [default: sealed]
    #[arg(long, value_name = "SHAPE")]
    pub shape: Option<String>,
}

/// Section `[session]`: what goes into the opening. A difference between the ends is an error at once.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionConfig {
    /// Number of batches.
    pub batches: u16,
    /// Queries live at once in a batch, 1..=128.
    pub slots: u8,
    /// Bits of a batch id: 8 or 16.
    pub id_bits: u8,
    /// Bytes of a frame's check: 2 or 4.
    pub check_bytes: u8,
    /// Frames in flight per batch.
    pub window: u8,
    /// Tokens per query and frame.
    pub tokens_per_tick: u8,
    /// Milliseconds between frames of a batch.
    pub tick_ms: u32,
    /// Whether the strong model has a tokenizer of its own, so that its answers are coded in the weak model's tokens.
    pub retokenize: bool,
    /// Least `weir.tau` of a request: how far an answer may be from the strong model's. 1: lossless only.
    pub least_tau: f32,
    /// `sealed`, `bucketed` or `constant`.
    pub shape: String,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            batches: 1,
            slots: 128,
            id_bits: 8,
            check_bytes: 4,
            window: 8,
            tokens_per_tick: 10,
            tick_ms: 100,
            retokenize: false,
            least_tau: 0.01,
            shape: "sealed".to_owned(),
        }
    }
}

impl SessionConfig {
    /// Flags over the file.
    pub fn apply(&mut self, args: &SessionArgs) {
        // Named one by one, so that a new flag cannot be forgotten here.
        let SessionArgs {
            batches,
            slots,
            window,
            tokens_per_tick,
            tick_ms,
            retokenize,
            least_tau,
            shape,
        } = args;
        set(&mut self.batches, batches);
        set(&mut self.slots, slots);
        set(&mut self.window, window);
        set(&mut self.tokens_per_tick, tokens_per_tick);
        set(&mut self.tick_ms, tick_ms);
        self.retokenize |= retokenize;
        set(&mut self.least_tau, least_tau);
        set(&mut self.shape, shape);
    }

    /// Parameters of the session on a link whose datagrams have at most `mtu` bytes.
    ///
    /// # Errors
    /// A value out of range, by its key.
    pub fn parameters(&self, mtu: usize) -> Result<Parameters> {
        let Self {
            slots,
            tokens_per_tick,
            least_tau,
            ..
        } = *self;
        ensure!((1..=128).contains(&slots), "session.slots: 1 to 128, not {slots}");
        ensure!(
            (1..=64).contains(&tokens_per_tick),
            "session.tokens_per_tick: 1 to 64, not {tokens_per_tick}"
        );
        let least = Sampling::MIN_TAU;
        ensure!(
            (least..=1.0).contains(&least_tau),
            "session.least_tau: {least} to 1, not {least_tau}"
        );
        let id = match self.id_bits {
            8 => IdWidth::One,
            16 => IdWidth::Two,
            bits => bail!("session.id_bits: 8 or 16, not {bits}"),
        };
        let check = match self.check_bytes {
            2 => CheckWidth::Two,
            4 => CheckWidth::Four,
            bytes => bail!("session.check_bytes: 2 or 4, not {bytes}"),
        };
        let Some(shape) = Shape::named(&self.shape) else {
            bail!(
                "session.shape: sealed, bucketed or constant, not {:?}",
                self.shape
            );
        };
        let tick = self.tick_ms.checked_mul(1000);
        let parameters = Parameters {
            format: Format { id, check },
            window: self.window,
            batches: self.batches,
            tokens_per_tick: u16::from(tokens_per_tick),
            tick: tick.context("session.tick_ms: too long")?,
            mtu: u16::try_from(mtu)
                .with_context(|| format!("link.mtu: {mtu} bytes are more than any link takes"))?,
            shape,
        };
        parameters.validate()?;
        Ok(parameters)
    }

    /// Least `tau` of a query. The strong model's tokens must be the weak one's if that is to have a say, so with
    /// retokenizing answers are lossless.
    pub fn least_tau(&self) -> f32 {
        if self.retokenize { 1.0 } else { self.least_tau }
    }

    /// What encoder and decoder must have alike.
    pub fn settings(&self) -> Settings {
        Settings {
            full: self.tokens_per_tick,
            retokenized: self.retokenize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named() {
        let good = SessionConfig::default();
        good.parameters(1472).unwrap();
        assert!(good.parameters(70_000).unwrap_err().to_string().contains("mtu"));
        let bad = [
            (
                SessionConfig {
                    slots: 0,
                    ..good.clone()
                },
                "slots",
            ),
            (
                SessionConfig {
                    slots: 129,
                    ..good.clone()
                },
                "slots",
            ),
            (
                SessionConfig {
                    id_bits: 9,
                    ..good.clone()
                },
                "id_bits",
            ),
            (
                SessionConfig {
                    check_bytes: 0,
                    ..good.clone()
                },
                "check_bytes",
            ),
            (
                SessionConfig {
                    batches: 0,
                    ..good.clone()
                },
                "batches",
            ),
            (
                SessionConfig {
                    batches: 256,
                    ..good.clone()
                },
                "batches",
            ),
            (
                SessionConfig {
                    window: 17,
                    ..good.clone()
                },
                "window",
            ),
            (
                SessionConfig {
                    tokens_per_tick: 65,
                    ..good.clone()
                },
                "tokens_per_tick",
            ),
            (
                SessionConfig {
                    tokens_per_tick: 0,
                    ..good.clone()
                },
                "tokens_per_tick",
            ),
            (
                SessionConfig {
                    tick_ms: 0,
                    ..good.clone()
                },
                "tick",
            ),
            (
                SessionConfig {
                    shape: "round".to_owned(),
                    ..good.clone()
                },
                "shape",
            ),
            (
                SessionConfig {
                    tick_ms: u32::MAX,
                    ..good.clone()
                },
                "tick_ms",
            ),
            (
                SessionConfig {
                    least_tau: 0.0,
                    ..good.clone()
                },
                "least_tau",
            ),
            (
                SessionConfig {
                    least_tau: f32::NAN,
                    ..good
                },
                "least_tau",
            ),
        ];
        for (config, name) in bad {
            let error = config.parameters(1472).unwrap_err().to_string();
            assert!(error.contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn other_tokens_leave_no_say_to_the_weak_model() {
        let mut config = SessionConfig::default();
        assert_eq!(config.least_tau(), config.least_tau);
        config.retokenize = true;
        assert_eq!(config.least_tau(), 1.0);
    }
}
