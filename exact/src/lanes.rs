//! One source, several vector widths: a pass is a struct whose `run` is inlined into a function compiled for each width.

use crate::Kernel;

/// A pass over many elements. `run` must be `#[inline(always)]`, so that it takes the features of its caller.
pub trait Pass {
    /// What it gives.
    type Output;

    /// The one source.
    fn run(self) -> Self::Output;
}

/// Runs `pass` as compiled for `kernel`, or for any CPU where this one lacks it.
#[allow(unsafe_code)]
#[inline]
pub fn run<P: Pass>(kernel: Kernel, pass: P) -> P::Output {
    #[cfg(target_arch = "x86_64")]
    match kernel {
        Kernel::Avx512 if kernel.supported() => {
            // SAFETY: the features were just detected.
            return unsafe { avx512(pass) };
        }
        Kernel::Avx2 if kernel.supported() => {
            // SAFETY: the feature was just detected.
            return unsafe { avx2(pass) };
        }
        _ => {}
    }
    pass.run()
}

// No `fma` feature: and rustc never contracts, so the float steps are the same in each.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<P: Pass>(pass: P) -> P::Output {
    pass.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn avx512<P: Pass>(pass: P) -> P::Output {
    pass.run()
}
