//! Bit-exact language models: GGUF and .weir loading, kernels, tokenizer, the Predict trait.
#![deny(unsafe_code)]
