//! Criterion benches of Weir live in `benches/`; this library only holds what they share.
#![forbid(unsafe_code)]
