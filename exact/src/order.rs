//! Floats as integers of the opposite order: to sort those takes no branches.

/// An integer that is the smaller, the greater `x` is; both zeros have the same. Not for NaN.
#[inline]
pub(super) fn descending(x: f32) -> u32 {
    // Adding 0 makes one zero of two.
    let bits = (x + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 { bits | SIGN } else { !bits };
    !ascending
}

/// An integer that is the smaller, the better `x` is, ties to the lower id, which is its lower half. No two are equal, so what is sorted or
/// selected by them does not depend on the algorithm.
#[inline]
pub fn ranked(x: f32, id: u32) -> u64 {
    u64::from(descending(x)) << 32 | u64::from(id)
}

/// Leaves the best `k` of [`ranked`]'s integers, in no particular order.
pub fn keep_best(ranked: &mut Vec<u64>, k: usize) {
    if ranked.len() > k {
        ranked.select_nth_unstable(k);
        ranked.truncate(k);
    }
}

/// The float of [`descending`]'s integer.
#[inline]
pub(super) fn float(descending: u32) -> f32 {
    let ascending = !descending;
    f32::from_bits(if ascending >> 31 == 1 {
        ascending ^ SIGN
    } else {
        !ascending
    })
}

const SIGN: u32 = 1 << 31;
