//! One pass of some rows through the network.

use crate::Kv;
use crate::kernel::matrix::Matrix;
use crate::kernel::team;
use crate::kernel::{self, Activations, Product, TileMut};
use crate::kv::{Number, Pool};
use crate::net::attention::{Attend, TOGETHER};
use crate::net::config::Config;
use crate::net::network::{Layer, Network};
use crate::net::ops::{self, RmsNorm, SwiGlu};
use crate::net::rope::{Rope, Rotate};
use weir_exact::lanes;
use weir_exact::{Error, Kernel, Slot, Token};

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
    /// Hidden states, without what the last matrix gave for them.
    x: Vec<f32>,
    /// What the last matrix gave for them.
    y: Vec<f32>,
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
}

impl Quantized {
    /// Adds `y` to the hidden states `x`, if it is there, and quantizes what [`RmsNorm`] makes of them. `normed` is room.
    fn normalize(
        &mut self,
        means: Means,
        matrices: &[&Matrix],
        x: &mut [f32],
        y: Option<&[f32]>,
        (weight, epsilon): (&[f32], f32),
        normed: &mut Vec<f32>,
    ) -> Result<(), Error> {
        normed.resize(x.len(), 0.0);
        let norm = |(x, y), out: &mut [f32]| {
            let norm = RmsNorm {
                x,
                y,
                weight,
                epsilon,
                out,
            };
            lanes::run(means.kernel, norm);
        };
        let tile = tile_len(x.len() / weight.len(), weight.len());
        let y = (0..)
            .step_by(tile)
            .map(|first| y.map(|y| &y[first..y.len().min(first + tile)]));
        self.fill(means, matrices, normed, x.chunks_mut(tile).zip(y), norm)
    }

    /// Lets `make` make `rows` and quantizes them for `matrices`, tile by tile; the tiles are divided among threads.
    /// `inputs` are what the tiles are made from.
    fn fill<I: Send>(
        &mut self,
        means: Means,
        matrices: &[&Matrix],
        rows: &mut [f32],
        inputs: impl Iterator<Item = I>,
        make: impl Fn(I, &mut [f32]) + Sync,
    ) -> Result<(), Error> {
        let cols = matrices.first().map_or(1, |matrix| matrix.cols);
        let count = rows.len() / cols;
        let tile = tile_len(count, cols);
        let by_32 = tiles(&mut self.by_32, matrices, count, 32);
        let by_256 = tiles(&mut self.by_256, matrices, count, 256);
        let threads = team::worth(means.threads, 8 * rows.len());
        let parts = rows.chunks_mut(tile).zip(inputs).zip(by_32).zip(by_256);
        team::each(threads, parts, |(((rows, input), by_32), by_256)| {
            make(input, rows);
            let mut tiles = by_32.into_iter().chain(by_256);
            tiles.try_for_each(|tile| tile.quantize(means.kernel, rows))
        })
    }

    /// Multiplies each matrix with what was quantized for it.
    fn multiply<const N: usize>(
        &self,
        means: Means,
        work: [(&Matrix, &mut Vec<f32>); N],
    ) -> Result<(), Error> {
        let products = work.map(|(matrix, out)| {
            let x = match matrix.kind.shape().block {
                32 => &self.by_32,
                _ => &self.by_256,
            };
            out.resize(x.rows() * matrix.rows, 0.0);
            Product { matrix, x, out }
        });
        kernel::multiply(means.kernel, means.threads, products)
    }
}

/// Values of a tile of `rows` rows of `cols`.
fn tile_len(rows: usize, cols: usize) -> usize {
    kernel::tile_rows(rows) * cols
}

/// Tiles for `rows` rows, or nothing for each if no matrix asks for blocks of `block`.
fn tiles<'a>(
    activations: &'a mut Activations,
    matrices: &[&Matrix],
    rows: usize,
    block: usize,
) -> Vec<Option<TileMut<'a>>> {
    match matrices.iter().find(|matrix| matrix.kind.shape().block == block) {
        Some(matrix) => activations
            .tiles_mut(rows, matrix.cols, block)
            .map(Some)
            .collect(),
        None => (0..rows).map(|_| None).collect(),
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
        y,
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
    let chunk = Chunk {
        config,
        rope,
        means,
        rows,
    };
    x.resize(rows.len() * config.dim, 0.0);
    let embeddings = x.chunks_mut(config.dim).zip(rows);
    team::each(
        team::worth(means.threads, 8 * rows.len() * config.dim),
        embeddings,
        |(x, row)| {
            network.embedding.row(row.token as usize, x);
            Ok(())
        },
    )?;
    for (index, layer) in network.layers.iter().enumerate() {
        let before = (index > 0).then_some(&y[..]);
        let norm = (&layer.attn_norm[..], config.epsilon);
        let matrices = [&layer.q, &layer.k, &layer.v];
        quantized.normalize(means, &matrices, x, before, norm, normed)?;
        quantized.multiply(means, [(&layer.q, q), (&layer.k, k), (&layer.v, v)])?;
        chunk.store(pool, index, layer, k, v)?;
        if !keep && index + 1 == network.layers.len() {
            return Ok(());
        }
        let bias = layer.q_bias.as_deref();
        match pool.kv() {
            Kv::F32 => chunk.attend::<f32>(pool, index, bias, q, mixed)?,
            Kv::Int8 => chunk.attend::<i8>(pool, index, bias, q, mixed)?,
        }
        quantized.fill(means, &[&layer.o], mixed, std::iter::repeat(()), |(), _| ())?;
        quantized.multiply(means, [(&layer.o, y)])?;
        let norm = (&layer.ffn_norm[..], config.epsilon);
        quantized.normalize(means, &[&layer.gate, &layer.up], x, Some(y), norm, normed)?;
        quantized.multiply(means, [(&layer.gate, gate), (&layer.up, up)])?;
        let up = up.chunks(tile_len(rows.len(), config.ffn));
        quantized.fill(means, &[&layer.down], gate, up, |up, gate| {
            lanes::run(means.kernel, SwiGlu { gate, up });
        })?;
        quantized.multiply(means, [(&layer.down, y)])?;
    }
    Ok(())
}

/// The logits of rows `from .. from + count` of the last [`layers`], into `scratch.logits`; once for each row.
pub(crate) fn logits(
    network: &Network,
    means: Means,
    from: usize,
    count: usize,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let Scratch {
        x,
        y,
        normed,
        quantized,
        logits,
        ..
    } = scratch;
    let dim = network.config.dim;
    let rows = from * dim..(from + count) * dim;
    let norm = (&network.norm[..], network.config.epsilon);
    let head = network.head();
    quantized.normalize(means, &[head], &mut x[rows.clone()], Some(&y[rows]), norm, normed)?;
    quantized.multiply(means, [(head, &mut *logits)])?;
    let share = team::share(logits.len(), 4 * means.threads);
    team::each(means.threads, logits.chunks(share), |logits| {
        // The largest magnitude as bits: infinity and NaN come last.
        let magnitudes = logits.iter().map(|x| x.to_bits() & 0x7fff_ffff);
        if magnitudes.fold(0, u32::max) < f32::INFINITY.to_bits() {
            Ok(())
        } else {
            Err(Error::NotFinite)
        }
    })
}

/// Rows that go through the layers together.
struct Chunk<'a> {
    config: &'a Config,
    rope: &'a Rope,
    means: Means,
    rows: &'a [Row],
}

impl Chunk<'_> {
    /// Stores keys, rotated, and values of one layer, with their biases.
    fn store(
        &self,
        pool: &mut Pool,
        index: usize,
        layer: &Layer,
        k: &mut [f32],
        v: &mut [f32],
    ) -> Result<(), Error> {
        let width = self.config.head_dim;
        let len = self.config.kv_heads * width;
        for ((row, k), v) in self.rows.iter().zip(k.chunks_mut(len)).zip(v.chunks_mut(len)) {
            self.rotate(row, k, layer.k_bias.as_deref());
            if let Some(bias) = &layer.v_bias {
                ops::add(v, bias);
            }
            pool.write(row.slot, row.position, index, k, v)?;
        }
        Ok(())
    }

    /// Every head of every row; a row sees what the slot holds up to its own position.
    fn attend<N: Number>(
        &self,
        pool: &Pool,
        layer: usize,
        bias: Option<&[f32]>,
        q: &mut [f32],
        out: &mut Vec<f32>,
    ) -> Result<(), Error> {
        let (rows, width, kv_heads) = (self.rows, self.config.head_dim, self.config.kv_heads);
        out.resize(q.len(), 0.0);
        let scale = 1.0 / (width as f32).sqrt();
        let together = match self.means.kernel {
            Kernel::Avx512 => TOGETHER,
            _ => 1,
        };
        // Query heads that share a head of keys and values.
        let group = self.config.heads / kv_heads * width;
        let longest = rows.iter().map(|row| row.position + 1).max().unwrap_or(0);
        let threads = team::worth(self.means.threads, q.len() * longest / 8);
        // More parts than threads, for contexts differ in length.
        let share = team::share(rows.len() * kv_heads, 4 * threads);
        let parts = q.chunks_mut(share * group).zip(out.chunks_mut(share * group));
        team::each(threads, parts.enumerate(), |(part, (queries, out))| {
            let mut scores = Vec::new();
            for (i, (queries, out)) in queries.chunks_mut(group).zip(out.chunks_mut(group)).enumerate() {
                let (row, head) = ((part * share + i) / kv_heads, (part * share + i) % kv_heads);
                let row = &rows[row];
                self.rotate(row, queries, bias.map(|bias| &bias[head * group..][..group]));
                let pass = Attend {
                    queries,
                    width,
                    len: row.position + 1,
                    together,
                    scale,
                    pages: pool.head::<N>(row.slot, layer, head),
                    scores: &mut scores,
                    out,
                };
                lanes::run(self.means.kernel, pass);
            }
            Ok(())
        })
    }

    /// Adds the bias of some heads of a row, if they have one, and rotates them.
    fn rotate(&self, row: &Row, heads: &mut [f32], bias: Option<&[f32]>) {
        let rotate = Rotate {
            rope: self.rope,
            position: row.position,
            heads,
            width: self.config.head_dim,
            bias,
        };
        lanes::run(self.means.kernel, rotate);
    }
}
