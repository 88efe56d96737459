//! What frames and pieces share: the state of a batch, and how its symbols are written and read (SPEC 4.8).

mod reader;
mod slots;
mod state;
mod writer;

pub use reader::{Answer, Decoded};
pub(crate) use reader::{Reader, whole};
pub use slots::Slots;
pub use state::End;
pub(crate) use writer::Writer;
pub use writer::{Offer, Sealed};
