//! Byte-level BPE, rebuilt from the metadata of a GGUF file, with llama.cpp's token ids.
//!
//! [`metadata`] is what a container carries, `alphabet` the byte <-> character table of GPT-2, `split` the
//! cut into words; the merges inside a word are done by the `tokenizers` crate. `Utf8Stream` turns token
//! bytes into text, `TokenStream` bytes into tokens, both piece by piece.
//!
//! User text never yields a control token: [`Tokenizer::encode`] does not know them. Only text that the
//! operator wrote (a chat template) goes through [`Tokenizer::encode_with_special`]. SPEC 3.

mod alphabet;
mod metadata;
mod split;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod tokenizer;
mod utf8;

pub use metadata::{TokenType, TokenizerMetadata};
pub use stream::{NoToken, TokenStream};
pub use tokenizer::Tokenizer;
pub(crate) use tokenizer::{Piece, Special, find_specials};
pub use utf8::Utf8Stream;
