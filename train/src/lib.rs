//! Trains the embedded pair with candle-nn.
#![forbid(unsafe_code)]
pub mod corpus;
pub mod export;
pub mod fit;
pub mod generate;
pub mod llama;
pub mod loss;
pub mod ops;
pub mod optim;
mod pipeline;
pub mod rng;
pub mod tokenizer;
pub use pipeline::{Args, run};
