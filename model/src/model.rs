//! A loaded model: the public face of this crate.

use crate::file::weirfile::Seals;
use crate::file::{mapped, weirfile};
use crate::kv::{self, Pool};
use crate::net::forward::{self, CHUNK, HEAD_CHUNK, Means, Row, Scratch};
use crate::net::network::Part;
use crate::net::rope::Rope;
use crate::net::weights::Weights;
use crate::{Error, Kernel, Options, Predict, Slot, Token};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::path::Path;
use std::sync::Arc;
use weir_exact::float_env;

/// What a model is, for people and for budgets.
#[derive(Clone, Debug)]
pub struct Info {
    /// `llama` or `qwen2`.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Positions the model was made for.
    pub context: usize,
    /// Number of layers.
    pub layers: usize,
    /// Bytes of the weights in memory.
    pub bytes: u64,
    /// Bytes of the weights that one token's pass reads: all, but for an embedding that is not the head too.
    pub bytes_per_token: u64,
    /// Bytes of keys and values of one position of a slot.
    pub kv_bytes: usize,
    /// The kernel chosen at load.
    pub kernel: Kernel,
}

/// A bit-exact language model and its live slots.
pub struct Model {
    weights: Arc<Weights>,
    info: Info,
    means: Means,
    threads: ThreadPool,
    rope: Arc<Rope>,
    pool: Pool,
    scratch: Scratch,
}

/// A model that is at hand, but whose weights nobody has compared with their hashes yet. A `.weir` file is mapped in no time;
/// only [`Unverified::verify`], which reads all of it, makes a [`Model`] of it.
pub struct Unverified {
    model: Model,
    /// Of a `.weir` file; other weights were checked when they were repacked.
    seals: Option<Seals>,
}

impl Unverified {
    /// As [`Model::load`], without its last step.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load(path: &Path, options: &Options) -> Result<Self, Error> {
        let map = Arc::new(mapped::map(path)?);
        Self::read(
            &path.display().to_string(),
            &map,
            || Arc::clone(&map) as _,
            options,
        )
    }

    /// As [`Model::from_bytes`], without its last step.
    ///
    /// # Errors
    /// As [`Model::from_bytes`].
    pub fn from_bytes(name: &str, bytes: &[u8], options: &Options) -> Result<Self, Error> {
        Self::read(name, bytes, || Arc::new(bytes.to_vec()), options)
    }

    /// Verifies the weights.
    ///
    /// # Errors
    /// [`Error::Format`], where they are not what their hashes were made of, or out of range.
    pub fn verify(self) -> Result<Model, Error> {
        let Self { model, seals } = self;
        if let Some(seals) = seals {
            model.threads.install(|| seals.verify(&model.weights.network))?;
        }
        Ok(model)
    }

    /// `owner` gives `bytes` to whoever needs them for longer.
    fn read(
        name: &str,
        bytes: &[u8],
        owner: impl FnOnce() -> Arc<dyn AsRef<[u8]> + Send + Sync> + Send,
        options: &Options,
    ) -> Result<Self, Error> {
        let threads = start(options)?;
        let (weights, seals) = threads.install(|| {
            if weirfile::is_weir(bytes) {
                weirfile::read(name, owner()).map(|(weights, seals)| (weights, Some(seals)))
            } else {
                Weights::from_gguf(name, bytes).map(|weights| (weights, None))
            }
        })?;
        let model = Model::new(Arc::new(weights), threads, options)?;
        Ok(Self { model, seals })
    }
}

impl Model {
    /// Loads a `.gguf` or `.weir` file, told apart by their first bytes, and verifies it. The file stays mapped while a
    /// `.weir` model lives; it must not be changed meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`] or [`weir_exact::Error::Kernel`].
    pub fn load(path: &Path, options: &Options) -> Result<Self, Error> {
        Unverified::load(path, options)?.verify()
    }

    /// Loads a GGUF or `.weir` file from memory; `name` is used in errors.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_bytes(name: &str, bytes: &[u8], options: &Options) -> Result<Self, Error> {
        Unverified::from_bytes(name, bytes, options)?.verify()
    }

    /// Another instance on the same weights, with slots, threads and kernel of its own. It has this one's shared prefixes,
    /// where both keep the same kind of keys and values.
    ///
    /// # Errors
    /// [`weir_exact::Error::Kernel`].
    pub fn twin(&self, options: &Options) -> Result<Self, Error> {
        let mut twin = Self::new(Arc::clone(&self.weights), start(options)?, options)?;
        twin.pool.inherit(&self.pool);
        Ok(twin)
    }

    /// Computes `tokens` once and for all: from now on, a [`Predict::prefill`] of an empty slot that begins with them takes
    /// their keys and values (those of the longest, where several fit) and computes the rest only. No logit changes a bit.
    ///
    /// What is shared is kept as long as the model or a twin lives, in memory beyond [`Options::kv_tokens`]; a slot that
    /// begins with it takes from the pool only what it holds besides, in whole pages of [`PAGE`](crate::PAGE) positions. A prompt's
    /// time tells whether it begins with something shared: share what the operator wrote, never what a user did.
    ///
    /// # Errors
    /// As [`Predict::prefill`], and then nothing is shared.
    pub fn share(&mut self, tokens: &[Token]) -> Result<(), weir_exact::Error> {
        if tokens.is_empty() || self.pool.is_registered(tokens) {
            return Ok(());
        }
        let aside = self.pool.beside(tokens.len());
        let pool = std::mem::replace(&mut self.pool, aside);
        let fed = self
            .open()
            .and_then(|slot| self.prefill(slot, tokens).map(|()| slot));
        let aside = std::mem::replace(&mut self.pool, pool);
        self.pool.register(tokens, aside, fed?);
        Ok(())
    }

    /// Content hash of weights and architecture: SPEC 2.9. Independent of container, kernel and threads.
    pub fn hash(&self) -> [u8; 32] {
        self.weights.hash
    }

    /// What this model is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    fn new(weights: Arc<Weights>, threads: ThreadPool, options: &Options) -> Result<Self, Error> {
        let network = &weights.network;
        let config = &network.config;
        let kernel = options.kernel.checked()?;
        let max_context = options.max_context.min(config.context);
        let factors = network.rope_factors.as_deref();
        // On a thread of ours: the caller's control word may be another.
        let rope = threads.install(|| {
            Rope::new(
                config.pairs,
                config.rope_dim / 2,
                config.rope_base,
                factors,
                max_context,
            )
        });
        let shape = kv::Shape {
            kv: options.kv,
            layers: config.layers,
            heads: config.kv_heads,
            width: config.head_dim,
        };
        let (mut parameters, mut bytes) = (0, 0);
        for (_, part) in network.parts() {
            let (_, rows, cols) = part.shape();
            parameters += rows * cols;
            bytes += match part {
                Part::Matrix(m) => m.data.len() as u64,
                Part::Vector(v) => 4 * v.len() as u64,
            };
        }
        let unread = network
            .output
            .as_ref()
            .map_or(0, |_| network.embedding.data.len() as u64);
        let info = Info {
            architecture: weights.architecture.clone(),
            parameters,
            vocab: network.vocab,
            context: config.context,
            layers: config.layers,
            bytes,
            bytes_per_token: bytes - unread,
            kv_bytes: shape.bytes(),
            kernel,
        };
        let means = Means {
            kernel,
            threads: threads.current_num_threads(),
        };
        let pool = Pool::new(shape, kernel, options.kv_tokens, max_context);
        Ok(Self {
            info,
            means,
            threads,
            rope: Arc::new(rope),
            pool,
            scratch: Scratch::default(),
            weights,
        })
    }

    /// Checks everything that can be checked before `rows` are fed.
    fn check(&self, rows: impl Iterator<Item = (Slot, Token)> + Clone) -> Result<(), weir_exact::Error> {
        let vocab = self.info.vocab;
        if let Some((_, token)) = rows.clone().find(|&(_, token)| token as usize >= vocab) {
            return Err(weir_exact::Error::NoToken { token, vocab });
        }
        self.pool.check(rows.map(|(slot, _)| slot))
    }

    /// Runs one chunk through the layers.
    fn feed(
        &mut self,
        rows: impl Iterator<Item = (Slot, Token)>,
        keep: bool,
    ) -> Result<(), weir_exact::Error> {
        let Self {
            weights,
            means,
            threads,
            rope,
            pool,
            scratch,
            ..
        } = self;
        let mut chunk = Vec::with_capacity(CHUNK);
        for (slot, token) in rows {
            chunk.push(Row {
                slot,
                token,
                position: pool.push(slot)?,
            });
        }
        threads.install(|| {
            float_env::check()?;
            forward::layers(&weights.network, rope, pool, *means, &chunk, keep, scratch)
        })
    }
}

impl Predict for Model {
    fn vocab(&self) -> usize {
        self.info.vocab
    }

    fn max_context(&self) -> usize {
        self.pool.max_context()
    }

    fn open(&mut self) -> Result<Slot, weir_exact::Error> {
        self.pool.open()
    }

    fn close(&mut self, slot: Slot) {
        self.pool.close(slot);
    }

    fn len(&self, slot: Slot) -> usize {
        self.pool.len(slot)
    }

    fn truncate(&mut self, slot: Slot, len: usize) {
        self.pool.truncate(slot, len);
    }

    fn prefill(&mut self, slot: Slot, tokens: &[Token]) -> Result<(), weir_exact::Error> {
        let row = |&token: &Token| (slot, token);
        let shared = self.pool.adopt(slot, tokens);
        let rest = &tokens[shared..];
        if let Err(error) = self.check(rest.iter().map(row)) {
            if shared > 0 {
                self.pool.truncate(slot, 0);
            }
            return Err(error);
        }
        rest.chunks(CHUNK)
            .try_for_each(|chunk| self.feed(chunk.iter().map(row), false))
    }

    fn step(
        &mut self,
        rows: &[(Slot, Token)],
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), weir_exact::Error> {
        self.check(rows.iter().copied())?;
        let vocab = self.info.vocab;
        for (c, chunk) in rows.chunks(CHUNK).enumerate() {
            self.feed(chunk.iter().copied(), true)?;
            for from in (0..chunk.len()).step_by(HEAD_CHUNK) {
                let count = HEAD_CHUNK.min(chunk.len() - from);
                let Self {
                    weights,
                    means,
                    threads,
                    scratch,
                    ..
                } = self;
                threads.install(|| forward::logits(&weights.network, *means, from, count, scratch))?;
                for (i, logits) in self.scratch.logits.chunks(vocab).enumerate() {
                    sink(c * CHUNK + from + i, logits);
                }
            }
        }
        Ok(())
    }
}

/// Threads that compute, with their float control words put right.
fn start(options: &Options) -> Result<ThreadPool, Error> {
    ThreadPoolBuilder::new()
        .num_threads(options.threads.clamp(1, 256))
        .thread_name(|i| format!("weir-model-{i}"))
        .start_handler(|_| float_env::set())
        .build()
        .map_err(|e| Error::Io {
            file: "threads".into(),
            source: std::io::Error::other(e),
        })
}
