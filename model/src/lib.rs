//! Bit-exact language models: GGUF and .weir loading, kernels, tokenizer, the [`Predict`] trait.
//!
//! The logits of a token are a function of (weights, tokens before it) and of nothing else: not of the batch, the
//! thread count, prefill against single steps, or the CPU's vector width. SPEC.md chapter 2 writes the arithmetic.
//!
//! ```text
//!                file/: GGUF, .weir            text of a user
//!                 |            |                     |
//!        weights  |            |  metadata      chat/: the model's template
//!                 v            v                     |
//!  kernel/: matrices of    token/: tokenizer  <------+
//!   codes, products            |
//!                 |            v tokens
//!                 +------> net/: layers  <-->  kv/: pages of keys and values
//!                              |
//!                              v logits
//! ```
//!
//! [`Model`] ties the rooms to the [`Predict`] trait of `weir-exact`, which has the elementary arithmetic too.
//!
//! ```
//! use weir_model::{Model, Options, Predict, Tokenizer, embedded};
//!
//! let options = Options::default();
//! Model::self_check(&options)?;
//! let tokens = Tokenizer::from_bytes("weak", embedded::weak())?.encode("The answer is");
//! let mut model = Model::from_bytes("weak", embedded::weak(), &options)?;
//! let slot = model.open()?;
//! let (pending, before) = tokens.split_last().expect("the text has tokens");
//! model.prefill(slot, before)?;
//! let vocab = model.vocab();
//! model.step(&[(slot, *pending)], &mut |_row, logits| assert_eq!(logits.len(), vocab))?;
//! # Ok::<(), weir_model::Error>(())
//! ```
#![deny(unsafe_code)]

mod chat;
pub mod embedded;
mod error;
mod file;
mod golden;
mod kernel;
mod kv;
mod model;
mod net;
mod options;
mod token;

#[doc(hidden)]
pub mod fuzzing;
#[doc(hidden)]
pub mod testing;

#[cfg(test)]
mod exactness;

pub use chat::{MAX_CHAT, MAX_MESSAGES, Message};
pub use error::Error;
pub use file::weirfile::convert;
pub use kv::PAGE;
pub use model::{Info, Model, Unverified};
pub use options::{Kv, Options};
pub use token::{NoToken, TokenStream, TokenType, Tokenizer, TokenizerMetadata, Utf8Stream};
pub use weir_exact::{Kernel, Predict, Slot, Token};
