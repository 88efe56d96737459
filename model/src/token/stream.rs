//! Bytes to tokens, piece by piece: a word that is not over yet would become other tokens. SPEC 3.7.

use super::tokenizer::Tokenizer;
use crate::Token;

/// Turns a stream of bytes into tokens, holding back the last of them until they can no longer change.
///
/// The bytes of the tokens are those that were pushed, whatever these are and however they were cut. Where never more
/// than `limit` bytes had to wait, the tokens are those of the whole.
///
/// ```
/// use weir_model::{TokenStream, Tokenizer, embedded};
///
/// let tokenizer = Tokenizer::from_bytes("weak", embedded::weak())?;
/// let (mut stream, mut tokens) = (TokenStream::default(), Vec::new());
/// for part in ["How many app", "les do", " they have?"] {
///     stream.push(&tokenizer, part.as_bytes(), &mut tokens)?;
/// }
/// stream.finish(&tokenizer, &mut tokens);
/// assert_eq!(tokens, tokenizer.encode("How many apples do they have?"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokenStream {
    /// At most `limit` bytes between calls.
    held: Vec<u8>,
    limit: usize,
}

/// The vocabulary has no token for a byte: what the text says would be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the vocabulary has no token for the byte {0:#04x}")]
pub struct NoToken(pub u8);

/// Longer than nearly all words. Beyond, words are cut where a token ends that far before the end of what is there, and
/// what follows there has hardly ever a say in it.
impl Default for TokenStream {
    fn default() -> Self {
        Self::new(32)
    }
}

impl TokenStream {
    /// An empty stream that holds back at most `limit` bytes; with 0 every piece is encoded by itself.
    pub fn new(limit: usize) -> Self {
        Self {
            held: Vec::new(),
            limit,
        }
    }

    /// Takes bytes and appends the tokens that are settled by now.
    ///
    /// # Errors
    /// [`NoToken`] of the first byte that lacks one; the bytes before it are taken, the others are not.
    pub fn push(&mut self, tokenizer: &Tokenizer, bytes: &[u8], out: &mut Vec<Token>) -> Result<(), NoToken> {
        let lacking = bytes.iter().position(|&byte| !tokenizer.encodes(byte));
        self.take(tokenizer, &bytes[..lacking.unwrap_or(bytes.len())], out);
        lacking.map_or(Ok(()), |at| Err(NoToken(bytes[at])))
    }

    /// Ends the stream: the tokens of what was held back.
    pub fn finish(&mut self, tokenizer: &Tokenizer, out: &mut Vec<Token>) {
        out.extend(tokenizer.encode_bytes(&self.held));
        self.held.clear();
    }

    /// Takes bytes that all have tokens.
    fn take(&mut self, tokenizer: &Tokenizer, bytes: &[u8], out: &mut Vec<Token>) {
        self.held.extend_from_slice(bytes);
        let whole = self.held.len() - unfinished(&self.held);
        let mut words = Vec::new();
        tokenizer.words(&self.held[..whole], |word, token| words.push((word, token)));
        let mut given = 0;
        for (word, token) in words.drain(..settled(&self.held, &words)) {
            given = word.end;
            tokenizer.encode_piece(&self.held[word], token, out);
        }
        if self.held.len() - given > self.limit {
            let mut tokens = Vec::new();
            for (word, token) in words {
                tokenizer.encode_piece(&self.held[word], token, &mut tokens);
            }
            tokenizer.encode_piece(&self.held[whole..], None, &mut tokens);
            for token in tokens {
                if self.held.len() - given <= self.limit {
                    break;
                }
                given += tokenizer.token_bytes(token).len();
                out.push(token);
            }
        }
        self.held.drain(..given);
    }

    /// Number of bytes held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

/// A word with its place in the text, or a user-defined token with its own.
type Word = (std::ops::Range<usize>, Option<Token>);

/// How many of the words at the beginning of a text that goes on are words whatever follows.
///
/// The last one is not. The one before it is not if it is an apostrophe, which may come to begin a contraction, or if both
/// are white space, which a later line break draws to itself (3.2).
fn settled(text: &[u8], words: &[Word]) -> usize {
    let is_white = |word: &[u8]| str::from_utf8(word).is_ok_and(|word| word.trim().is_empty());
    let [.., (before, _), (last, _)] = words else {
        return 0;
    };
    let (before, last) = (&text[before.clone()], &text[last.clone()]);
    match before == b"'" || (is_white(before) && is_white(last)) {
        true => words.len() - 2,
        false => words.len() - 1,
    }
}

/// Number of bytes at the end that may be the beginning of a character: at most three.
fn unfinished(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    let begins = |at: usize| {
        let rest = &bytes[at..];
        str::from_utf8(rest).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (from..bytes.len())
        .find(|&at| begins(at))
        .map_or(0, |at| bytes.len() - at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::metadata;
    use super::*;
    use crate::embedded;

    /// The embedded vocabulary under each word splitter, and a small one with a user-defined token.
    fn tokenizers() -> Vec<Tokenizer> {
        let weak = Tokenizer::from_bytes("weak", embedded::weak()).unwrap();
        let mut all: Vec<_> = ["gpt-2", "smollm", "qwen2"]
            .map(|pre| {
                let mut metadata = weak.metadata().clone();
                metadata.pre = pre.to_owned();
                Tokenizer::from_metadata(pre, metadata).unwrap()
            })
            .into();
        all.push(Tokenizer::from_metadata("small", metadata()).unwrap());
        all
    }

    fn stream(tokenizer: &Tokenizer, limit: usize, parts: &[Vec<u8>]) -> (Vec<Token>, usize) {
        let (mut stream, mut tokens, mut most) = (TokenStream::new(limit), Vec::new(), 0);
        for part in parts {
            stream.push(tokenizer, part, &mut tokens).unwrap();
            most = most.max(stream.held());
        }
        stream.finish(tokenizer, &mut tokens);
        (tokens, most)
    }

    #[test]
    fn a_word_waits_for_its_end() {
        let tokenizer = &tokenizers()[0];
        let (mut stream, mut tokens) = (TokenStream::default(), Vec::new());
        let mut push = |text: &str| {
            tokens.clear();
            stream.push(tokenizer, text.as_bytes(), &mut tokens).unwrap();
            String::from_utf8(tokenizer.decode(&tokens)).unwrap()
        };
        assert_eq!(push("it'"), "it");
        assert_eq!(push("r"), "");
        assert_eq!(push("e  "), "'re");
        assert_eq!(push(" x"), "  ");
        assert_eq!(push("y, z"), " xy,");
        assert_eq!(stream.held(), 2);
    }

    #[test]
    fn no_byte_is_lost_in_silence() {
        let mut metadata = metadata();
        metadata.types[usize::from(b'X')] = crate::TokenType::Unused;
        let tokenizer = Tokenizer::from_metadata("test", metadata).unwrap();
        let (mut stream, mut tokens) = (TokenStream::default(), Vec::new());
        stream.push(&tokenizer, b"hello ", &mut tokens).unwrap();
        let error = stream.push(&tokenizer, b"aXbX", &mut tokens).unwrap_err();
        assert_eq!(error, NoToken(b'X'));
        assert!(error.to_string().contains("0x58"));
        stream.finish(&tokenizer, &mut tokens);
        assert_eq!(
            tokenizer.decode(&tokens),
            b"hello a",
            "up to the byte, and no further"
        );
    }

    fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
        let pieces: &[&str] = &[
            " ",
            "  ",
            "\n",
            "\r\n",
            "\t",
            "'",
            "'s",
            "'re",
            "'l",
            "RE",
            "a",
            "the",
            " and",
            "7",
            "42",
            "é",
            "日本語",
            "\u{1f600}",
            "\u{1f468}\u{200d}\u{1f469}",
            "\u{a0}",
            "\u{3000}",
            "e\u{301}",
            "<tool>",
            "<too",
            "<|im_end|>",
            "fn main() {\n    ",
            "=====",
            "supercalifragilistic",
            "\u{0}",
        ];
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        let broken = [
            &[0xf0, 0x9f][..],
            &[0x98],
            &[0xed, 0xa0, 0x80],
            &[0xff],
            &[0xe2, 0x82],
            &[0xc0],
        ];
        let piece = prop_oneof![
            4 => prop::sample::select(pieces),
            1 => prop::sample::select(broken.map(<[u8]>::to_vec).to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..5),
            1 => "\\PC{0,4}".prop_map(String::into_bytes),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    /// Cuts `bytes` after each of `lens`, which may fall into the middle of a character.
    fn cut(mut bytes: &[u8], lens: &[usize]) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        for &len in lens {
            let (part, rest) = bytes.split_at(len.min(bytes.len()));
            parts.push(part.to_vec());
            bytes = rest;
        }
        parts.push(bytes.to_vec());
        parts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn any_bytes_in_any_pieces_come_back(
            bytes in hostile_bytes(), lens in prop::collection::vec(0usize..9, 0..40), limit in 0usize..40
        ) {
            for tokenizer in tokenizers() {
                let (tokens, most) = stream(&tokenizer, limit, &cut(&bytes, &lens));
                prop_assert_eq!(tokenizer.decode(&tokens), &bytes[..]);
                prop_assert!(most <= limit);
                prop_assert!(tokens.iter().all(|token| !tokenizer.token_bytes(*token).is_empty()));
            }
        }

        /// Waiting long enough costs nothing: the tokens are those of the whole. A user-defined token is the exception,
        /// as it may be spread over several words.
        #[test]
        fn pieces_have_the_tokens_of_the_whole(
            bytes in hostile_bytes(), lens in prop::collection::vec(0usize..9, 0..40)
        ) {
            for tokenizer in &tokenizers()[..3] {
                let (tokens, _) = stream(tokenizer, usize::MAX, &cut(&bytes, &lens));
                prop_assert_eq!(tokens, tokenizer.encode_bytes(&bytes));
            }
        }
    }
}
