//! Matrix products of integer codes, and the thread state they rely on.
//!
//! `reference` is what SPEC 2.4 says, block by block. `portable`, `avx2` and `avx512` are the same arithmetic with sixteen
//! rows in sixteen lanes; the latter two take several activations per pass over the weights. They are equal bit for bit:
//! integer sums are exact in any order, and each output has one float accumulator that takes its blocks in ascending order.

/// Calls a function with the number of a [`Kind`](crate::quant::Kind) as its constant argument.
macro_rules! for_kind {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            crate::quant::Kind::Q4_0 => $function::<0>($($argument),*),
            crate::quant::Kind::Q4_1 => $function::<1>($($argument),*),
            crate::quant::Kind::Q5_0 => $function::<2>($($argument),*),
            crate::quant::Kind::Q5_1 => $function::<3>($($argument),*),
            crate::quant::Kind::Q8_0 => $function::<4>($($argument),*),
            crate::quant::Kind::Q4K => $function::<5>($($argument),*),
            crate::quant::Kind::Q5K => $function::<6>($($argument),*),
            crate::quant::Kind::Q6K => $function::<7>($($argument),*),
        }
    };
}
use for_kind;

mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod float_env;
mod portable;
mod reference;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use activation::Activations;

use crate::weights::{LANES, Matrix};
use crate::{Error, Kernel};
use rayon::prelude::*;

/// Multiplies every row of `x` with `matrix`. `out` is `[row of x][matrix.rows]`.
///
/// Groups of outputs are divided among the threads of the current pool; a sum never is.
pub(crate) fn multiply(
    kernel: Kernel,
    threads: usize,
    matrix: &Matrix,
    x: &Activations,
    scratch: &mut Vec<f32>,
    out: &mut [f32],
) -> Result<(), Error> {
    let (rows, outputs) = (x.rows(), matrix.rows);
    let groups = outputs.div_ceil(LANES);
    if rows == 1 && outputs == groups * LANES {
        return run(kernel, threads, matrix, x, out);
    }
    scratch.resize(groups * LANES * rows, 0.0);
    run(kernel, threads, matrix, x, scratch)?;
    // [group][row][lane] to [row][output]
    let (lanes, _) = scratch.as_chunks::<LANES>();
    for (row, out) in out.chunks_mut(outputs).enumerate() {
        let (whole, rest) = out.as_chunks_mut::<LANES>();
        let mut from = lanes.iter().skip(row).step_by(rows);
        for (out, from) in whole.iter_mut().zip(&mut from) {
            *out = *from;
        }
        for (out, from) in rest.iter_mut().zip(from.flatten()) {
            *out = *from;
        }
    }
    Ok(())
}

/// The same into `[group][row of x][lane]`.
fn run(
    kernel: Kernel,
    threads: usize,
    matrix: &Matrix,
    x: &Activations,
    out: &mut [f32],
) -> Result<(), Error> {
    let group_len = matrix.group_len();
    let groups = matrix.data.len() / group_len;
    let share = groups.div_ceil(threads).max(1);
    let work = |(data, out): (&[u8], &mut [f32])| {
        float_env::check()?;
        product(kernel, matrix, data, x, out);
        Ok(())
    };
    if threads == 1 {
        return work((&matrix.data, out));
    }
    let parts = matrix
        .data
        .par_chunks(share * group_len)
        .zip(out.par_chunks_mut(share * LANES * x.rows()));
    parts.with_max_len(1).try_for_each(work)
}

/// One thread's groups.
#[allow(unsafe_code)]
fn product(kernel: Kernel, matrix: &Matrix, data: &[u8], x: &Activations, out: &mut [f32]) {
    match kernel {
        Kernel::Reference => reference::multiply(matrix, data, x, out),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 if kernel.supported() => {
            // SAFETY: the feature was just detected.
            unsafe { avx2::multiply(matrix, data, x, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 if kernel.supported() => {
            // SAFETY: the features were just detected.
            unsafe { avx512::multiply(matrix, data, x, out) }
        }
        _ => portable::multiply(matrix, data, x, out),
    }
}

#[cfg(test)]
mod tests;
