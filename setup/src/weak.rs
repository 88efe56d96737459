//! The weak model's settings, and the model with all that both ends must agree on.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use weir_codec::{Settings, Vocabulary, agreement};
use weir_model::{Model, Options, PAGE, Predict, Tokenizer};
use weir_wire::Agreement;

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
}

impl Default for WeakConfig {
    fn default() -> Self {
        Self {
            file: EMBEDDED.to_owned(),
            kernel: "auto".to_owned(),
            threads: 0,
            kv_tokens: 65_536,
            max_context: 4096,
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
        })
    }
}

/// The weak model with all that goes with it.
pub struct Weak {
    /// Also the strong model's (SPEC 3.5).
    pub tokenizer: Tokenizer,
    /// The same, as the codec has it.
    pub vocabulary: Vocabulary,
    /// What encoder and decoder must have alike.
    pub settings: Settings,
    /// Holds the weights.
    pub model: Model,
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
        let model = source.model(&options)?;
        let settings = session.settings();
        let agreement = Agreement {
            model: model.hash(),
            tokenizer: tokenizer.hash(),
            codec: agreement(&settings),
            service: service(session.slots, config.kv_tokens, model.max_context()),
        };
        report("weak", &source, &model);
        Ok(Self {
            vocabulary: vocabulary(&tokenizer),
            tokenizer,
            settings,
            model,
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
        hash = blake3::Hash::from(model.hash()).to_hex().as_str(),
        "{role} model"
    );
}

/// Hash of the sizes by which outer admits queries: were inner's smaller, the first query that does not fit would end
/// the session. SPEC 6.2.
fn service(slots: u8, kv_tokens: usize, max_context: usize) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"weir service 1");
    hasher.update(&[slots]);
    hasher.update(&(kv_tokens as u64).to_be_bytes());
    hasher.update(&(max_context as u64).to_be_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opening_compares_whatever_admits_a_query() {
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
        ] {
            assert_ne!(ours, load(&other, 4));
        }
        // Threads and kernels are each end's own affair, and so is a context beyond what the model was made for.
        let wide = |max_context| WeakConfig {
            max_context,
            kernel: "portable".to_owned(),
            ..weak.clone()
        };
        assert_eq!(load(&wide(4096), 4), load(&wide(1 << 20), 4));
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
