//! One pass of some rows through the network.

use crate::attention::Attend;
use crate::kernel::{self, Activations, Product};
use crate::kv::{Number, Pool};
use crate::math::lanes;
use crate::network::{Layer, Network};
use crate::ops::{self, RmsNorm, SwiGlu};
use crate::rope::Rope;
use crate::weights::Matrix;
use crate::{Error, Kernel, Kv, Slot, Token, team};

/// Most rows that go through the layers together.
pub(crate) const CHUNK: usize = 64;
/// Most rows whose logits exist at once.
pub(crate) const HEAD_CHUNK: usize = 32;

/// One token on its way, with its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) slot: Slot,
    pub(crate) token: Token,
    pub(crate) position: usize,
}

/// How to compute: none of it changes a bit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    pub(crate) kernel: Kernel,
    pub(crate) threads: usize,
}

/// Buffers that are used again for every chunk, `[row][..]` each.
#[derive(Default)]
pub(crate) struct Scratch {
    x: Vec<f32>,
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mixed: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    quantized: Quantized,
    /// `[row][vocab]` of the last [`logits`].
    pub(crate) logits: Vec<f32>,
}

/// One input of matrices, quantized by blocks of 32 and of 256 as they ask for it.
#[derive(Default)]
struct Quantized {
    by_32: Activations,
    by_256: Activations,
    scratch: Vec<f32>,
}

impl Quantized {
    /// Multiplies `x` with each matrix.
    fn multiply<const N: usize>(
        &mut self,
        means: Means,
        x: &[f32],
        mut work: [(&Matrix, &mut Vec<f32>); N],
    ) -> Result<(), Error> {
        let (mut have_32, mut have_256) = (false, false);
        for (matrix, out) in &mut work {
            let block = matrix.kind.shape().block;
            let (have, quantized) = match block {
                32 => (&mut have_32, &mut self.by_32),
                _ => (&mut have_256, &mut self.by_256),
            };
            if !std::mem::replace(have, true) {
                quantized.quantize(means.kernel, means.threads, x, matrix.cols, block)?;
            }
            out.resize(x.len() / matrix.cols * matrix.rows, 0.0);
        }
        let mut products = work.map(|(matrix, out)| Product {
            matrix,
            x: match matrix.kind.shape().block {
                32 => &self.by_32,
                _ => &self.by_256,
            },
            out,
        });
        kernel::multiply(means.kernel, means.threads, &mut products, &mut self.scratch)
    }
}

/// Feeds `rows`, whose positions are in the pool already, through all layers. With `keep`, the hidden states are left for
/// [`logits`]; without, the last layer stops once keys and values are stored.
pub(crate) fn layers(
    network: &Network,
    rope: &Rope,
    pool: &mut Pool,
    means: Means,
    rows: &[Row],
    keep: bool,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let config = &network.config;
    let Scratch {
        x,
        normed,
        q,
        k,
        v,
        mixed,
        gate,
        up,
        quantized,
        ..
    } = scratch;
    x.resize(rows.len() * config.dim, 0.0);
    for (row, x) in rows.iter().zip(x.chunks_mut(config.dim)) {
        network.embedding.row(row.token as usize, x);
    }
    for (index, layer) in network.layers.iter().enumerate() {
        normalize(means, x, &layer.attn_norm, config.epsilon, normed)?;
        quantized.multiply(means, normed, [(&layer.q, q), (&layer.k, k), (&layer.v, v)])?;
        add_biases(layer, q, k, v);
        let (width, kv_len) = (config.head_dim, config.kv_heads * config.head_dim);
        for (i, row) in rows.iter().enumerate() {
            let (q_len, k) = (config.heads * width, &mut k[i * kv_len..][..kv_len]);
            let heads = q[i * q_len..][..q_len]
                .chunks_mut(width)
                .chain(k.chunks_mut(width));
            heads.for_each(|head| rope.rotate(head, row.position));
            pool.write(row.slot, row.position, index, k, &v[i * kv_len..][..kv_len])?;
        }
        if !keep && index + 1 == network.layers.len() {
            return Ok(());
        }
        match pool.kv() {
            Kv::F32 => attend::<f32>(network, pool, means, index, rows, q, mixed)?,
            Kv::Int8 => attend::<i8>(network, pool, means, index, rows, q, mixed)?,
        }
        quantized.multiply(means, mixed, [(&layer.o, &mut *normed)])?;
        ops::add(x, normed);
        normalize(means, x, &layer.ffn_norm, config.epsilon, normed)?;
        quantized.multiply(means, normed, [(&layer.gate, gate), (&layer.up, up)])?;
        activate(means, gate, up)?;
        quantized.multiply(means, gate, [(&layer.down, &mut *normed)])?;
        ops::add(x, normed);
    }
    Ok(())
}

/// The logits of rows `from .. from + count` of the last [`layers`], into `scratch.logits`.
pub(crate) fn logits(
    network: &Network,
    means: Means,
    from: usize,
    count: usize,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let Scratch {
        x,
        normed,
        quantized,
        logits,
        ..
    } = scratch;
    let dim = network.config.dim;
    normalize(
        means,
        &x[from * dim..][..count * dim],
        &network.norm,
        network.config.epsilon,
        normed,
    )?;
    quantized.multiply(means, normed, [(network.head(), &mut *logits)])?;
    // The largest magnitude as bits: infinity and NaN come last.
    let worst = logits
        .iter()
        .fold(0, |worst, x| (x.to_bits() & 0x7fff_ffff).max(worst));
    if worst < f32::INFINITY.to_bits() {
        Ok(())
    } else {
        Err(Error::NotFinite)
    }
}

fn normalize(means: Means, x: &[f32], weight: &[f32], epsilon: f32, out: &mut Vec<f32>) -> Result<(), Error> {
    out.resize(x.len(), 0.0);
    let (rows, threads) = (x.len() / weight.len(), team::worth(means.threads, x.len()));
    let share = team::share(rows, threads) * weight.len();
    team::each(x.chunks(share).zip(out.chunks_mut(share)), |(x, out)| {
        let pass = RmsNorm {
            x,
            weight,
            epsilon,
            out,
        };
        lanes::run(means.kernel, pass);
        Ok(())
    })
}

fn activate(means: Means, gate: &mut [f32], up: &[f32]) -> Result<(), Error> {
    // Some twenty operations each, for the exponential.
    let share = team::share(gate.len(), team::worth(means.threads, 20 * gate.len()));
    team::each(gate.chunks_mut(share).zip(up.chunks(share)), |(gate, up)| {
        lanes::run(means.kernel, SwiGlu { gate, up });
        Ok(())
    })
}

fn add_biases(layer: &Layer, q: &mut [f32], k: &mut [f32], v: &mut [f32]) {
    for (x, bias) in [(q, &layer.q_bias), (k, &layer.k_bias), (v, &layer.v_bias)] {
        if let Some(bias) = bias {
            x.chunks_mut(bias.len()).for_each(|x| ops::add(x, bias));
        }
    }
}

/// Every head of every row; a row sees what the slot holds up to its own position.
fn attend<N: Number>(
    network: &Network,
    pool: &Pool,
    means: Means,
    layer: usize,
    rows: &[Row],
    q: &[f32],
    out: &mut Vec<f32>,
) -> Result<(), Error> {
    let config = &network.config;
    let (width, heads) = (config.head_dim, config.heads);
    out.resize(q.len(), 0.0);
    let scale = 1.0 / (width as f32).sqrt();
    // Query heads that share a head of keys and values.
    let group = heads / config.kv_heads * width;
    let longest = rows.iter().map(|row| row.position + 1).max().unwrap_or(0);
    let threads = team::worth(means.threads, q.len() * longest / 8);
    // More parts than threads, for contexts differ in length.
    let share = team::share(rows.len() * config.kv_heads, 4 * threads);
    let parts = q.chunks(share * group).zip(out.chunks_mut(share * group));
    team::each(parts.enumerate(), |(part, (queries, out))| {
        let mut scores = Vec::new();
        for (i, (queries, out)) in queries.chunks(group).zip(out.chunks_mut(group)).enumerate() {
            let number = part * share + i;
            let Row { slot, position, .. } = rows[number / config.kv_heads];
            let pass = Attend {
                queries,
                width,
                len: position + 1,
                scale,
                pages: pool.head::<N>(slot, layer, number % config.kv_heads),
                scores: &mut scores,
                out,
            };
            lanes::run(means.kernel, pass);
        }
        Ok(())
    })
}
