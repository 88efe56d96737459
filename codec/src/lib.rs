//! Tokens to bytes and back, given a weak model and a seed: range coder, noise, winner prediction.
//!
//! A lab that has its own servers embeds this crate alone: an [`Encoder`] where the strong model runs, a [`Decoder`] where
//! the users are, the same weak model on both sides. The rooms, from the outside in:
//!
//! - [`Encoder`] and [`Decoder`] turn the tokens of all live slots of a batch into one code per frame and back, each slot
//!   opened with a [`Query`]; what was learned belongs to the batch. Where all frames are of one length, [`pieces::Encoder`]
//!   and [`pieces::Decoder`] make them pieces of one continuous code.
//! - [`predict`] predicts which token wins, from the weak model's logits and the seeded noise; [`noise`] makes the noise, and
//!   [`Sampler`] draws the strong model's tokens with it.
//! - [`coder`] is the range coder: it sees integers only.
//! - [`text`] codes one text without queries; [`stop`] finds stop strings.
//!
//! SPEC.md chapter 4 is normative for all of it.
//!
//! ```
//! use weir_codec::testing::{Markov, letters};
//! use weir_codec::{Decoder, Encoder, Offer, Query, Sampler, Sampling, Settings};
//! use weir_exact::Kernel;
//!
//! // A query: its seed is public, and all of the sampler's randomness comes from it.
//! let query = Query {
//!     seed: [7; 16],
//!     sampling: Sampling::at(0.8),
//!     max_tokens: 100,
//!     stop: vec![],
//!     prompt: vec![1, 2, 3],
//! };
//!
//! // Inside: the strong model's next ten tokens.
//! let (mut strong, mut sampler) = (Markov::new(1000).relative(1), Sampler::new(Kernel::detect()));
//! let mut context = query.prompt.clone();
//! for position in 0..10 {
//!     let logits = strong.logits(&context);
//!     context.push(sampler.sample(logits, &query.sampling, &query.seed, position)?);
//! }
//! let tokens = &context[3..];
//!
//! // Inside: one frame of at most 1400 bytes.
//! let weak = Markov::new(1000);
//! let vocabulary = letters(1000, 999);
//! let mut encoder = Encoder::new(weak.clone(), vocabulary.clone(), Settings::default(), Kernel::detect());
//! encoder.slots().open(0, &query)?;
//! let mut code = Vec::new();
//! let sealed = encoder.frame(1, &[(0, Offer::Tokens(tokens))], 1400, &mut code)?;
//! assert_eq!(sealed.coded, [(0, 10)]);
//!
//! // Outside: the same tokens.
//! let mut decoder = Decoder::new(weak, vocabulary, Settings::default(), Kernel::detect());
//! let mut begun = decoder.begin(&code)?;
//! assert_eq!(begun.taken_in(), 1); // the query: both ends open its slot here
//! begun.slots().open(0, &query)?;
//! let decoded = begun.finish()?;
//! assert_eq!(decoded.answers[0].tokens, tokens);
//! assert_eq!(decoded.digest, sealed.digest);
//! assert_eq!(decoded.stats.tokens, 10);
//! # Ok::<(), weir_codec::Error>(())
//! ```
#![forbid(unsafe_code)]

mod agreement;
mod batch;
pub mod coder;
mod counts;
mod error;
mod frame;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod limits;
pub mod noise;
pub mod pieces;
pub mod predict;
mod query;
mod sampler;
mod stats;
pub mod stop;
mod symbol;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;

pub use agreement::agreement;
pub use batch::{Answer, Decoded, End, Offer, Sealed, Slots};
pub use error::Error;
pub use frame::{Begun, Decoder, Encoder};
pub use limits::{MAX_COUNT, MAX_SLOTS};
pub use query::{Query, Sampling, Seed, Settings, Vocabulary};
pub use sampler::Sampler;
pub use stats::{FrameStats, SlotStats};
