//! Matrix products of integer codes, and the thread state they rely on.
//!
//! `reference` is what SPEC 2.4 says, block by block. `portable`, `avx2` and `avx512` are the same arithmetic with sixteen
//! rows in sixteen lanes; the latter two take several activations per pass over the weights. They are equal bit for bit:
//! integer sums are exact in any order, and each output has one float accumulator that takes its blocks in ascending order.

mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod columns;
pub(crate) mod matrix;
mod portable;
mod product;
pub(crate) mod quant;
mod reference;
pub(crate) mod team;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use activation::{Activations, TileMut, tile_rows};
pub(crate) use product::{Product, multiply};

#[cfg(test)]
mod tests;
