//! Bit-exact language models: GGUF and .weir loading, kernels, tokenizer, the [`Predict`] trait.
//!
//! The logits of a token are a function of (weights, tokens before it) and of nothing else: not of the batch, the
//! thread count, prefill against single steps, or the CPU's vector width. SPEC.md chapter 2 writes the arithmetic.
//!
//! The rooms, in the order a weight passes through them: `gguf` and `weirfile` read a container without trusting it,
//! `quant` names the block formats, `weights` repacks them, `kernel` multiplies them with activations, `ops` holds
//! the float steps, `kv` the paged cache, `team` the threads, `forward` the network, and
//! [`Model`] ties them to the [`Predict`] trait.
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

#[cfg(target_arch = "x86")]
compile_error!("floats may have 80 bits on 32-bit x86, and the model would not be exact there");

mod attention;
mod chat;
mod config;
mod digest;
pub mod embedded;
mod error;
mod forward;
mod gguf;
mod kernel;
mod kv;
mod mapped;
pub mod math;
mod model;
mod network;
mod ops;
mod options;
mod predict;
mod quant;
mod rope;
mod team;
mod tokenizer;
mod weights;
mod weirfile;

#[doc(hidden)]
pub mod fuzzing;
#[doc(hidden)]
pub mod testing;

#[cfg(test)]
mod exactness;

pub use chat::{MAX_CHAT, MAX_MESSAGES, Message};
pub use error::Error;
pub use kv::PAGE;
pub use model::{Info, Model, Unverified};
pub use options::{Kernel, Kv, Options};
pub use predict::{Predict, Slot, Token};
pub use tokenizer::{NoToken, TokenStream, TokenType, Tokenizer, TokenizerMetadata, Utf8Stream};
pub use weirfile::convert;
