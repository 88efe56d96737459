//! The only place of this program that reads a clock.

pub(crate) use std::time::Instant;

#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
