//! Which machine code runs. The choice never changes a bit of a result.

use crate::Error;

/// Which code multiplies matrices and passes over vocabularies. All give the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Kernel {
    /// As SPEC 2.4 says it, block by block: slow, for tests.
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

    /// The name in configurations and reports.
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

    /// The fastest that this CPU has.
    pub fn detect() -> Self {
        let fastest = [Self::Avx512, Self::Avx2].into_iter().find(|k| k.supported());
        fastest.unwrap_or(Self::Portable)
    }

    /// The kernel called `name`.
    ///
    /// # Errors
    /// [`Error::Kernel`] for an unknown name or a kernel that this CPU lacks.
    pub fn named(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|k| k.name() == name);
        found
            .ok_or_else(|| Error::Kernel {
                name: name.into(),
                reason: "no such kernel: reference, portable, avx2 and avx512 are known",
            })?
            .checked()
    }

    /// The kernel itself, where this CPU can run it.
    ///
    /// # Errors
    /// [`Error::Kernel`] where it cannot.
    pub fn checked(self) -> Result<Self, Error> {
        if self.supported() {
            return Ok(self);
        }
        Err(Error::Kernel {
            name: self.name().into(),
            reason: "this CPU lacks it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_go_by_name() {
        for kernel in Kernel::ALL {
            match Kernel::named(kernel.name()) {
                Ok(found) => assert_eq!(found, kernel),
                Err(error) => assert!(
                    !kernel.supported() && error.to_string().contains("lacks"),
                    "{error}"
                ),
            }
        }
        let error = Kernel::named("sse9").unwrap_err().to_string();
        assert_eq!(
            error,
            "kernel \"sse9\": no such kernel: reference, portable, avx2 and avx512 are known"
        );
        assert!(Kernel::detect().supported());
    }
}
