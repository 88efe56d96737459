//! Tokens to bytes and back, given a weak model and a seed: range coder, noise, winner prediction.
#![forbid(unsafe_code)]

mod agreement;
mod batch;
pub mod coder;
mod decoder;
mod encoder;
mod error;
mod framing;
pub mod fuzzing;
mod learned;
pub mod noise;
mod query;
mod sampler;
mod stats;
pub mod stop;
pub mod stream;
pub mod testing;
pub mod winner;

pub use agreement::agreement;
pub use batch::End;
pub use decoder::{Answer, Begun, Decoded, Decoder};
pub use encoder::{Encoder, Offer, Sealed};
pub use error::Error;
pub use query::{MAX_COUNT, MAX_SLOTS, Query, Sampling, Seed, Settings, Vocabulary};
pub use sampler::{Sampler, sample};
pub use stats::{FrameStats, SlotStats};
