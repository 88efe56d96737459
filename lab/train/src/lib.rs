//! Trains the embedded pair with candle-nn: a strong model, and a weak one of the same tokenizer that imitates it.
//!
//! In the order of the data: [`corpus`] reads questions and answers and holds some out, [`tokenizer`] learns a
//! byte-level BPE, [`llama`] is the model with a gradient and [`ops`] its fused parts, [`fit`] is the training loop with
//! [`optim`] and [`loss`], [`generate`] lets the strong model answer so that the weak one can learn from it, [`export`]
//! writes int8 GGUF that any llama.cpp-style loader reads, [`ngram`] is the baseline both have to beat, and [`report`]
//! says by how much. [`run`] is all of it. [`winner`] fits another thing: the network by which the codec predicts the winner.
//!
//! Nothing here is bit-exact across machines, nor has it to be: training ends in a file.
//!
//! ```
//! use weir_train::corpus::Example;
//! use weir_train::tokenizer::Tokenizer;
//!
//! let example = Example { prompt: "What is 2 + 3?".into(), answer: "2 + 3 = 5".into() };
//! let tokenizer = Tokenizer::train(&[example], 300)?;
//! let tokens = tokenizer.encode("naïve 23 \u{1f980}")?;
//! assert_eq!(tokenizer.decode(&tokens)?, "naïve 23 \u{1f980}");
//! # anyhow::Ok(())
//! ```
#![forbid(unsafe_code)]

pub mod corpus;
pub mod export;
pub mod fit;
pub mod generate;
pub mod llama;
pub mod loss;
pub mod ngram;
pub mod ops;
pub mod optim;
mod pipeline;
pub mod report;
pub mod rng;
pub mod tokenizer;
pub mod winner;

pub use pipeline::{Args, run};
