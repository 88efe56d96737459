//! The inner server: strong model, seeded sampler, encoder, cadence.
#![forbid(unsafe_code)]
