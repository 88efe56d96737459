//! Floats as integers of the opposite order: to sort those takes no branches.

/// An integer that is the smaller, the greater `x` is; both zeros have the same. Not for NaN.
#[inline]
pub fn descending(x: f32) -> u32 {
    // Adding 0 makes one zero of two.
    let bits = (x + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 { bits | SIGN } else { !bits };
    !ascending
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
