//! Exact attention over the pages of one slot: SPEC 2.7.

use std::ops::Range;

use crate::kv::{Number, PAGE, Part};
use crate::net::ops::{reduce, tree};
use weir_exact::exp;
use weir_exact::lanes::Pass;

const LANES: usize = 16;

/// Heads of which 32 registers of sixteen lanes hold the sums of a page, and more.
pub(crate) const TOGETHER: usize = 4;

/// The query heads at one position that share a head of keys and values: what one loads of a page, the others find in the
/// nearest cache.
pub(crate) struct Attend<'a, P> {
    /// `[head][width]`
    pub(crate) queries: &'a [f32],
    /// Elements of a head; a multiple of 16.
    pub(crate) width: usize,
    /// Positions seen, the query's own included: at least one.
    pub(crate) len: usize,
    /// Heads that go over a page at once, as many as the sums of which fit the registers; at most [`TOGETHER`].
    pub(crate) together: usize,
    /// 1 / sqrt(width).
    pub(crate) scale: f32,
    /// Keys and values of at least `len` positions.
    pub(crate) pages: P,
    /// Room for scores; its content does not matter.
    pub(crate) scores: &'a mut Vec<f32>,
    /// `[head][width]`
    pub(crate) out: &'a mut [f32],
}

impl<'a, N: Number, P: Iterator<Item = Part<'a, N>> + Clone> Pass for Attend<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            queries,
            width,
            len,
            together,
            scale,
            pages,
            scores,
            out,
        } = self;
        let heads = queries.len() / width;
        let padded = len.div_ceil(PAGE) * PAGE;
        let pages = pages.take(padded / PAGE);
        // [head][position], then the sum of each head
        scores.resize(heads * (padded + 1), 0.0);
        let (scores, totals) = scores.split_at_mut(heads * padded);
        let together = together.clamp(1, TOGETHER);
        for (part, first) in pages.clone().zip((0..).step_by(PAGE)) {
            let some = queries.chunks(together * width);
            for (queries, scores) in some.zip(scores.chunks_mut(together * padded)) {
                match queries.len() / width {
                    TOGETHER => score::<N, TOGETHER>(queries, &part, scale, first, scores),
                    3 => score::<N, 3>(queries, &part, scale, first, scores),
                    2 => score::<N, 2>(queries, &part, scale, first, scores),
                    _ => score::<N, 1>(queries, &part, scale, first, scores),
                }
            }
        }
        for (scores, total) in scores.chunks_exact_mut(padded).zip(&mut *totals) {
            // What comes after the query counts nothing: exp makes an exact zero of it.
            scores[len..].fill(f32::NEG_INFINITY);
            *total = exponentiate(scores);
        }
        out.fill(0.0);
        for (part, first) in pages.zip((0..).step_by(PAGE)) {
            let end = len.min(first + PAGE);
            let some = scores.chunks(together * padded);
            for (weights, out) in some.zip(out.chunks_mut(together * width)) {
                match out.len() / width {
                    TOGETHER => mix::<N, TOGETHER>(weights, first..end, &part, out),
                    3 => mix::<N, 3>(weights, first..end, &part, out),
                    2 => mix::<N, 2>(weights, first..end, &part, out),
                    _ => mix::<N, 1>(weights, first..end, &part, out),
                }
            }
        }
        for (out, total) in out.chunks_exact_mut(width).zip(totals) {
            out.iter_mut().for_each(|out| *out /= *total);
        }
    }
}

/// Scores of a page's positions, `[head][position]` from `first` on, for `H` heads: a key that is loaded serves all.
#[inline(always)]
fn score<N: Number, const H: usize>(
    queries: &[f32],
    part: &Part<'_, N>,
    scale: f32,
    first: usize,
    scores: &mut [f32],
) {
    let (width, padded) = (queries.len() / H, scores.len() / H);
    let mut heads = [queries; H];
    for h in 0..H {
        heads[h] = &queries[h * width..][..width];
    }
    let mut sums = [[0.0f32; PAGE]; H];
    for (d, keys) in part.keys.as_chunks::<PAGE>().0.iter().enumerate().take(width) {
        for h in 0..H {
            let q = heads[h][d];
            for (sum, key) in sums[h].iter_mut().zip(keys) {
                *sum += q * key.float();
            }
        }
    }
    for (scores, sums) in scores.chunks_exact_mut(padded).zip(&sums) {
        for ((score, sum), key_scale) in scores[first..].iter_mut().zip(sums).zip(part.key_scales) {
            *score = N::scaled(*sum, *key_scale) * scale;
        }
    }
}

/// `exp(score - best)` in place; gives the sum.
#[inline(always)]
fn exponentiate(scores: &mut [f32]) -> f32 {
    let (scores, _) = scores.as_chunks_mut::<LANES>();
    let mut best = [f32::NEG_INFINITY; LANES];
    for score in &*scores {
        for (best, &s) in best.iter_mut().zip(score) {
            *best = if s > *best { s } else { *best };
        }
    }
    let max = reduce(best, |max, s| if s > max { s } else { max });
    let mut sums = [0.0; LANES];
    for score in scores {
        for (sum, s) in sums.iter_mut().zip(score) {
            *s = exp(*s - max);
            *sum += *s;
        }
    }
    tree(sums)
}

/// Adds a page's values, by the weights of `positions`, position after position, for `H` heads.
#[inline(always)]
fn mix<N: Number, const H: usize>(
    weights: &[f32],
    positions: Range<usize>,
    part: &Part<'_, N>,
    out: &mut [f32],
) {
    let (width, padded) = (out.len() / H, weights.len() / H);
    let mut heads = [weights; H];
    for h in 0..H {
        heads[h] = &weights[h * padded..][positions.clone()];
    }
    let mut at = 0;
    while at + 64 <= width {
        mix_some::<N, H, 64>(&heads, part, width, at, out);
        at += 64;
    }
    while at + LANES <= width {
        mix_some::<N, H, LANES>(&heads, part, width, at, out);
        at += LANES;
    }
}

/// Elements `at .. at + W` of each head, whose sums stay in registers.
#[inline(always)]
fn mix_some<N: Number, const H: usize, const W: usize>(
    weights: &[&[f32]; H],
    part: &Part<'_, N>,
    width: usize,
    at: usize,
    out: &mut [f32],
) {
    let mut sums = [[0.0f32; W]; H];
    for h in 0..H {
        sums[h].copy_from_slice(&out[h * width + at..][..W]);
    }
    let values = part.values.chunks_exact(width).zip(part.value_scales);
    for (j, (value, scale)) in values.enumerate().take(weights[0].len()) {
        if let Some(value) = value[at..].first_chunk::<W>() {
            for h in 0..H {
                let weight = N::scaled(weights[h][j], *scale);
                for (sum, v) in sums[h].iter_mut().zip(value) {
                    *sum += weight * v.float();
                }
            }
        }
    }
    for h in 0..H {
        out[h * width + at..][..W].copy_from_slice(&sums[h]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONES: [f32; PAGE] = [1.0; PAGE];

    fn check<N: Number>(width: usize, query: &[f32], pages: &[Part<'_, N>]) {
        let scale = 1.0 / (width as f32).sqrt();
        for (len, together) in [(1, 1), (15, 4), (64, 2), (65, 3), (130, 4), (192, 1), (192, 4)] {
            let mut out = vec![f32::NAN; query.len()];
            Attend {
                queries: query,
                width,
                len,
                together,
                scale,
                pages: pages.iter().copied(),
                scores: &mut vec![9.0; 3],
                out: &mut out,
            }
            .run();
            let score = |query: &[f32], j: usize| -> f64 {
                let page = &pages[j / PAGE];
                let key = |d: usize| f64::from(page.keys[d * PAGE + j % PAGE].float());
                let sum: f64 = (0..width).map(|d| f64::from(query[d]) * key(d)).sum();
                sum * f64::from(page.key_scales[j % PAGE])
            };
            for (i, out) in out.iter().enumerate() {
                let (query, d) = (&query[i / width * width..], i % width);
                let weight = |j| (score(query, j) * f64::from(scale)).exp();
                let weights: Vec<f64> = (0..len).map(weight).collect();
                let total: f64 = weights.iter().sum();
                let value = |j: usize| -> f64 {
                    let page = &pages[j / PAGE];
                    let value = f64::from(page.values[j % PAGE * width + d].float());
                    value * f64::from(page.value_scales[j % PAGE])
                };
                let mean = weights.iter().enumerate().map(|(j, w)| w * value(j)).sum::<f64>() / total;
                assert!(
                    (f64::from(*out) - mean).abs() < 1e-5,
                    "{width} {len} {i}: {out} {mean}"
                );
            }
        }
    }

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
            let query: Vec<f32> = (0..7 * width).map(|i| number(i * 11)).collect();
            let parts: Vec<_> = pages
                .iter()
                .map(|(keys, values)| Part {
                    keys: &keys[..],
                    values: &values[..],
                    key_scales: &ONES,
                    value_scales: &ONES,
                })
                .collect();
            check(width, &query, &parts);
        }
    }

    /// The same of codes, whose scales differ from position to position.
    #[test]
    fn codes_count_as_much_as_their_scales_say() {
        for width in [16, 48, 64] {
            let code = |i: usize| ((i * 7919 + 13) % 255) as i8;
            let scales: Vec<[f32; PAGE]> = (0..6)
                .map(|p| std::array::from_fn(|j| ((j * 31 + p * 17) % 64 + 1) as f32 / 4000.0))
                .collect();
            let codes: Vec<Vec<i8>> = (0..6)
                .map(|p| (0..width * PAGE).map(|i| code(i * (p + 1) + p)).collect())
                .collect();
            let parts: Vec<_> = (0..3)
                .map(|p| Part {
                    keys: &codes[2 * p][..],
                    values: &codes[2 * p + 1][..],
                    key_scales: &scales[2 * p],
                    value_scales: &scales[2 * p + 1],
                })
                .collect();
            let query: Vec<f32> = (0..7 * width).map(|i| code(i * 11) as f32 / 100.0).collect();
            check(width, &query, &parts);
        }
    }
}
