//! What a container carries about its tokenizer, judged before anything is built from it: SPEC 3.1.

use serde::{Deserialize, Serialize};

use super::split::{SUPPORTED, Splitter};
use crate::file::metadata::{Metadata, Value};
use crate::{Error, Token};

/// The `tokenizer.*` part of a GGUF file as plain fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerMetadata {
    /// `tokenizer.ggml.model`; only `gpt2` (byte-level BPE) is known.
    pub model: String,
    /// `tokenizer.ggml.pre`: how text is cut into words.
    pub pre: String,
    /// `tokenizer.ggml.tokens`, by id: in the byte-level alphabet if normal, else as they are.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type`, as many as `tokens`.
    pub types: Vec<TokenType>,
    /// `tokenizer.ggml.merges`, best first: two tokens with a space between them.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`; only chat templates ask for it.
    pub bos: Option<Token>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<Token>,
    /// `tokenizer.ggml.eot_token_id`.
    pub eot: Option<Token>,
    /// `tokenizer.ggml.eom_token_id`.
    pub eom: Option<Token>,
    /// `tokenizer.chat_template`, in Jinja.
    pub chat_template: Option<String>,
}

/// What a token is for, with GGUF's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum TokenType {
    /// Bytes of text.
    Normal = 1,
    /// Stands for text that could not be encoded; never produced here.
    Unknown = 2,
    /// Steers the model; has no bytes and never comes from user text.
    Control = 3,
    /// Text that is found before words are cut; user text may hold it.
    UserDefined = 4,
    /// A hole in the table.
    Unused = 5,
}

impl TokenizerMetadata {
    /// Takes the fields out of GGUF metadata; [`super::Tokenizer::from_metadata`] judges them.
    pub(crate) fn from_gguf(gguf: &Metadata) -> Result<Self, Error> {
        let strings = |key: &str| -> Result<Vec<String>, Error> {
            let found = gguf.strings(key)?;
            Ok(gguf.need(key, found)?.into_iter().map(str::to_owned).collect())
        };
        let name = |key: &str| Ok::<_, Error>(gguf.need(key, gguf.str(key)?)?.to_owned());
        let token = |key: &str| {
            let found = gguf.uint(key)?.map(Token::try_from);
            found.transpose().map_err(|_| gguf.wrong(key, "a token id"))
        };
        let tokens = strings("tokenizer.ggml.tokens")?;
        Ok(Self {
            model: name("tokenizer.ggml.model")?,
            pre: name("tokenizer.ggml.pre")?,
            types: match gguf.array(TYPES)? {
                Some(types) => types
                    .iter()
                    .map(|value| token_type(gguf, value))
                    .collect::<Result<_, _>>()?,
                None => vec![TokenType::Normal; tokens.len()],
            },
            tokens,
            merges: strings("tokenizer.ggml.merges")?,
            bos: token("tokenizer.ggml.bos_token_id")?,
            eos: token("tokenizer.ggml.eos_token_id")?,
            eot: token("tokenizer.ggml.eot_token_id")?,
            eom: token("tokenizer.ggml.eom_token_id")?,
            chat_template: gguf.str("tokenizer.chat_template")?.map(str::to_owned),
        })
    }

    /// The checks that need no tables; gives the splitter that `pre` names.
    pub(super) fn check(&self, name: &str) -> Result<Splitter, Error> {
        let refuse = |key: &str, expected: String, got: String| Err(Error::format(name, key, expected, got));
        if self.model != "gpt2" {
            return refuse(
                "tokenizer.ggml.model",
                "gpt2 (byte-level BPE)".into(),
                format!("{:?}", self.model),
            );
        }
        let Some(splitter) = Splitter::new(&self.pre) else {
            return refuse("tokenizer.ggml.pre", SUPPORTED.into(), format!("{:?}", self.pre));
        };
        if self.tokens.is_empty() || self.tokens.len() > MAX_VOCAB {
            let got = self.tokens.len().to_string();
            return refuse("tokenizer.ggml.tokens", format!("1 to {MAX_VOCAB} tokens"), got);
        }
        if self.types.len() != self.tokens.len() {
            return refuse(
                TYPES,
                format!("{} types", self.tokens.len()),
                self.types.len().to_string(),
            );
        }
        let special = |kind: &&TokenType| !matches!(kind, TokenType::Normal | TokenType::Unused);
        let specials = self.types.iter().filter(special).count();
        if specials > MAX_SPECIALS {
            return refuse(
                TYPES,
                format!("at most {MAX_SPECIALS} special tokens"),
                specials.to_string(),
            );
        }
        let ids = [
            ("bos", self.bos),
            ("eos", self.eos),
            ("eot", self.eot),
            ("eom", self.eom),
        ];
        for (which, id) in ids.into_iter().filter_map(|(which, id)| Some((which, id?))) {
            if id as usize >= self.tokens.len() {
                let key = format!("tokenizer.ggml.{which}_token_id");
                return refuse(&key, format!("less than {}", self.tokens.len()), id.to_string());
            }
        }
        Ok(splitter)
    }

    /// SPEC 3.6: every field in order, each string and list preceded by its length.
    pub(super) fn hash(&self) -> [u8; 32] {
        let Self {
            model,
            pre,
            tokens,
            types,
            merges,
            bos,
            eos,
            eot,
            eom,
            chat_template,
        } = self;
        let mut hash = blake3::Hasher::new_derive_key("weir tokenizer 1");
        let number = |hash: &mut blake3::Hasher, n: usize| {
            hash.update(&(n as u64).to_be_bytes());
        };
        let string = |hash: &mut blake3::Hasher, s: &str| {
            number(hash, s.len());
            hash.update(s.as_bytes());
        };
        string(&mut hash, model);
        string(&mut hash, pre);
        number(&mut hash, tokens.len());
        for (token, kind) in tokens.iter().zip(types) {
            hash.update(&[*kind as u8]);
            string(&mut hash, token);
        }
        number(&mut hash, merges.len());
        merges.iter().for_each(|merge| string(&mut hash, merge));
        for id in [bos, eos, eot, eom] {
            // 2^32 is no id: it stands for an absent one.
            number(&mut hash, id.map_or(1 << 32, |id| id as usize));
        }
        string(&mut hash, chat_template.as_deref().unwrap_or_default());
        *hash.finalize().as_bytes()
    }
}

fn token_type(gguf: &Metadata, value: &Value) -> Result<TokenType, Error> {
    Ok(match *value {
        Value::Uint(1) => TokenType::Normal,
        Value::Uint(2) => TokenType::Unknown,
        Value::Uint(3) => TokenType::Control,
        Value::Uint(4) => TokenType::UserDefined,
        Value::Uint(5) => TokenType::Unused,
        _ => {
            return Err(Error::format(
                gguf.file(),
                TYPES,
                "types 1 to 5",
                format!("{value:?}"),
            ));
        }
    })
}

const TYPES: &str = "tokenizer.ggml.token_type";
/// Most tokens: eight times the largest vocabulary in use.
const MAX_VOCAB: usize = 1 << 21;
/// Most tokens that are searched for by their text. Each is one more pass over a prompt; Llama 3 has 256.
const MAX_SPECIALS: usize = 4096;
