//! The byte-level BPE that both models share, trained on the training split.
//!
//! Same construction as SmolLM's: digits stand alone, GPT-2's word pattern, all 256 bytes in the vocabulary, so any
//! text can be said. Ids: the three special tokens, then the bytes, then the merges in order of their rank.

use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, models::TrainerWrapper};

use crate::corpus::Example;

/// Id of `<|endoftext|>`: padding.
pub const END_OF_TEXT: u32 = 0;
/// Id of `<|im_start|>`: opens a ChatML message.
pub const IM_START: u32 = 1;
/// Id of `<|im_end|>`: closes a ChatML message; the end token of the pair.
pub const IM_END: u32 = 2;
/// The special tokens by id.
pub const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// ChatML without a default system prompt: a short prompt is cheap to prefill on a small machine.
pub const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + \
    message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ \
    '<|im_start|>assistant\n' }}{% endif %}";

/// A trained tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Trains on `examples`, to at most `vocab` tokens. The template's role names are part of the text, so that a
    /// message's head takes few tokens.
    pub fn train(examples: &[Example], vocab: usize) -> Result<Self> {
        ensure!(
            vocab >= 256 + SPECIAL.len(),
            "a byte-level vocabulary of {vocab} cannot hold 256 bytes"
        );
        let mut inner = tokenizers::Tokenizer::new(BPE::default());
        inner.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
            Digits::new(true).into(),
            ByteLevel::new(false, true, true).into(),
        ]))));
        inner.with_decoder(Some(ByteLevel::default()));
        let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
            .vocab_size(vocab)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(SPECIAL.iter().map(|s| AddedToken::from(*s, true)).collect())
            .build()
            .into();
        let texts = examples
            .iter()
            .flat_map(|e| [format!("user\n{}", e.prompt), format!("assistant\n{}", e.answer)]);
        inner
            .train(&mut trainer, texts)
            .map_err(|e| anyhow!("tokenizer training: {e}"))?;
        Self::checked(inner)
    }

    /// Reads a `tokenizer.json` that [`Tokenizer::save`] wrote.
    pub fn load(path: &Path) -> Result<Self> {
        let inner = tokenizers::Tokenizer::from_file(path)
            .map_err(|e| anyhow!("tokenizer {}: {e}", path.display()))?;
        Self::checked(inner)
    }

    /// Writes `tokenizer.json`.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.inner
            .save(path, false)
            .map_err(|e| anyhow!("tokenizer {}: {e}", path.display()))
    }

    /// Number of tokens, specials included.
    pub fn vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Tokens of plain text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|e| anyhow!("encode {text:?}: {e}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text of tokens, specials left out; bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.inner
            .decode(tokens, true)
            .map_err(|e| anyhow!("decode: {e}"))
    }

    /// `<|im_start|>user … <|im_start|>assistant\n`: what a model is given before it answers.
    pub fn prompt(&self, prompt: &str) -> Result<Vec<u32>> {
        let mut tokens = vec![IM_START];
        tokens.extend(self.encode(&format!("user\n{prompt}"))?);
        tokens.push(IM_END);
        tokens.extend(self.encode("\n")?);
        tokens.push(IM_START);
        tokens.extend(self.encode("assistant\n")?);
        Ok(tokens)
    }

    /// Tokens in the byte-level alphabet, by id.
    pub fn pieces(&self) -> Result<Vec<String>> {
        (0..self.vocab() as u32)
            .map(|id| {
                self.inner
                    .id_to_token(id)
                    .with_context(|| format!("no token {id}"))
            })
            .collect()
    }

    /// Merges by rank, each `"left right"` as GGUF wants it.
    pub fn merges(&self) -> Result<Vec<String>> {
        let json = self
            .inner
            .to_string(false)
            .map_err(|e| anyhow!("tokenizer: {e}"))?;
        let json: serde_json::Value = serde_json::from_str(&json)?;
        let merges = json["model"]["merges"]
            .as_array()
            .context("tokenizer.json has no merges")?;
        merges
            .iter()
            .map(|merge| match merge.as_array().map(Vec::as_slice) {
                Some([left, right]) => {
                    let text =
                        |v: &serde_json::Value| v.as_str().map(str::to_owned).context("merge is no string");
                    Ok(format!("{} {}", text(left)?, text(right)?))
                }
                _ => merge
                    .as_str()
                    .map(str::to_owned)
                    .context("merge is neither a pair nor a string"),
            })
            .collect()
    }

    fn checked(inner: tokenizers::Tokenizer) -> Result<Self> {
        for (id, special) in SPECIAL.iter().enumerate() {
            ensure!(
                inner.token_to_id(special) == Some(id as u32),
                "special token {special} is not id {id}"
            );
        }
        Ok(Self { inner })
    }
}
