//! Keys and values of live slots.

mod page;
mod pool;
mod shape;

pub(crate) use page::{Number, Part};
pub(crate) use pool::Pool;
pub use shape::PAGE;
pub(crate) use shape::Shape;
