//! Exact passes over a vocabulary, shared by codec, sampler and the network (SPEC 4.1).
//!
//! A result is a function of the inputs alone. Float steps are single IEEE operations in a written order; what is summed
//! over the vocabulary is integer, so no order is involved. Every pass has one source, compiled for several vector widths by
//! `lanes`: equal by construction, and tested to be so.
//!
//! [`exp`] and [`ln`] are the elementary functions, [`Weights`] turns logits into integers, [`Top`] finds the best ones,
//! [`chacha`] makes the noise words, [`gumbel`] variates of them, [`expert`] and [`add_scaled`] are small softmaxes over candidates, [`dense`] is a layer of
//! the small network that looks at the best of them.

mod blend;
pub mod chacha;
mod dense;
mod elementary;
mod gumbel;
pub(crate) mod lanes;
mod order;
mod top;
mod weights;

pub use blend::{add_scaled, expert};
pub use dense::{Column, ROWS, dense, precede};
pub use elementary::{exp, ln, ln_1p};
pub use gumbel::{favour, gumbel, gumbels};
pub use order::{keep_best, ranked};
pub use top::Top;
pub use weights::{ONE, Weights, exp_weight};

#[cfg(test)]
mod tests;
