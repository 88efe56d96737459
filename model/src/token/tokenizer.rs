//! Byte-level BPE over the merges of a model's file.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use tokenizers::Model as _;
use tokenizers::models::bpe::{BPE, Vocab};

use super::alphabet::{byte_to_char, char_to_byte};
use super::metadata::{TokenType, TokenizerMetadata};
use super::split::Splitter;
use crate::file::{mapped, weirfile};
use crate::{Error, Token};

/// Text <-> tokens of one model. Immutable; share it by reference or `Arc` between threads.
#[derive(Debug)]
pub struct Tokenizer {
    metadata: TokenizerMetadata,
    bpe: BPE,
    splitter: Splitter,
    /// Bytes of all tokens, one after the other; token `t` is `ends[t - 1]..ends[t]`.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Control and unknown tokens, longest text first: SPEC 3.3.
    control: Vec<Special>,
    /// User-defined tokens, longest text first.
    user_defined: Vec<Special>,
    /// Both, longest text first.
    special: Vec<Special>,
    end: Vec<Token>,
    /// `encodable[b]`: the vocabulary has a token for the single byte `b`.
    encodable: [bool; 256],
    hash: [u8; 32],
}

/// A token that is found by its text before anything is cut into words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Special {
    pub(crate) text: String,
    pub(crate) token: Token,
}

/// A stretch of a text that was searched for special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Special(Token),
}

impl Tokenizer {
    /// Rebuilds the tokenizer of a GGUF or `.weir` file.
    ///
    /// Errors name the file, the metadata key, what is supported and what was found.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        Self::from_bytes(&name, &mapped::map(path)?)
    }

    /// Rebuilds the tokenizer of a GGUF or `.weir` file held in memory; `name` is for error messages.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        Self::from_metadata(
            name,
            TokenizerMetadata::from_gguf(&weirfile::metadata(name, bytes)?)?,
        )
    }

    /// Rebuilds the tokenizer from metadata that some container carried; `name` is for error messages.
    ///
    /// Total: any metadata gives a tokenizer or an error, never a panic. SPEC 3.1 lists what is refused.
    pub fn from_metadata(name: &str, metadata: TokenizerMetadata) -> Result<Self, Error> {
        let splitter = metadata.check(name)?;
        let (bytes, ends) = token_bytes(name, &metadata)?;
        let vocab = bpe_vocab(name, &metadata)?;
        let mut encodable = [false; 256];
        let mut single = [0u8; 4];
        for byte in 0..=u8::MAX {
            encodable[usize::from(byte)] = vocab.contains_key(&*byte_to_char(byte).encode_utf8(&mut single));
        }
        let merges = merges(name, &metadata, &vocab)?;
        // No cache: words of users' prompts do not stay in memory, and building a word is fast enough.
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .cache_capacity(0)
            .build()
            .map_err(|error| Error::Tokenizer(format!("{name}: tokenizer.ggml.merges: {error}")))?;
        let of = |wanted: &[TokenType]| specials(&metadata, wanted);
        Ok(Self {
            bpe,
            splitter,
            bytes,
            ends,
            control: of(&[TokenType::Control, TokenType::Unknown]),
            user_defined: of(&[TokenType::UserDefined]),
            special: of(&[TokenType::Control, TokenType::Unknown, TokenType::UserDefined]),
            end: end_tokens(&metadata),
            encodable,
            hash: metadata.hash(),
            metadata,
        })
    }

    /// Tokens of a user's text. Never a control token, whatever the text looks like; nothing is put before or
    /// after it.
    ///
    /// Bytes for which the vocabulary has no token are left out, as in llama.cpp: see [`Self::encodes`].
    pub fn encode(&self, text: &str) -> Vec<Token> {
        self.encode_around(&self.user_defined, text)
    }

    /// Tokens of arbitrary bytes; decoding them gives the same bytes back if the vocabulary covers them.
    ///
    /// Valid UTF-8 is encoded as by [`Self::encode`]; a run of other bytes is one word.
    pub fn encode_bytes(&self, bytes: &[u8]) -> Vec<Token> {
        let mut out = Vec::with_capacity(bytes.len() / 3);
        self.words(bytes, |word, token| {
            self.encode_piece(&bytes[word], token, &mut out)
        });
        out
    }

    /// Tokens of *trusted* text, in which the text of a control token means that token.
    pub fn encode_with_special(&self, text: &str) -> Vec<Token> {
        self.encode_around(&self.special, text)
    }

    /// The bytes of a token: none for control, unknown and unused tokens, and for ids outside the vocabulary.
    pub fn token_bytes(&self, token: Token) -> &[u8] {
        let at = token as usize;
        let Some(&end) = self.ends.get(at) else { return &[] };
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start..end]
    }

    /// The bytes of tokens, one after the other. They need not be UTF-8: see [`Utf8Stream`](crate::Utf8Stream).
    pub fn decode(&self, tokens: &[Token]) -> Vec<u8> {
        tokens
            .iter()
            .flat_map(|&token| self.token_bytes(token))
            .copied()
            .collect()
    }

    /// Tokens that end an answer, ascending. SPEC 3.5.
    pub fn end_tokens(&self) -> &[Token] {
        &self.end
    }

    /// Number of tokens.
    pub fn vocab(&self) -> usize {
        self.ends.len()
    }

    /// True if the vocabulary has a token for this single byte. A byte without one is lost by encoding:
    /// SmolLM2, for example, lacks some control characters and the bytes that UTF-8 never uses.
    pub fn encodes(&self, byte: u8) -> bool {
        self.encodable[usize::from(byte)]
    }

    /// Content hash over all that changes ids or bytes: SPEC 3.6.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// What the tokenizer was built from.
    pub fn metadata(&self) -> &TokenizerMetadata {
        &self.metadata
    }

    /// Control and unknown tokens, longest text first.
    pub(crate) fn control(&self) -> &[Special] {
        &self.control
    }

    /// Tokens of a text in which `specials` are found by their text.
    fn encode_around(&self, specials: &[Special], text: &str) -> Vec<Token> {
        let mut out = Vec::with_capacity(text.len() / 3);
        for piece in find_specials(text, specials) {
            match piece {
                Piece::Special(token) => out.push(token),
                Piece::Text(text) => self
                    .splitter
                    .split(text, |word| self.encode_word(word.as_bytes(), &mut out)),
            }
        }
        out
    }

    /// Calls `word` for each stretch of `bytes` that is encoded by itself, and with the token if it is a user-defined one
    /// (SPEC 3.2). Together they are all of it.
    pub(super) fn words(&self, bytes: &[u8], mut word: impl FnMut(Range<usize>, Option<Token>)) {
        // Up to `at` all is read, from `invalid` on it is not UTF-8.
        let (mut at, mut invalid) = (0, 0);
        for chunk in bytes.utf8_chunks() {
            if !chunk.valid().is_empty() && invalid < at {
                word(invalid..at, None);
            }
            for piece in find_specials(chunk.valid(), &self.user_defined) {
                let mut next = |len, token| {
                    word(at..at + len, token);
                    at += len;
                    invalid = at;
                };
                match piece {
                    Piece::Special(token) => next(self.token_bytes(token).len(), Some(token)),
                    Piece::Text(text) => self.splitter.split(text, |text| next(text.len(), None)),
                }
            }
            at += chunk.invalid().len();
        }
        if invalid < at {
            word(invalid..at, None);
        }
    }

    /// Tokens of what [`Self::words`] found.
    pub(super) fn encode_piece(&self, bytes: &[u8], token: Option<Token>, out: &mut Vec<Token>) {
        match token {
            Some(token) => out.push(token),
            None => self.encode_word(bytes, out),
        }
    }

    /// Merges one word. A byte without a token is left out, and no merge reaches across it (SPEC 3.2).
    fn encode_word(&self, word: &[u8], out: &mut Vec<Token>) {
        let mut mapped = String::with_capacity(word.len() * 2);
        for run in word
            .split(|&byte| !self.encodes(byte))
            .filter(|run| !run.is_empty())
        {
            mapped.clear();
            mapped.extend(run.iter().map(|&byte| byte_to_char(byte)));
            // Without dropout and unknown token the model has no way to fail; every character is in its
            // vocabulary.
            out.extend(
                self.bpe
                    .tokenize(&mapped)
                    .into_iter()
                    .flatten()
                    .map(|token| token.id),
            );
        }
    }
}

/// Cuts a text at special tokens: the longest special first, each from left to right in what is left (SPEC
/// 3.3).
pub(crate) fn find_specials<'a>(text: &'a str, specials: &[Special]) -> Vec<Piece<'a>> {
    let mut pieces = vec![Piece::Text(text)];
    for special in specials.iter().filter(|special| text.contains(&special.text)) {
        let mut next = Vec::with_capacity(pieces.len() + 2);
        for piece in pieces {
            let Piece::Text(mut rest) = piece else {
                next.push(piece);
                continue;
            };
            while let Some((before, after)) = rest.split_once(&special.text) {
                if !before.is_empty() {
                    next.push(Piece::Text(before));
                }
                next.push(Piece::Special(special.token));
                rest = after;
            }
            if !rest.is_empty() {
                next.push(Piece::Text(rest));
            }
        }
        pieces = next;
    }
    pieces
}

/// The tokens of some types, longest text first, then by id.
fn specials(metadata: &TokenizerMetadata, wanted: &[TokenType]) -> Vec<Special> {
    let typed = metadata.tokens.iter().zip(&metadata.types).zip(0..);
    let mut found: Vec<_> = typed
        .filter(|((_, kind), _)| wanted.contains(kind))
        .map(|((text, _), token)| Special {
            text: text.clone(),
            token,
        })
        .collect();
    found.sort_by_key(|special| (usize::MAX - special.text.len(), special.token));
    found
}

/// Bytes of every token, and where each ends.
fn token_bytes(name: &str, metadata: &TokenizerMetadata) -> Result<(Vec<u8>, Vec<usize>), Error> {
    let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(metadata.tokens.len()));
    for (id, (text, kind)) in metadata.tokens.iter().zip(&metadata.types).enumerate() {
        match kind {
            TokenType::Normal => {
                for c in text.chars() {
                    bytes.push(char_to_byte(c).ok_or_else(|| {
                        let got = format!("token {id} is {text:?}, with {c:?}");
                        Error::format(
                            name,
                            "tokenizer.ggml.tokens",
                            "characters of the byte-level alphabet",
                            got,
                        )
                    })?);
                }
            }
            TokenType::UserDefined => bytes.extend_from_slice(text.as_bytes()),
            TokenType::Control | TokenType::Unknown | TokenType::Unused => {}
        }
        ends.push(bytes.len());
    }
    Ok((bytes, ends))
}

/// The tokens that merges may use: normal ones, and user-defined ones whose text means itself in the byte
/// alphabet.
fn bpe_vocab(name: &str, metadata: &TokenizerMetadata) -> Result<Vocab, Error> {
    let mut seen = HashSet::with_capacity(metadata.tokens.len());
    let mut vocab = Vocab::with_capacity(metadata.tokens.len());
    for (id, (text, kind)) in (0..).zip(metadata.tokens.iter().zip(&metadata.types)) {
        if *kind == TokenType::Unused {
            continue;
        }
        if text.is_empty() || !seen.insert(text.as_str()) {
            let got = format!("token {id} is {text:?}");
            return Err(Error::format(
                name,
                "tokenizer.ggml.tokens",
                "texts, each one once",
                got,
            ));
        }
        let itself = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if *kind == TokenType::Normal || (*kind == TokenType::UserDefined && itself(text)) {
            vocab.insert(text.clone(), id);
        }
    }
    Ok(vocab)
}

/// The merges as pairs, checked to be distinct and to name tokens.
fn merges(name: &str, metadata: &TokenizerMetadata, vocab: &Vocab) -> Result<Vec<(String, String)>, Error> {
    let mut seen = HashSet::with_capacity(metadata.merges.len());
    let mut pairs = Vec::with_capacity(metadata.merges.len());
    let mut joined = String::new();
    for (rank, merge) in metadata.merges.iter().enumerate() {
        let refuse = |expected: &str| {
            let got = format!("merge {rank} is {merge:?}");
            Err(Error::format(name, "tokenizer.ggml.merges", expected, got))
        };
        let Some((left, right)) = merge.split_once(' ').filter(|(_, right)| !right.contains(' ')) else {
            return refuse("two tokens with one space between them");
        };
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        if ![left, right, &joined]
            .into_iter()
            .all(|token| vocab.contains_key(token))
        {
            return refuse("both parts and the whole to be tokens");
        }
        if !seen.insert((left, right)) {
            return refuse("each merge once");
        }
        pairs.push((left.to_owned(), right.to_owned()));
    }
    Ok(pairs)
}

/// SPEC 3.5: the declared ends, and control tokens whose text is a known end.
fn end_tokens(metadata: &TokenizerMetadata) -> Vec<Token> {
    let mut end: Vec<Token> = [metadata.eos, metadata.eot, metadata.eom]
        .into_iter()
        .flatten()
        .collect();
    let known = specials(metadata, &[TokenType::Control]).into_iter();
    end.extend(
        known
            .filter(|special| END_TEXTS.contains(&special.text.as_str()))
            .map(|special| special.token),
    );
    end.sort_unstable();
    end.dedup();
    end
}

/// Texts by which a control token is known to end an answer.
const END_TEXTS: [&str; 9] = [
    "<|endoftext|>",
    "<|im_end|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
    "<EOT>",
];
