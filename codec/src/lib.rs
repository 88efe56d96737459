//! Tokens to bytes and back, given a weak model and a seed: range coder, noise, winner prediction.
#![forbid(unsafe_code)]
