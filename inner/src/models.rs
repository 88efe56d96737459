//! The strong model, on the engine that fits it.

use crate::config::{Config, Engine, NO_CANDLE, StrongConfig};
use crate::strong::Strong;
use crate::strong::adviser::Adviser;
use crate::strong::exact::Exact;
use anyhow::{Context, bail, ensure};
use weir_model::{Kv, Options, Predict, Tokenizer, TokenizerMetadata};
use weir_setup::source::{kernel, threads};
use weir_setup::weak::report;
use weir_setup::{Source, Weak, prompts};

/// The strong model's tokenizer if answers are to be retokenized; else it must be the weak one's.
pub(crate) fn tokenizer(config: &Config, weak: &Tokenizer) -> anyhow::Result<Option<Tokenizer>> {
    let file = &config.strong.file;
    let own = Source::strong(file)
        .tokenizer()
        .with_context(|| format!("tokenizer of the strong model {file}"))?;
    match (
        same_tokens(own.metadata(), weak.metadata()),
        config.session.retokenize,
    ) {
        (Ok(()), false) => Ok(None),
        (Err(difference), false) => bail!(
            "{difference}; take a weak model of the strong one's family, or set session.retokenize (--retokenize) on \
             both ends"
        ),
        (Err(_), true) => Ok(Some(own)),
        (Ok(()), true) => {
            tracing::warn!(
                "strong and weak model share a tokenizer: --retokenize only loses the help of the seed"
            );
            Ok(Some(own))
        }
    }
}

/// Loads the strong model. It says the tokens of `own`, or those of the weak model.
pub(crate) fn strong(
    config: &Config,
    weak: &Weak,
    own: Option<&Tokenizer>,
) -> anyhow::Result<Box<dyn Strong>> {
    let Config {
        strong: config,
        weak: shared,
        session,
        ..
    } = config;
    let source = Source::strong(&config.file);
    let vocab = agreed(own, &weak.tokenizer, weak.model.vocab());
    let context = weak.model.max_context();
    let adviser = adviser(config, weak, session.least_tau())?;
    if config.engine != Engine::Candle {
        let options = Options {
            kernel: kernel(&config.kernel).context("strong.kernel")?,
            threads: threads(config.threads),
            kv_tokens: config.kv_tokens,
            max_context: config.max_context,
            kv: Kv::F32,
        };
        match source.model(&options) {
            Ok(mut model) => {
                report("strong", &source, &model);
                fits(model.max_context(), context);
                let prefixes = match own {
                    Some(own) => &prompts::prefixes(&shared.system_prompts, own, shared.kv_tokens)?,
                    None => &weak.prefixes,
                };
                prompts::share("strong", &mut model, prefixes)?;
                let engine = Exact::new(model, vocab, config.kv_tokens, options.kernel);
                return Ok(Box::new(engine.with_adviser(adviser)));
            }
            // A file that is damaged fails again below, with candle's reason.
            Err(error @ weir_model::Error::Format { .. })
                if config.engine == Engine::Auto && cfg!(feature = "candle") =>
            {
                tracing::info!(%error, "the exact engine does not load the strong model; trying candle");
            }
            Err(error @ weir_model::Error::Format { .. }) if config.engine == Engine::Auto => {
                let both = format!("the exact engine does not take the strong model, and {NO_CANDLE}");
                return Err(anyhow::Error::new(error).context(both));
            }
            Err(error) => return Err(error.into()),
        }
    }
    candle(config, &source, vocab, context, adviser)
}

/// V of SPEC 4.5: tokens that the strong model may say. A model whose rows were padded to more says none of those, and the
/// weak one must have a row for each.
fn agreed(own: Option<&Tokenizer>, shared: &Tokenizer, rows: usize) -> usize {
    own.map_or_else(|| shared.vocab().min(rows), Tokenizer::vocab)
}

/// The weak model once more, for queries that let it have a say: its weights are shared, its pool is its own. Such queries
/// may have a `tau` of `least_tau` and more.
fn adviser(config: &StrongConfig, weak: &Weak, least_tau: f32) -> anyhow::Result<Option<Adviser>> {
    if least_tau >= 1.0 {
        return Ok(None);
    }
    let positions = lossy_positions(config, &weak.options);
    let options = Options {
        kv_tokens: positions,
        ..weak.options.clone()
    };
    let twin = weak.model.twin(&options)?;
    Ok(Some(Adviser::new(Box::new(twin), positions, least_tau)))
}

/// Outer knows nothing of the adviser's pool: the default has room for all that it admits (SPEC 6.2).
fn lossy_positions(config: &StrongConfig, weak: &Options) -> usize {
    match config.lossy_kv_tokens {
        0 => weak.kv_tokens,
        positions => positions,
    }
}

/// Template and end tokens may differ: the weak model's are in force for both (SPEC 3.5).
fn same_tokens(strong: &TokenizerMetadata, weak: &TokenizerMetadata) -> anyhow::Result<()> {
    let differs = |what: &str| {
        format!(
            "strong and weak model have different tokenizers ({what}): token ids of one mean nothing to the other"
        )
    };
    ensure!(strong.pre == weak.pre, differs("pre-tokenizer"));
    ensure!(strong.tokens == weak.tokens, differs("vocabulary"));
    ensure!(strong.merges == weak.merges, differs("merges"));
    Ok(())
}

#[cfg(feature = "candle")]
fn candle(
    config: &StrongConfig,
    source: &Source,
    vocab: usize,
    context: usize,
    adviser: Option<Adviser>,
) -> anyhow::Result<Box<dyn Strong>> {
    use crate::strong::candle::Candle;
    let StrongConfig {
        max_context,
        kv_tokens,
        ..
    } = *config;
    let kernel = kernel(&config.kernel).context("strong.kernel")?;
    let engine = match source.embedded() {
        Some(bytes) => Candle::load(
            &mut std::io::Cursor::new(bytes),
            vocab,
            max_context,
            kv_tokens,
            kernel,
        ),
        None => {
            let file = std::fs::File::open(source.name()).with_context(|| source.name().to_owned())?;
            Candle::load(
                &mut std::io::BufReader::new(file),
                vocab,
                max_context,
                kv_tokens,
                kernel,
            )
        }
    };
    let engine = engine.with_context(|| format!("strong model {}", source.name()))?;
    tracing::info!(
        file = source.name(),
        context = engine.max_context(),
        "strong model on candle"
    );
    fits(engine.max_context(), context);
    Ok(Box::new(engine.with_adviser(adviser)))
}

#[cfg(not(feature = "candle"))]
fn candle(
    _: &StrongConfig,
    source: &Source,
    _: usize,
    _: usize,
    _: Option<Adviser>,
) -> anyhow::Result<Box<dyn Strong>> {
    bail!("strong model {}: {NO_CANDLE}", source.name())
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

#[cfg(test)]
mod tests {
    use super::*;
    use weir_setup::WeakConfig;
    use weir_setup::weak::Layout;

    #[test]
    fn a_pair_must_share_its_tokens_but_not_its_template() {
        let weak = Source::weak("embedded").tokenizer().unwrap();
        let weak = weak.metadata();
        let edited = |edit: fn(&mut TokenizerMetadata)| {
            let mut strong = weak.clone();
            edit(&mut strong);
            same_tokens(&strong, weak).map_err(|error| error.to_string())
        };
        edited(|strong| strong.chat_template = None).unwrap();
        assert!(edited(|s| s.pre.push('x')).unwrap_err().contains("pre-tokenizer"));
        assert!(
            edited(|s| s.tokens.swap(40, 41))
                .unwrap_err()
                .contains("vocabulary")
        );
        assert!(edited(|s| drop(s.merges.pop())).unwrap_err().contains("merges"));
    }

    #[test]
    fn the_tokenizer_says_how_many_tokens_there_are() {
        let shared = Source::weak("embedded").tokenizer().unwrap();
        let mut metadata = shared.metadata().clone();
        metadata.tokens.push("one more".to_owned());
        metadata.types.push(weir_model::TokenType::Control);
        let own = Tokenizer::from_metadata("own", metadata).unwrap();
        let vocab = shared.vocab();
        assert_eq!(agreed(None, &shared, vocab + 64), vocab, "rows of padding");
        assert_eq!(agreed(None, &shared, vocab - 1), vocab - 1);
        assert_eq!(agreed(Some(&own), &shared, vocab), vocab + 1);
    }

    #[test]
    fn lossy_queries_have_room_for_all_that_outer_admits() {
        let weak = WeakConfig {
            kv_tokens: 640,
            ..WeakConfig::default()
        };
        let options = weak.options(3, Layout::Together).unwrap();
        let mut config = StrongConfig::default();
        assert_eq!(lossy_positions(&config, &options), 3 * 640);
        config.lossy_kv_tokens = 128;
        assert_eq!(lossy_positions(&config, &options), 128);
    }
}
