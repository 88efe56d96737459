//! Rotary position embedding: SPEC 2.6. Angles in f64, from `+ - * /` alone.

use crate::net::ops;
use weir_exact::lanes::Pass;

/// Which elements of a head are rotated together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pairs {
    /// 2i with 2i + 1 (Llama, whose GGUF files permute queries and keys for this).
    Adjacent,
    /// i with i + half (Qwen2).
    Halves,
}

/// Cosines and sines of every position.
#[derive(Debug)]
pub(crate) struct Rope {
    pairs: Pairs,
    /// Half of the elements that are rotated.
    half: usize,
    /// `[position][half]` of (cosine, sine).
    table: Vec<[f32; 2]>,
}

impl Rope {
    /// For `positions` positions and `2 * half` elements; `factors` divide the frequencies, if there are any.
    pub(crate) fn new(
        pairs: Pairs,
        half: usize,
        base: f32,
        factors: Option<&[f32]>,
        positions: usize,
    ) -> Self {
        let ln_base = weir_exact::ln(f64::from(base));
        let frequencies: Vec<f64> = (0..half)
            .map(|i| {
                let f = exp(-ln_base * (i as f64 / half as f64));
                factors
                    .and_then(|factors| factors.get(i))
                    .map_or(f, |&factor| f / f64::from(factor))
            })
            .collect();
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        Self {
            pairs,
            half,
            table: angles.map(cos_sin).collect(),
        }
    }
}

/// Some heads at one position, to which their biases are added first if they have any.
pub(crate) struct Rotate<'a> {
    pub(crate) rope: &'a Rope,
    pub(crate) position: usize,
    /// `[head][width]`
    pub(crate) heads: &'a mut [f32],
    pub(crate) width: usize,
    pub(crate) bias: Option<&'a [f32]>,
}

impl Pass for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        if let Some(bias) = self.bias {
            ops::add(self.heads, bias);
        }
        let half = self.rope.half;
        let row = &self.rope.table[self.position * half..][..half];
        for head in self.heads.chunks_exact_mut(self.width) {
            let head = &mut head[..2 * half];
            match self.rope.pairs {
                Pairs::Adjacent => {
                    for ([x, y], angle) in head.as_chunks_mut::<2>().0.iter_mut().zip(row) {
                        (*x, *y) = turn(*x, *y, *angle);
                    }
                }
                Pairs::Halves => {
                    let (x, y) = head.split_at_mut(half);
                    for ((x, y), angle) in x.iter_mut().zip(y).zip(row) {
                        (*x, *y) = turn(*x, *y, *angle);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn turn(x: f32, y: f32, [cos, sin]: [f32; 2]) -> (f32, f32) {
    (x * cos - y * sin, x * sin + y * cos)
}

/// e^x for `-700 < x <= 0`: 2^-k times a Taylor series of degree 18.
fn exp(x: f64) -> f64 {
    const LN_2: f64 = std::f64::consts::LN_2;
    let k = (-x / LN_2) as u64;
    let r = x + k as f64 * LN_2;
    let mut sum = 1.0;
    for n in (1..=18u8).rev() {
        sum = 1.0 + r / f64::from(n) * sum;
    }
    sum * f64::from_bits((1023 - k) << 52)
}

/// (cos x, sin x) for `0 <= x < 2^31`, to within 1e-10.
fn cos_sin(x: f64) -> [f32; 2] {
    // pi/2 in two parts; multiples of the first by integers below 2^31 are exact.
    const HIGH: f64 = 1.570_796_012_878_418; // 0x3ff921fb00000000
    const LOW: f64 = 3.139_164_786_504_813e-7;
    let quarter = (x * std::f64::consts::FRAC_2_PI + 0.5) as u64;
    let r = x - quarter as f64 * HIGH - quarter as f64 * LOW;
    let z = r * r;
    let (mut cos, mut sin) = (1.0, 1.0);
    for n in (1..=10u8).rev() {
        let n = f64::from(n);
        cos = 1.0 - z / ((2.0 * n - 1.0) * (2.0 * n)) * cos;
        sin = 1.0 - z / ((2.0 * n) * (2.0 * n + 1.0)) * sin;
    }
    let (cos, sin) = (cos as f32, (sin * r) as f32);
    match quarter % 4 {
        0 => [cos, sin],
        1 => [-sin, cos],
        2 => [-cos, -sin],
        _ => [sin, -cos],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_are_close_to_the_library_ones() {
        for i in 0..200_000u32 {
            let x = f64::from(i) * 0.37;
            let [cos, sin] = cos_sin(x);
            assert!(
                (f64::from(cos) - x.cos()).abs() < 6e-8,
                "cos {x}: {cos} {}",
                x.cos()
            );
            assert!(
                (f64::from(sin) - x.sin()).abs() < 6e-8,
                "sin {x}: {sin} {}",
                x.sin()
            );
        }
    }

    #[test]
    fn exp_is_close_to_the_library_one() {
        for i in 0..3000 {
            let x = -f64::from(i) * 0.01;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-14, "{x}");
        }
    }
}
