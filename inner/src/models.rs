//! Loading the pair, and what both ends must agree on about it.

use crate::config::{Config, Engine, StrongConfig, kernel, threads};
use crate::strong::Strong;
use crate::strong::exact::Exact;
use anyhow::{Context, ensure};
use std::path::Path;
use weir_codec::{Settings, Vocabulary, agreement};
use weir_model::{Model, Options, Predict, Tokenizer, embedded};
use weir_wire::Agreement;

/// Everything that is computed with.
pub(crate) struct Pair {
    pub(crate) strong: Box<dyn Strong>,
    pub(crate) weak: Model,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) agreement: Agreement,
}

impl Pair {
    /// Loads both models and checks that they speak of the same tokens.
    pub(crate) fn load(config: &Config, settings: &Settings) -> anyhow::Result<Self> {
        let source = Source::new(&config.weak.file, embedded::weak);
        let options = Options {
            kernel: kernel("weak.kernel", &config.weak.kernel)?,
            threads: threads(config.weak.threads),
            // One pool for all batches.
            kv_tokens: config.weak.kv_tokens * usize::from(config.session.batches),
            max_context: config.weak.max_context,
        };
        Model::self_check(&options)?;
        let tokenizer = source.tokenizer()?;
        let vocabulary = vocabulary(&tokenizer);
        let weak = source.model(&options)?;
        let agreement = Agreement {
            model: weak.hash(),
            tokenizer: tokenizer.hash(),
            codec: agreement(settings),
            service: [0; 32],
        };
        report("weak", &source, &weak);
        let (vocab, context) = (weak.vocab(), weak.max_context());
        let strong = load_strong(&config.strong, &tokenizer, vocab, context)?;
        Ok(Self {
            strong,
            weak,
            vocabulary,
            agreement,
        })
    }
}

/// Where a model comes from.
struct Source<'a> {
    name: &'a str,
    embedded: Option<&'static [u8]>,
}

impl<'a> Source<'a> {
    fn new(name: &'a str, embedded: fn() -> &'static [u8]) -> Self {
        Self {
            name,
            embedded: (name == "embedded").then(embedded),
        }
    }

    fn model(&self, options: &Options) -> Result<Model, weir_model::Error> {
        match self.embedded {
            Some(bytes) => Model::from_bytes(self.name, bytes, options),
            None => Model::load(Path::new(self.name), options),
        }
    }

    fn tokenizer(&self) -> Result<Tokenizer, weir_model::Error> {
        match self.embedded {
            Some(bytes) => Tokenizer::from_bytes(self.name, bytes),
            None => Tokenizer::load(Path::new(self.name)),
        }
    }
}

fn load_strong(
    config: &StrongConfig,
    tokenizer: &Tokenizer,
    vocab: usize,
    context: usize,
) -> anyhow::Result<Box<dyn Strong>> {
    let source = Source::new(&config.file, embedded::strong);
    let own = source
        .tokenizer()
        .with_context(|| format!("tokenizer of the strong model {}", config.file))?;
    // Template and end tokens may differ: the weak model's are in force for both (SPEC 3.5).
    let (one, other) = (own.metadata(), tokenizer.metadata());
    ensure!(
        (&one.pre, &one.tokens, &one.merges) == (&other.pre, &other.tokens, &other.merges),
        "strong and weak model have different tokenizers: token ids of one mean nothing to the other"
    );
    if config.engine != Engine::Candle {
        let options = Options {
            kernel: kernel("strong.kernel", &config.kernel)?,
            threads: threads(config.threads),
            kv_tokens: config.kv_tokens,
            max_context: config.max_context,
        };
        Model::self_check(&options)?;
        match source.model(&options) {
            Ok(model) => {
                report("strong", &source, &model);
                fits(model.max_context(), context);
                return Ok(Box::new(Exact::new(model, vocab, config.kv_tokens)));
            }
            // A file that is damaged fails again below, with candle's reason.
            Err(error @ weir_model::Error::Format { .. }) if config.engine == Engine::Auto => {
                tracing::info!(%error, "the exact engine does not load the strong model; trying candle");
            }
            Err(error) => return Err(error.into()),
        }
    }
    candle(config, &source, vocab, context)
}

#[cfg(feature = "candle")]
fn candle(
    config: &StrongConfig,
    source: &Source<'_>,
    vocab: usize,
    context: usize,
) -> anyhow::Result<Box<dyn Strong>> {
    use crate::strong::candle::Candle;
    let StrongConfig {
        max_context,
        kv_tokens,
        ..
    } = *config;
    let engine = match source.embedded {
        Some(bytes) => Candle::load(&mut std::io::Cursor::new(bytes), vocab, max_context, kv_tokens),
        None => {
            let file = std::fs::File::open(source.name).with_context(|| source.name.to_owned())?;
            Candle::load(&mut std::io::BufReader::new(file), vocab, max_context, kv_tokens)
        }
    };
    let engine = engine.with_context(|| format!("strong model {}", source.name))?;
    tracing::info!(
        file = source.name,
        context = engine.max_context(),
        "strong model on candle"
    );
    fits(engine.max_context(), context);
    Ok(Box::new(engine))
}

#[cfg(not(feature = "candle"))]
fn candle(_: &StrongConfig, source: &Source<'_>, _: usize, _: usize) -> anyhow::Result<Box<dyn Strong>> {
    anyhow::bail!(
        "strong model {}: this program was built without the candle engine",
        source.name
    )
}

/// Outer admits queries by the weak model's context; those that the strong one cannot hold are refused.
fn fits(strong: usize, weak: usize) {
    if strong < weak {
        tracing::warn!(
            strong,
            weak,
            "the strong model's context is the shorter one: longer queries are refused"
        );
    }
}

fn report(role: &str, source: &Source<'_>, model: &Model) {
    let info = model.info();
    tracing::info!(
        file = source.name,
        architecture = info.architecture,
        parameters = info.parameters,
        kernel = info.kernel.name(),
        context = model.max_context(),
        "{role} model"
    );
}

fn vocabulary(tokenizer: &Tokenizer) -> Vocabulary {
    let tokens = 0..u32::try_from(tokenizer.vocab()).expect("token ids are u32");
    Vocabulary {
        bytes: tokens.map(|token| tokenizer.token_bytes(token).into()).collect(),
        end: tokenizer.end_tokens().to_vec(),
    }
}
