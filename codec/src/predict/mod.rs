//! Which token wins: the prediction that tokens are coded under (SPEC 4.6, 4.7).
//!
//! ```text
//!   logits of the weak model      noise of the position
//!              \                       /
//!           candidates: the likely and the lucky --------------------.
//!                          |                                         |
//!           features of the best, history of the answer              |
//!                          |                                         |
//!                    network: scores                   softmaxes a log q + b T g, and q itself
//!                          |                                         |
//!                          '----> mixture of experts <---------------'
//!                                   |  weights learned: of the batch, then of the slot
//!                                   v
//!                        widths: integers that sum to 2^32, and an escape
//!                                                             |
//!                                                    rest: all other tokens
//! ```
//!
//! [`Predictor`] does all of this for the tokens of slots; a [`Prediction`] is what the coder asks for intervals.

mod ablation;
mod candidates;
mod features;
mod history;
mod mixture;
pub mod network;
mod prediction;
mod predictor;
mod regime;
mod rest;
mod widths;

pub use ablation::Ablation;
pub(crate) use candidates::BEST_IN_TEXT;
pub use features::{ENTRANT, ENTRANTS, Features, GLOBAL};
pub use history::History;
pub use mixture::SlotState;
pub use prediction::{Hit, Place, Prediction};
pub use predictor::{Predictor, beside_network};
