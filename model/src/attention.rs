//! Exact attention over the pages of one slot: SPEC 2.7.

use crate::kv::PAGE;
use crate::math::exp;
use crate::math::lanes::Pass;
use crate::ops::tree;

const LANES: usize = 16;

/// One query head at one position.
pub(crate) struct Attend<'a, P> {
    /// `[width]`; width is a multiple of 16.
    pub(crate) query: &'a [f32],
    /// Positions seen, the query's own included: at least one.
    pub(crate) len: usize,
    /// 1 / sqrt(width).
    pub(crate) scale: f32,
    /// (keys `[width][PAGE]`, values `[PAGE][width]`) of at least `len` positions.
    pub(crate) pages: P,
    /// Room for scores; its content does not matter.
    pub(crate) scores: &'a mut Vec<f32>,
    /// `[width]`
    pub(crate) out: &'a mut [f32],
}

impl<'a, P: Iterator<Item = (&'a [f32], &'a [f32])> + Clone> Pass for Attend<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            query,
            len,
            scale,
            pages,
            scores,
            out,
        } = self;
        let pages = pages.take(len.div_ceil(PAGE));
        scores.resize(len.div_ceil(PAGE) * PAGE, 0.0);
        let (chunks, _) = scores.as_chunks_mut::<PAGE>();
        for ((keys, _), scores) in pages.clone().zip(chunks) {
            let mut sums = [0.0f32; PAGE];
            for (q, keys) in query.iter().zip(keys.as_chunks::<PAGE>().0) {
                for (sum, key) in sums.iter_mut().zip(keys) {
                    *sum += q * key;
                }
            }
            for (score, sum) in scores.iter_mut().zip(sums) {
                *score = sum * scale;
            }
        }
        // What comes after the query counts nothing: exp makes an exact zero of it.
        scores[len..].fill(f32::NEG_INFINITY);

        let (scores, _) = scores.as_chunks_mut::<LANES>();
        let mut best = [f32::NEG_INFINITY; LANES];
        for score in &*scores {
            for (best, &s) in best.iter_mut().zip(score) {
                *best = if s > *best { s } else { *best };
            }
        }
        let max = best
            .into_iter()
            .fold(f32::NEG_INFINITY, |max, s| if s > max { s } else { max });
        let mut sums = [0.0; LANES];
        for score in &mut *scores {
            for (sum, s) in sums.iter_mut().zip(score) {
                *s = exp(*s - max);
                *sum += *s;
            }
        }
        let total = tree(sums);

        let weights = scores.as_flattened();
        let width = query.len();
        let mut at = 0;
        while at + 32 <= width {
            mix::<32>(weights, len, pages.clone(), width, at, total, out);
            at += 32;
        }
        while at + LANES <= width {
            mix::<LANES>(weights, len, pages.clone(), width, at, total, out);
            at += LANES;
        }
    }
}

/// Elements `at .. at + N` of the weighted mean of the values.
#[inline(always)]
fn mix<'a, const N: usize>(
    weights: &[f32],
    len: usize,
    pages: impl Iterator<Item = (&'a [f32], &'a [f32])>,
    width: usize,
    at: usize,
    total: f32,
    out: &mut [f32],
) {
    let mut sums = [0.0f32; N];
    for (weights, (_, values)) in weights[..len].chunks(PAGE).zip(pages) {
        for (weight, value) in weights.iter().zip(values.chunks_exact(width)) {
            if let Some(value) = value[at..].first_chunk::<N>() {
                for (sum, v) in sums.iter_mut().zip(value) {
                    *sum += weight * v;
                }
            }
        }
    }
    for (out, sum) in out[at..at + N].iter_mut().zip(sums) {
        *out = sum / total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the textbook in f64, for lengths around pages and a width that is not a power of two.
    #[test]
    fn attention_is_a_softmax_mean() {
        for width in [16, 48, 64] {
            let number = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 300.0 - 1.6;
            let pages: Vec<(Vec<f32>, Vec<f32>)> = (0..3)
                .map(|p| {
                    (0..width * PAGE)
                        .map(|i| (number(i + p * 5), number(i * 3 + p)))
                        .unzip()
                })
                .collect();
            let query: Vec<f32> = (0..width).map(|i| number(i * 11)).collect();
            let scale = 1.0 / (width as f32).sqrt();
            for len in [1, 15, 64, 65, 130, 192] {
                let mut out = vec![f32::NAN; width];
                let views = pages.iter().map(|(k, v)| (&k[..], &v[..]));
                Attend {
                    query: &query,
                    len,
                    scale,
                    pages: views,
                    scores: &mut vec![9.0; 3],
                    out: &mut out,
                }
                .run();
                let score = |j: usize| -> f64 {
                    let keys = &pages[j / PAGE].0;
                    (0..width)
                        .map(|d| f64::from(query[d]) * f64::from(keys[d * PAGE + j % PAGE]))
                        .sum()
                };
                let weights: Vec<f64> = (0..len).map(|j| (score(j) * f64::from(scale)).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (d, out) in out.iter().enumerate() {
                    let value = |j: usize| f64::from(pages[j / PAGE].1[j % PAGE * width + d]);
                    let mean = weights.iter().enumerate().map(|(j, w)| w * value(j)).sum::<f64>() / total;
                    assert!(
                        (f64::from(*out) - mean).abs() < 1e-5,
                        "{width} {len} {d}: {out} {mean}"
                    );
                }
            }
        }
    }
}
