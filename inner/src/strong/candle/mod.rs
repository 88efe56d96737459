//! The strong model on candle: Llama and Qwen2 from GGUF files, in whatever types candle reads.
//!
//! One copy of the weights, one cache per query. Queries are run one after the other; the exact engine is the one
//! that batches.

mod qwen2;
#[cfg(test)]
mod tests;

use super::adviser::Adviser;
use super::chooser::Chooser;
use super::{Failed, Handle, Refused, Sink, Strong};
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::{MAX_SEQ_LEN, ModelWeights};
use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::sync::Arc;
use weir_codec::Query;
use weir_model::{Kernel, Token};

/// A strong engine over candle.
pub struct Candle {
    /// Never fed; cloned for each query.
    fresh: Conversation,
    device: Device,
    context: usize,
    vocab: usize,
    /// Positions that all live queries may fill together, and what is promised to them.
    positions: usize,
    promised: usize,
    queries: BTreeMap<Handle, Live>,
    chooser: Chooser,
}

/// Why a file was not loaded, or a query could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Candle's own reason.
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),
    /// An architecture that this engine has no graph for.
    #[error("candle engine: general.architecture is {0:?}, expected llama or qwen2")]
    Architecture(String),
    /// The model cannot say every token that it is to be asked for.
    #[error("candle engine: the model has {got} tokens, fewer than the {expected} that it may say")]
    Vocabulary {
        /// Rows of the strong model's output.
        got: usize,
        /// The vocabulary that the engine was loaded for.
        expected: usize,
    },
}

/// A cache with the weights it belongs to; clones share the weights.
#[derive(Clone)]
enum Conversation {
    /// Cloned tensors are shared. The number counts positions fed.
    Llama(Box<ModelWeights>, usize),
    Qwen2(Arc<qwen2::Weights>, qwen2::Cache),
}

struct Live {
    conversation: Conversation,
    /// Not fed yet: the prompt at first, then the last token.
    pending: Vec<Token>,
    promised: usize,
}

impl Candle {
    /// Reads a GGUF file. The engine says only tokens below `vocab`, holds at most `context` positions of one query
    /// and `positions` of all of them. Samples with `kernel`; candle has its own.
    pub fn load<R: Read + Seek>(
        file: &mut R,
        vocab: usize,
        context: usize,
        positions: usize,
        kernel: Kernel,
    ) -> Result<Self, Error> {
        let device = Device::Cpu;
        let mut content = Content::read(file)?;
        let text = |key: &str| content.metadata.get(key).and_then(|value| value.to_string().ok());
        let architecture = text("general.architecture").cloned().unwrap_or_default();
        let trained = content.metadata.get(&format!("{architecture}.context_length"));
        let trained = trained
            .and_then(|value| value.to_u32().ok())
            .map_or(context, |n| n as usize);
        let rows = content
            .tensor_infos
            .get("token_embd.weight")
            .map_or(0, |info| info.shape.dims()[0]);
        if rows < vocab {
            return Err(Error::Vocabulary {
                got: rows,
                expected: vocab,
            });
        }
        let mut context = context.min(trained);
        let fresh = match architecture.as_str() {
            "llama" => {
                default_rope(&mut content);
                context = context.min(MAX_SEQ_LEN);
                Conversation::Llama(Box::new(ModelWeights::from_gguf(content, file, &device)?), 0)
            }
            "qwen2" => {
                let weights = qwen2::Weights::load(&content, file, &device, context)?;
                Conversation::Qwen2(Arc::new(weights), qwen2::Cache::default())
            }
            _ => return Err(Error::Architecture(architecture)),
        };
        Ok(Self {
            fresh,
            device,
            context,
            vocab,
            positions,
            promised: 0,
            queries: BTreeMap::new(),
            chooser: Chooser::new(kernel),
        })
    }

    /// The same; with an adviser, queries may allow a deviation.
    pub fn with_adviser(mut self, adviser: Option<Adviser>) -> Self {
        self.chooser = self.chooser.with_adviser(adviser);
        self
    }

    /// Positions of one query.
    pub fn max_context(&self) -> usize {
        self.context
    }
}

impl Strong for Candle {
    fn admit(&mut self, handle: Handle, query: &Query) -> Result<(), Refused> {
        if query.prompt.is_empty() || query.prompt.iter().any(|&token| token as usize >= self.vocab) {
            return Err(Refused::BadPrompt);
        }
        // The last token of an answer is sent but never fed.
        let promised = query.prompt.len() + query.max_tokens as usize;
        if promised > self.context + 1 {
            return Err(Refused::TooLong);
        }
        if self.promised + promised > self.positions {
            return Err(Refused::Full);
        }
        self.chooser.admit(handle, query)?;
        let live = Live {
            conversation: self.fresh.clone(),
            pending: query.prompt.clone(),
            promised,
        };
        self.promised += promised;
        self.queries.insert(handle, live);
        Ok(())
    }

    fn advance(&mut self, wants: &[(Handle, usize)], sink: &mut Sink<'_>) {
        let mut rows: Vec<(Handle, usize)> = wants.to_vec();
        rows.retain(|(_, count)| *count > 0);
        while !rows.is_empty() {
            rows.retain_mut(|(handle, left)| {
                let Some(query) = self.queries.get_mut(handle) else {
                    return false;
                };
                *left -= 1;
                self.chooser.consult(core::iter::once(*handle));
                let token = match query.next(&self.device) {
                    Ok(logits) => self.chooser.choose(*handle, &logits[..self.vocab]),
                    Err(error) => {
                        tracing::error!(%error, "the strong model failed");
                        Err(Failed)
                    }
                };
                if let Ok(token) = token {
                    query.pending.push(token);
                }
                let failed = token.is_err();
                sink(*handle, token).is_continue() && !failed && *left > 0
            });
        }
    }

    fn dismiss(&mut self, handle: Handle) {
        if let Some(query) = self.queries.remove(&handle) {
            self.promised -= query.promised;
            self.chooser.dismiss(handle);
        }
    }
}

/// Files may leave out how much of a head is rotated when it is all of it; candle wants to be told.
fn default_rope(content: &mut Content) {
    let number = |key: &str| content.metadata.get(key).and_then(|value| value.to_u32().ok());
    let (width, heads) = (
        number("llama.embedding_length"),
        number("llama.attention.head_count"),
    );
    if let (Some(width), Some(heads)) = (width, heads.filter(|&heads| heads > 0)) {
        let rotated = Value::U32(width / heads);
        content
            .metadata
            .entry("llama.rope.dimension_count".to_owned())
            .or_insert(rotated);
    }
}

impl Live {
    /// Feeds what is pending and gives the logits after it.
    fn next(&mut self, device: &Device) -> Result<Vec<f32>, Error> {
        let tokens = Tensor::new(self.pending.as_slice(), device)?.unsqueeze(0)?;
        let logits = match &mut self.conversation {
            Conversation::Llama(model, fed) => {
                let logits = model.forward(&tokens, *fed)?;
                *fed += self.pending.len();
                logits
            }
            Conversation::Qwen2(weights, cache) => weights.forward(cache, &tokens)?,
        };
        self.pending.clear();
        Ok(logits.flatten_all()?.to_vec1::<f32>()?)
    }
}
