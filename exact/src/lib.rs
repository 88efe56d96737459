//! Arithmetic that gives the same bits on every machine, and the one door to a language model, [`Predict`].
//!
//! ```text
//!                 logits of one token, f32                seed of one answer
//!                          |                                      |
//!      Weights: e^(x - max) as integers, their sum      chacha: words of noise
//!            |             |                                      |
//!           Top: the best ones                         gumbel: variates of words
//!                          \                                     /
//!                  blend: small softmaxes of candidates; dense: one layer of a small network
//! ```
//!
//! A result is a function of the inputs alone (SPEC 4.1). Float steps are single IEEE operations in a written order; what is
//! summed over a vocabulary is integer, so no order is involved; [`exp`], [`ln`] and [`ln_1p`] are own polynomials, never
//! libm's. Every pass over a vocabulary has one source, compiled for several vector widths: a [`Kernel`] says which is run,
//! and all give the same bits.
//!
//! Nothing here reads the environment, keeps a global or starts a thread. A caller that computes on threads of its own calls
//! [`float_env::set`] on each of them, once.
//!
//! ```
//! use weir_exact::{Kernel, ONE, Weights};
//!
//! let mut weights = Weights::default();
//! weights.set(Kernel::detect(), &[0.0, 2.0, 1.0])?;
//! assert_eq!((weights.max, weights.weights[1]), (2.0, ONE));
//!
//! let mut same = Weights::default();
//! same.set(Kernel::Portable, &[0.0, 2.0, 1.0])?;
//! assert_eq!(weights.sum, same.sum);
//! # Ok::<(), weir_exact::Error>(())
//! ```
#![deny(unsafe_code)]

#[cfg(target_arch = "x86")]
compile_error!("floats may have 80 bits on 32-bit x86, and nothing would be exact there");

mod blend;
pub mod chacha;
mod dense;
mod elementary;
mod error;
pub mod float_env;
mod gumbel;
mod kernel;
pub mod lanes;
mod order;
mod predict;
mod slot;
mod top;
mod weights;

pub use blend::{add_scaled, expert};
pub use dense::{Column, ROWS, dense, precede};
pub use elementary::{exp, ln, ln_1p};
pub use error::Error;
pub use gumbel::{favour, gumbel, gumbels};
pub use kernel::Kernel;
pub use order::{keep_best, ranked};
pub use predict::Predict;
pub use slot::{Slot, Token};
pub use top::Top;
pub use weights::{ONE, Weights, exp_weight};

#[cfg(test)]
mod tests;
