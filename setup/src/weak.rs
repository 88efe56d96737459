//! The weak model's settings, and the model with all that both ends must agree on.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use weir_codec::{Settings, Vocabulary, agreement};
use weir_model::{Kv, Model, Options, PAGE, Predict, Token, Tokenizer};
use weir_wire::{Agreement, Service};

use crate::prompts;
use crate::session::SessionConfig;
use crate::source::{EMBEDDED, Source, kernel, threads, vocabulary};

/// Section `[weak]`: the weak model and its resources.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeakConfig {
    /// A file, or `embedded`.
    pub file: String,
    /// A kernel's name, or `auto`; all give the same bits.
    pub kernel: String,
    /// 0: all cores, which batches that are read side by side share.
    pub threads: usize,
    /// Positions of all live queries of a batch together; both ends alike.
    pub kv_tokens: usize,
    /// Most positions of one query; both ends alike, lowered to what the model was made for.
    pub max_context: usize,
    /// What keys and values are kept as; both ends alike, as it changes what is predicted.
    pub kv: Kv,
    /// System prompts that are computed at the start, once for all queries. They change no token, so they are each end's
    /// own affair.
    pub system_prompts: Vec<String>,
}

impl Default for WeakConfig {
    fn default() -> Self {
        Self {
            file: EMBEDDED.to_owned(),
            kernel: "auto".to_owned(),
            threads: 0,
            kv_tokens: 65_536,
            max_context: 4096,
            kv: Kv::F32,
            system_prompts: Vec::new(),
        }
    }
}

/// How batches share models.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One model holds all batches: inner, which makes one frame after the other.
    Together,
    /// Each batch has a twin of its own: outer, which reads batches side by side.
    Apart,
}

impl WeakConfig {
    /// Options of one model.
    ///
    /// # Errors
    /// A value out of range, by its key.
    pub fn options(&self, batches: u16, layout: Layout) -> Result<Options> {
        ensure!(
            self.kv_tokens >= PAGE,
            "weak.kv_tokens: at least {PAGE}, which is one page"
        );
        ensure!(self.max_context > 0, "weak.max_context: at least 1");
        let batches = usize::from(batches).max(1);
        let (pools, teams) = match layout {
            Layout::Together => (batches, 1),
            Layout::Apart => (1, batches),
        };
        Ok(Options {
            kernel: kernel(&self.kernel).context("weak.kernel")?,
            threads: match self.threads {
                0 => (threads(0) / teams).max(1),
                threads => threads,
            },
            kv_tokens: self
                .kv_tokens
                .checked_mul(pools)
                .context("weak.kv_tokens: too many")?,
            max_context: self.max_context,
            kv: self.kv,
        })
    }
}

/// The weak model with all that goes with it.
pub struct Weak {
    /// Also the strong model's, unless answers are retokenized (SPEC 3.5).
    pub tokenizer: Tokenizer,
    /// The same, as the codec has it.
    pub vocabulary: Vocabulary,
    /// What encoder and decoder must have alike.
    pub settings: Settings,
    /// Holds the weights, and what begins with `prefixes`.
    pub model: Model,
    /// The tokens that a conversation with one of the configured system prompts begins with.
    pub prefixes: Vec<Vec<Token>>,
    /// What `model` was loaded with, for twins.
    pub options: Options,
    /// What the opening compares.
    pub agreement: Agreement,
}

impl Weak {
    /// Loads and checks everything.
    ///
    /// # Errors
    /// A value out of range, by its key; what is wrong with the file; a machine that computes wrongly.
    pub fn load(config: &WeakConfig, session: &SessionConfig, layout: Layout) -> Result<Self> {
        let options = config.options(session.batches, layout)?;
        let source = Source::weak(&config.file);
        let tokenizer = source.tokenizer()?;
        let mut model = source.model(&options)?;
        let settings = session.settings();
        // By these outer admits queries: were inner's sizes smaller, the first query that does not fit would end the session; were
        // its kind of keys and values another, it would predict something else. SPEC 6.2.
        let service = Service {
            retokenize: session.retokenize,
            slots: session.slots,
            kv_tokens: config.kv_tokens as u64,
            max_context: model.max_context() as u64,
            kv: config.kv as u8,
            least_tau: session.least_tau(),
        };
        let agreement = Agreement {
            model: model.hash(),
            tokenizer: tokenizer.hash(),
            codec: agreement(&settings),
            service: service.to_bytes(),
        };
        report("weak", &source, &model);
        let prefixes = prompts::prefixes(&config.system_prompts, &tokenizer, config.kv_tokens)?;
        prompts::share("weak", &mut model, &prefixes)?;
        Ok(Self {
            vocabulary: vocabulary(&tokenizer),
            tokenizer,
            settings,
            model,
            prefixes,
            options,
            agreement,
        })
    }
}

/// The log's line about a model that was loaded.
pub fn report(role: &str, source: &Source, model: &Model) {
    let info = model.info();
    tracing::info!(
        file = source.name(),
        architecture = info.architecture,
        parameters = info.parameters,
        kernel = info.kernel.name(),
        context = model.max_context(),
        kv_bytes = info.kv_bytes,
        hash = blake3::Hash::from(model.hash()).to_hex().as_str(),
        "{role} model"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opening_compares_whatever_admits_a_query_or_changes_a_prediction() {
        let load = |weak: &WeakConfig, slots| {
            let session = SessionConfig {
                slots,
                ..SessionConfig::default()
            };
            Weak::load(weak, &session, Layout::Apart)
                .unwrap()
                .agreement
                .service
        };
        let weak = WeakConfig {
            threads: 1,
            kv_tokens: 512,
            max_context: 256,
            ..WeakConfig::default()
        };
        let ours = load(&weak, 4);
        assert_ne!(ours, load(&weak, 5));
        for other in [
            WeakConfig {
                kv_tokens: 1024,
                ..weak.clone()
            },
            WeakConfig {
                max_context: 255,
                ..weak.clone()
            },
            WeakConfig {
                kv: Kv::Int8,
                ..weak.clone()
            },
        ] {
            assert_ne!(ours, load(&other, 4));
        }
        // Threads, kernels and system prompts are each end's own affair, and so is a context beyond what the model was made
        // for.
        let wide = |max_context, prompts: &[&str]| WeakConfig {
            max_context,
            kernel: "portable".to_owned(),
            system_prompts: prompts.iter().map(|&prompt| prompt.to_owned()).collect(),
            ..weak.clone()
        };
        assert_eq!(load(&wide(4096, &[]), 4), load(&wide(1 << 20, &["Be brief."]), 4));
    }

    #[test]
    fn one_pool_for_all_batches_or_one_each() {
        let weak = WeakConfig {
            threads: 3,
            kv_tokens: 100,
            ..WeakConfig::default()
        };
        let together = weak.options(4, Layout::Together).unwrap();
        assert_eq!((together.kv_tokens, together.threads), (400, 3));
        let apart = weak.options(4, Layout::Apart).unwrap();
        assert_eq!((apart.kv_tokens, apart.threads), (100, 3));
        let huge = WeakConfig {
            kv_tokens: usize::MAX,
            ..weak
        };
        let error = huge.options(2, Layout::Together).unwrap_err().to_string();
        assert!(error.contains("weak.kv_tokens"), "{error}");
        let odd = WeakConfig {
            kernel: "fast".to_owned(),
            ..WeakConfig::default()
        };
        let error = format!("{:#}", odd.options(1, Layout::Apart).unwrap_err());
        assert!(error.contains("weak.kernel") && error.contains("fast"), "{error}");
    }
}
