//! Causal attention with its rotation, forward and backward.
//!
//! Queries, keys and values stay as the projections leave them (`[rows * n, heads * head]`, heads side by side). One
//! head of one sequence fits in the cache, so scores are recomputed in the backward pass and never stored. Inner loops
//! are sums of scaled vectors, because those vectorise without changing the order of additions.

use std::sync::Arc;

use anyhow::Result;
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};

use super::{exp, slice, tensor, values};

/// Sizes of one call, and the rotation's table.
#[derive(Clone)]
pub struct Attention {
    /// Length of every sequence.
    pub n: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head: usize,
    /// `(cos, sin)` of pair `i` at position `p`, at index `p * head / 2 + i`.
    pub rotation: Arc<[(f32, f32)]>,
}

impl Attention {
    /// Attention's output `[rows * n, heads * head]` for `q` of that shape and `k`, `v` `[rows * n, kv_heads * head]`.
    pub fn apply(self, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        Ok(q.apply_op3(k, v, self)?)
    }

    /// One head out of a sequence: `[n, head]`.
    fn gather(&self, x: &[f32], width: usize, head: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.n * self.head);
        for row in x.chunks(width) {
            out.extend_from_slice(&row[head * self.head..][..self.head]);
        }
        out
    }

    /// Rotates `x` `[n, head]` by its positions' angles, or back.
    fn rotate(&self, x: &mut [f32], back: bool) {
        for (pair, (cos, sin)) in x.chunks_exact_mut(2).zip(self.rotation.iter()) {
            let sin = if back { -sin } else { *sin };
            let (a, b) = (pair[0], pair[1]);
            pair[0] = a * cos - b * sin;
            pair[1] = a * sin + b * cos;
        }
    }

    fn transpose(&self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        for (i, row) in x.chunks(self.head).enumerate() {
            for (d, x) in row.iter().enumerate() {
                out[d * self.n + i] = *x;
            }
        }
        out
    }

    /// Attention weights of query `q` over positions `0..p.len()`, given the transposed keys.
    fn weigh(&self, q: &[f32], keys: &[f32], p: &mut [f32]) {
        self.project(q, keys, p);
        let best = p.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        p.iter_mut().for_each(|p| *p = exp(*p - best));
        let scale = 1.0 / p.iter().sum::<f32>();
        p.iter_mut().for_each(|p| *p *= scale);
    }

    /// `out[j] = x · rows[j]` for rows given transposed.
    fn project(&self, x: &[f32], transposed: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        for (d, x) in x.iter().enumerate() {
            add_scaled(out, *x, &transposed[d * self.n..]);
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head as f32).sqrt()
    }

    fn forward(&self, q: &[f32], k: &[f32], v: &[f32], y: &mut [f32]) {
        let (width, kv_width) = (self.heads * self.head, self.kv_heads * self.head);
        let mut p = vec![0.0; self.n];
        for kv in 0..self.kv_heads {
            let mut keys = self.gather(k, kv_width, kv);
            self.rotate(&mut keys, false);
            let keys = self.transpose(&keys);
            let vals = self.gather(v, kv_width, kv);
            for head in self.sharing(kv) {
                let mut queries = self.gather(q, width, head);
                self.rotate(&mut queries, false);
                queries.iter_mut().for_each(|q| *q *= self.scale());
                for (i, query) in queries.chunks(self.head).enumerate() {
                    let p = &mut p[..=i];
                    self.weigh(query, &keys, p);
                    let y = &mut y[i * width + head * self.head..][..self.head];
                    for (p, v) in p.iter().zip(vals.chunks(self.head)) {
                        add_scaled(y, *p, v);
                    }
                }
            }
        }
    }

    /// Gradients of one sequence; `dq`, `dk`, `dv` come zeroed.
    fn backward(&self, [q, k, v, y, dy]: [&[f32]; 5], [dq, dk, dv]: [&mut [f32]; 3]) {
        let (width, kv_width) = (self.heads * self.head, self.kv_heads * self.head);
        let (mut p, mut ds) = (vec![0.0; self.n], vec![0.0; self.n]);
        for kv in 0..self.kv_heads {
            let mut keys = self.gather(k, kv_width, kv);
            self.rotate(&mut keys, false);
            let keys_t = self.transpose(&keys);
            let vals_t = self.transpose(&self.gather(v, kv_width, kv));
            let (mut dkeys, mut dvals) = (vec![0.0; keys.len()], vec![0.0; keys.len()]);
            for head in self.sharing(kv) {
                let mut queries = self.gather(q, width, head);
                self.rotate(&mut queries, false);
                queries.iter_mut().for_each(|q| *q *= self.scale());
                let mut dqueries = vec![0.0; queries.len()];
                for i in 0..self.n {
                    let at = i * width + head * self.head;
                    let (y, dy) = (&y[at..][..self.head], &dy[at..][..self.head]);
                    let query = &queries[i * self.head..][..self.head];
                    let (p, ds) = (&mut p[..=i], &mut ds[..=i]);
                    self.weigh(query, &keys_t, p);
                    self.project(dy, &vals_t, ds);
                    let mean: f32 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
                    ds.iter_mut().zip(&*p).for_each(|(ds, p)| *ds = p * (*ds - mean));
                    let dquery = &mut dqueries[i * self.head..][..self.head];
                    for (j, (p, ds)) in p.iter().zip(&*ds).enumerate() {
                        let row = j * self.head..(j + 1) * self.head;
                        add_scaled(&mut dvals[row.clone()], *p, dy);
                        add_scaled(&mut dkeys[row.clone()], *ds, query);
                        add_scaled(dquery, *ds, &keys[row]);
                    }
                }
                dqueries.iter_mut().for_each(|d| *d *= self.scale());
                self.rotate(&mut dqueries, true);
                self.scatter(&dqueries, dq, width, head);
            }
            self.rotate(&mut dkeys, true);
            self.scatter(&dkeys, dk, kv_width, kv);
            self.scatter(&dvals, dv, kv_width, kv);
        }
    }

    /// The query heads that share a key head.
    fn sharing(&self, kv: usize) -> std::ops::Range<usize> {
        let count = self.heads / self.kv_heads;
        kv * count..(kv + 1) * count
    }

    fn scatter(&self, x: &[f32], out: &mut [f32], width: usize, head: usize) {
        for (x, out) in x.chunks(self.head).zip(out.chunks_mut(width)) {
            out[head * self.head..][..self.head].copy_from_slice(x);
        }
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (q, k, v) = (slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        let (wide, narrow) = (
            self.n * self.heads * self.head,
            self.n * self.kv_heads * self.head,
        );
        let mut y = vec![0f32; q.len()];
        let inputs = q.chunks(wide).zip(k.chunks(narrow)).zip(v.chunks(narrow));
        for (y, ((q, k), v)) in y.chunks_mut(wide).zip(inputs) {
            self.forward(q, k, v, y);
        }
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dims, kv_dims) = (q.dims().to_vec(), k.dims().to_vec());
        let (wide, narrow) = (
            self.n * self.heads * self.head,
            self.n * self.kv_heads * self.head,
        );
        let (q, k, v, y, grad) = (values(q)?, values(k)?, values(v)?, values(y)?, values(grad)?);
        let (mut dq, mut dk, mut dv) = (vec![0f32; q.len()], vec![0f32; k.len()], vec![0f32; v.len()]);
        for row in 0..q.len() / wide {
            let wide = row * wide..(row + 1) * wide;
            let narrow = row * narrow..(row + 1) * narrow;
            self.backward(
                [
                    &q[wide.clone()],
                    &k[narrow.clone()],
                    &v[narrow.clone()],
                    &y[wide.clone()],
                    &grad[wide.clone()],
                ],
                [&mut dq[wide], &mut dk[narrow.clone()], &mut dv[narrow]],
            );
        }
        Ok((
            Some(tensor(dq, &dims)?),
            Some(tensor(dk, &kv_dims)?),
            Some(tensor(dv, &kv_dims)?),
        ))
    }
}

/// `out += scale * x`, as far as `out` reaches.
fn add_scaled(out: &mut [f32], scale: f32, x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += scale * x;
    }
}
