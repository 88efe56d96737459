//! exp and ln as polynomials: the same bits everywhere, which libm does not promise (SPEC 4.1).

// Adding it rounds a small f32 to an integer, ties to even, and leaves that integer in the low bits.
const ROUND: f32 = 12_582_912.0;
const LOG2_E: f32 = std::f32::consts::LOG2_E;
// ln 2 in two parts; the first has 9 significant bits, so its multiples by small integers are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
// exp(r) = 1 + r + r^2 (E0 + E1 r + ...) on |r| <= ln(2)/2 (Cephes expf).
const E: [f32; 6] = [
    5e-1,
    1.666_666_5e-1,
    4.166_579_6e-2,
    8.333_452e-3,
    1.398_199_9e-3,
    1.987_569_1e-4,
];

/// e^x to within 2 units in the last place for `-87 <= x <= 88`; 0 below, infinity above, NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let y = exp_in_range(x);
    // Both comparisons are false for NaN, which `y` is already.
    let y = if x < -87.0 { 0.0 } else { y };
    if x > 88.0 { f32::INFINITY } else { y }
}

/// The same steps without the ends: meaningless outside of -87..=88.
#[inline(always)]
pub(super) fn exp_in_range(x: f32) -> f32 {
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH;
    let r = r - n * LN2_LOW;
    let p = E[5] * r + E[4];
    let p = p * r + E[3];
    let p = p * r + E[2];
    let p = p * r + E[1];
    let p = p * r + E[0];
    let p = p * (r * r) + r;
    let p = p + 1.0;
    // 2^n by its exponent bits: the low bits of `shifted` are n, plus a multiple of 2^22 that the shift drops.
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    p * scale
}

/// Natural logarithm of a positive normal `x`, with relative precision near 1; other arguments give no defined value.
#[inline]
pub fn ln(x: f64) -> f64 {
    // x = 2^k m with sqrt(1/2) < m < sqrt 2, by the exponent bits of x / sqrt(1/2) rounded down.
    const HALF_ROOT: u64 = 0x3fe6_a09e_0000_0000;
    let offset = x.to_bits().wrapping_sub(HALF_ROOT);
    let k = (offset as i64 >> 52) as f64;
    let m = f64::from_bits((offset & 0x000f_ffff_ffff_ffff) + HALF_ROOT);
    k * std::f64::consts::LN_2 + ln_near_one(m - 1.0)
}

/// ln(1 + x) with relative precision for `-0.29 < x < 0.41`, and for smaller x below as long as 1 + x is exact.
#[inline]
pub fn ln_1p(x: f64) -> f64 {
    if x > -0.29 && x < 0.41 {
        ln_near_one(x)
    } else {
        ln(1.0 + x)
    }
}

/// 2 artanh(s), s = f / (2 + f), |s| < 0.172: ten terms reach f64's precision.
#[inline(always)]
fn ln_near_one(f: f64) -> f64 {
    let s = f / (2.0 + f);
    let z = s * s;
    let mut sum = 1.0 / 19.0;
    for odd in [17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        sum = sum * z + 1.0 / odd;
    }
    2.0 * s + 2.0 * s * (z * sum)
}
