//! The outer server: OpenAI-style HTTP, sessions, decoder.
#![forbid(unsafe_code)]
