//! The strong engine: whatever runs the model whose weights are being guarded.
//!
//! Tokens are all that leave it. It knows nothing of batches, frames or codes; it is told which queries live, and
//! asked for their next tokens. When an answer is over is judged by the caller, the same way for every engine.

pub use chooser::{Choice, Watch};
use core::ops::ControlFlow;
use weir_codec::Query;
use weir_model::Token;

pub mod adviser;
#[cfg(feature = "candle")]
pub mod candle;
mod chooser;
pub mod exact;

/// Name of a live query, given by the caller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Handle(pub u32);

/// Why a query was not admitted; the asker is told only that it was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// No room for its keys and values beside the queries that live.
    #[error("the strong engine has no room for the query")]
    Full,
    /// Prompt and answer do not fit the model's context.
    #[error("prompt and answer are longer than the strong model's context")]
    TooLong,
    /// The prompt is empty or names a token that the model does not have.
    #[error("the prompt is empty or holds a token that the strong model does not have")]
    BadPrompt,
    /// A strong model with other tokens than the weak one's needs the text.
    #[error("the query does not say what its prompt was made from")]
    NoSource,
    /// The strong model's chat template does not take the conversation, or has limits of its own.
    #[error("the strong model's chat template refuses the conversation")]
    Template,
    /// Its `tau` is below what this server allows.
    #[error("the query allows more deviation from the strong model than this server does")]
    Deviation,
    /// The engine itself failed; it has logged why.
    #[error("the strong engine failed on the prompt")]
    Broken,
}

/// The engine could not go on with a query; it has logged why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed;

/// Takes the tokens as they come, in order for each query; `Break` says that the query wants no more of them.
pub type Sink<'a> = dyn FnMut(Handle, Result<Token, Failed>) -> ControlFlow<()> + 'a;

/// A model that continues prompts with a seeded sampler ([`weir_codec::Sampler`]).
pub trait Strong: Send {
    /// Makes `query` live under `handle`, which must be free.
    fn admit(&mut self, handle: Handle, query: &Query) -> Result<(), Refused>;

    /// Gives `sink` up to so many next tokens of each query, round by round: the first of every query, then the
    /// second. After an error a query gives nothing more, and must be dismissed.
    fn advance(&mut self, wants: &[(Handle, usize)], sink: &mut Sink<'_>);

    /// Frees what the query holds. Unknown handles are ignored.
    fn dismiss(&mut self, handle: Handle);
}

#[cfg(test)]
mod tests;
