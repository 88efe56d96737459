//! The float control word: round to nearest, ties to even, subnormals kept, on every thread that computes.
//!
//! A library or a caller may have switched a thread to flush subnormals to zero; that would change bits.
#![allow(unsafe_code)]

use crate::Error;

/// FTZ, DAZ and the rounding mode. Exception masks and flags do not change results.
#[cfg(target_arch = "x86_64")]
const CONTROLS: u32 = 1 << 15 | 1 << 6 | 3 << 13;

/// FZ16, FZ and the rounding mode.
#[cfg(target_arch = "aarch64")]
const CONTROLS: u32 = 1 << 19 | 1 << 24 | 3 << 22 | 3;

/// Puts the current thread's control word right.
#[cfg(target_arch = "x86_64")]
pub fn set() {
    let word = read() & !CONTROLS;
    // SAFETY: loads MXCSR from a live u32 whose reserved bits come from MXCSR itself.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, readonly)) };
}

#[cfg(target_arch = "x86_64")]
fn read() -> u32 {
    let mut word = 0u32;
    // SAFETY: stores MXCSR, four bytes, to a live u32.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack)) };
    word
}

/// Puts the current thread's control word right.
#[cfg(target_arch = "aarch64")]
pub fn set() {
    let word = u64::from(read() & !CONTROLS);
    // SAFETY: writes FPCR with its own bits, some cleared.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) word, options(nostack, nomem)) };
}

#[cfg(target_arch = "aarch64")]
fn read() -> u32 {
    let word: u64;
    // SAFETY: reads FPCR.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) word, options(nostack, nomem)) };
    word as u32
}

/// Whether the current thread's control word is right.
///
/// # Errors
/// [`Error::FloatEnv`] if not.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub fn check() -> Result<(), Error> {
    let word = read();
    if word & CONTROLS == 0 {
        Ok(())
    } else {
        Err(Error::FloatEnv(word))
    }
}

/// Other machines have no control word that we know of: the self-check has to do.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn set() {}

/// As above.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn check() -> Result<(), Error> {
    Ok(())
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn flushing_is_noticed_and_undone() {
        std::thread::spawn(|| {
            let word = read() | 1 << 15;
            // SAFETY: as in `set`; this thread ends right after.
            unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, readonly)) };
            assert!(check().is_err());
            set();
            assert!(check().is_ok());
        })
        .join()
        .unwrap();
    }
}
