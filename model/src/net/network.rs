//! The weights of a model by their place in it, wherever they come from.

use crate::Error;
use crate::kernel::matrix::Matrix;
use crate::net::config::Config;

/// A container that gives tensors by name.
pub(crate) trait Source {
    /// The matrix `name`, if there.
    fn matrix(&mut self, name: &str) -> Result<Option<Matrix>, Error>;
    /// The vector `name`, if there.
    fn vector(&mut self, name: &str) -> Result<Option<Vec<f32>>, Error>;
    /// The name of a tensor that nobody asked for.
    fn leftover(&self) -> Option<String>;
    /// The container's name for errors.
    fn file(&self) -> &str;
}

/// One layer.
pub(crate) struct Layer {
    pub(crate) attn_norm: Vec<f32>,
    pub(crate) q: Matrix,
    pub(crate) k: Matrix,
    pub(crate) v: Matrix,
    pub(crate) q_bias: Option<Vec<f32>>,
    pub(crate) k_bias: Option<Vec<f32>>,
    pub(crate) v_bias: Option<Vec<f32>>,
    pub(crate) o: Matrix,
    pub(crate) ffn_norm: Vec<f32>,
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
}

/// All weights.
pub(crate) struct Network {
    pub(crate) config: Config,
    pub(crate) vocab: usize,
    pub(crate) embedding: Matrix,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    /// `None` where the embedding is the head too.
    pub(crate) output: Option<Matrix>,
    /// What the rotary frequencies are divided by.
    pub(crate) rope_factors: Option<Vec<f32>>,
}

/// A tensor as a part of the model.
pub(crate) enum Part<'a> {
    Matrix(&'a Matrix),
    Vector(&'a [f32]),
}

impl Network {
    pub(crate) fn read(config: Config, source: &mut impl Source) -> Result<Self, Error> {
        let Config {
            dim,
            ffn,
            heads,
            kv_heads,
            head_dim,
            ..
        } = config;
        let (q_len, kv_len) = (heads * head_dim, kv_heads * head_dim);
        let embedding = matrix(source, "token_embd.weight", None, dim)?;
        let vocab = embedding.rows;
        let mut layers = Vec::new();
        for i in 0..config.layers {
            let name = |part: &str| format!("blk.{i}.{part}");
            layers.push(Layer {
                attn_norm: vector(source, &name("attn_norm.weight"), dim)?,
                q: matrix(source, &name("attn_q.weight"), Some(q_len), dim)?,
                k: matrix(source, &name("attn_k.weight"), Some(kv_len), dim)?,
                v: matrix(source, &name("attn_v.weight"), Some(kv_len), dim)?,
                q_bias: maybe_vector(source, &name("attn_q.bias"), q_len)?,
                k_bias: maybe_vector(source, &name("attn_k.bias"), kv_len)?,
                v_bias: maybe_vector(source, &name("attn_v.bias"), kv_len)?,
                o: matrix(source, &name("attn_output.weight"), Some(dim), q_len)?,
                ffn_norm: vector(source, &name("ffn_norm.weight"), dim)?,
                gate: matrix(source, &name("ffn_gate.weight"), Some(ffn), dim)?,
                up: matrix(source, &name("ffn_up.weight"), Some(ffn), dim)?,
                down: matrix(source, &name("ffn_down.weight"), Some(dim), ffn)?,
            });
        }
        let norm = vector(source, "output_norm.weight", dim)?;
        let output = maybe_matrix(source, "output.weight", Some(vocab), dim)?;
        let rope_factors = maybe_vector(source, "rope_freqs.weight", config.rope_dim / 2)?;
        if rope_factors
            .as_ref()
            .is_some_and(|f| f.iter().any(|f| !(1e-6..1e6).contains(f)))
        {
            return Err(Error::format(
                source.file(),
                "rope_freqs.weight",
                "1e-6 to 1e6",
                "something else",
            ));
        }
        if let Some(name) = source.leftover() {
            let expected = "only tensors of a llama or qwen2 model";
            return Err(Error::format(
                source.file(),
                name,
                expected,
                "a tensor without a place",
            ));
        }
        Ok(Self {
            config,
            vocab,
            embedding,
            layers,
            norm,
            output,
            rope_factors,
        })
    }

    /// The output head.
    pub(crate) fn head(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// Every tensor under its GGUF name, in the order of SPEC 2.9.
    pub(crate) fn parts(&self) -> Vec<(String, Part<'_>)> {
        let mut parts = vec![("token_embd.weight".into(), Part::Matrix(&self.embedding))];
        for (i, l) in self.layers.iter().enumerate() {
            let mut add = |name: &str, part| parts.push((format!("blk.{i}.{name}"), part));
            add("attn_norm.weight", Part::Vector(&l.attn_norm));
            add("attn_q.weight", Part::Matrix(&l.q));
            add("attn_k.weight", Part::Matrix(&l.k));
            add("attn_v.weight", Part::Matrix(&l.v));
            for (name, bias) in [
                ("attn_q.bias", &l.q_bias),
                ("attn_k.bias", &l.k_bias),
                ("attn_v.bias", &l.v_bias),
            ] {
                if let Some(bias) = bias {
                    add(name, Part::Vector(bias));
                }
            }
            add("attn_output.weight", Part::Matrix(&l.o));
            add("ffn_norm.weight", Part::Vector(&l.ffn_norm));
            add("ffn_gate.weight", Part::Matrix(&l.gate));
            add("ffn_up.weight", Part::Matrix(&l.up));
            add("ffn_down.weight", Part::Matrix(&l.down));
        }
        parts.push(("output_norm.weight".into(), Part::Vector(&self.norm)));
        if let Some(output) = &self.output {
            parts.push(("output.weight".into(), Part::Matrix(output)));
        }
        if let Some(factors) = &self.rope_factors {
            parts.push(("rope_freqs.weight".into(), Part::Vector(factors)));
        }
        parts
    }
}

impl Part<'_> {
    /// (kind, rows, columns) as the table and the hash write them: SPEC 8.1.
    pub(crate) fn shape(&self) -> (u8, u64, u64) {
        match self {
            Part::Matrix(m) => (m.kind as u8, m.rows as u64, m.cols as u64),
            Part::Vector(v) => (VECTOR, 1, v.len() as u64),
        }
    }

    /// The bytes as they are stored.
    pub(crate) fn bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        match self {
            Part::Matrix(m) => (&*m.data).into(),
            Part::Vector(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>().into(),
        }
    }
}

/// The kind of a vector in tables and hashes.
pub(crate) const VECTOR: u8 = 255;

fn maybe_matrix(
    source: &mut impl Source,
    name: &str,
    rows: Option<usize>,
    cols: usize,
) -> Result<Option<Matrix>, Error> {
    let Some(found) = source.matrix(name)? else {
        return Ok(None);
    };
    if rows.is_some_and(|rows| rows != found.rows) || found.cols != cols {
        let rows = rows.map_or_else(|| "any".into(), |rows| rows.to_string());
        let got = format!("{} x {}", found.rows, found.cols);
        return Err(Error::format(
            source.file(),
            name,
            format!("{rows} x {cols}"),
            got,
        ));
    }
    Ok(Some(found))
}

fn matrix(source: &mut impl Source, name: &str, rows: Option<usize>, cols: usize) -> Result<Matrix, Error> {
    let found = maybe_matrix(source, name, rows, cols)?;
    found.ok_or_else(|| Error::format(source.file(), name, "a matrix", "nothing"))
}

fn maybe_vector(source: &mut impl Source, name: &str, len: usize) -> Result<Option<Vec<f32>>, Error> {
    let Some(found) = source.vector(name)? else {
        return Ok(None);
    };
    if found.len() != len || !found.iter().all(|x| x.is_finite()) {
        let got = format!("{} values", found.len());
        return Err(Error::format(
            source.file(),
            name,
            format!("{len} finite values"),
            got,
        ));
    }
    Ok(Some(found))
}

fn vector(source: &mut impl Source, name: &str, len: usize) -> Result<Vec<f32>, Error> {
    let found = maybe_vector(source, name, len)?;
    found.ok_or_else(|| Error::format(source.file(), name, "a vector", "nothing"))
}
