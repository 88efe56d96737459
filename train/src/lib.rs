//! Trains the embedded pair with candle-nn.
#![forbid(unsafe_code)]
