//! What the caller decides about a model instance; nothing here but [`Kv`] changes a bit of the logits.

use weir_exact::Kernel;

/// What keys and values are kept as. Each gives logits of its own, the same on every machine: SPEC 2.7.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kv {
    /// As they were computed.
    #[default]
    F32,
    /// Codes of 8 bits, with a scale for each position and head: a quarter of the memory, and a little more.
    Int8,
}

impl Kv {
    /// Every kind; a kind's place here is its number in SPEC 6.2.
    pub const ALL: [Self; 2] = [Self::F32, Self::Int8];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }
}

/// Sizes and the kernel of one model instance.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which code computes: by default the fastest that the CPU has.
    pub kernel: Kernel,
    /// Threads that compute, at least 1.
    pub threads: usize,
    /// Positions in the pool, over all slots; rounded up to whole pages. Shared prefixes have theirs beside it.
    pub kv_tokens: usize,
    /// Most positions in one slot; never more than the model was made for.
    pub max_context: usize,
    /// What keys and values are kept as; whoever predicts the same must have it alike.
    pub kv: Kv,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            kernel: Kernel::detect(),
            threads,
            kv_tokens: 8192,
            max_context: 4096,
            kv: Kv::default(),
        }
    }
}
