//! What the caller decides about a model instance; nothing here but [`Kv`] changes a bit of the logits.

use crate::Error;

/// Which code multiplies matrices. All give the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kernel {
    /// Slow and spec-named, on unpacked blocks.
    Reference,
    /// Blocked integer code for any CPU.
    Portable,
    /// The blocked code compiled for AVX2.
    Avx2,
    /// The blocked code compiled for AVX-512 F, BW, VL and VNNI.
    Avx512,
}

impl Kernel {
    /// Every kernel, slowest first.
    pub const ALL: [Self; 4] = [Self::Reference, Self::Portable, Self::Avx2, Self::Avx512];

    /// The name used by `WEIR_KERNEL`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Whether this CPU can run it.
    pub fn supported(self) -> bool {
        match self {
            Self::Reference | Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// `asked`, else what `WEIR_KERNEL` names, else the fastest that this CPU has.
    ///
    /// # Errors
    /// [`Error::Kernel`] for an unknown name or a kernel this CPU lacks.
    pub fn choose(asked: Option<Self>) -> Result<Self, Error> {
        let named = || match std::env::var("WEIR_KERNEL") {
            Ok(name) if !name.is_empty() => {
                let found = Self::ALL.into_iter().find(|k| k.name() == name);
                found.map(Some).ok_or(Error::Kernel {
                    name,
                    reason: "no such kernel",
                })
            }
            _ => Ok(None),
        };
        let forced = asked.map_or_else(named, |k| Ok(Some(k)))?;
        match forced {
            Some(k) if k.supported() => Ok(k),
            Some(k) => Err(Error::Kernel {
                name: k.name().into(),
                reason: "this CPU lacks it",
            }),
            None if Self::Avx512.supported() => Ok(Self::Avx512),
            None if Self::Avx2.supported() => Ok(Self::Avx2),
            None => Ok(Self::Portable),
        }
    }
}

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
    /// The kernel to use; `None` takes `WEIR_KERNEL` or the fastest that the CPU has.
    pub kernel: Option<Kernel>,
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
            kernel: None,
            threads,
            kv_tokens: 8192,
            max_context: 4096,
            kv: Kv::default(),
        }
    }
}
