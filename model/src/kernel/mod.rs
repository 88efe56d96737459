//! Matrix products of integer codes, and the thread state they rely on.
//!
//! `reference` is what SPEC 2.4 says, block by block. `portable`, `avx2` and `avx512` are the same arithmetic with sixteen
//! rows in sixteen lanes; the latter two take several activations per pass over the weights. They are equal bit for bit:
//! integer sums are exact in any order, and each output has one float accumulator that takes its blocks in ascending order.

/// Calls a function with the number of a [`Kind`](crate::kernel::quant::Kind) as its constant argument.
macro_rules! for_kind {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            crate::kernel::quant::Kind::Q4_0 => $function::<0>($($argument),*),
            crate::kernel::quant::Kind::Q4_1 => $function::<1>($($argument),*),
            crate::kernel::quant::Kind::Q5_0 => $function::<2>($($argument),*),
            crate::kernel::quant::Kind::Q5_1 => $function::<3>($($argument),*),
            crate::kernel::quant::Kind::Q8_0 => $function::<4>($($argument),*),
            crate::kernel::quant::Kind::Q4K => $function::<5>($($argument),*),
            crate::kernel::quant::Kind::Q5K => $function::<6>($($argument),*),
            crate::kernel::quant::Kind::Q6K => $function::<7>($($argument),*),
        }
    };
}
use for_kind;

mod activation;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod matrix;
mod portable;
pub(crate) mod quant;
mod reference;
pub(crate) mod team;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use activation::{Activations, TileMut, tile_rows};

use crate::kernel::matrix::{LANES, Matrix};
use weir_exact::{Error, Kernel};

/// A product to be made.
pub(crate) struct Product<'a> {
    pub(crate) matrix: &'a Matrix,
    pub(crate) x: &'a Activations,
    /// `[row of x][matrix.rows]`
    pub(crate) out: &'a mut [f32],
}

/// Makes `products`. Each of `threads` takes its share of the groups of every matrix; a sum is never divided.
pub(crate) fn multiply<'a>(
    kernel: Kernel,
    threads: usize,
    products: impl IntoIterator<Item = Product<'a>>,
) -> Result<(), Error> {
    let mut parts: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
    for Product { matrix, x, out } in products {
        let len = matrix.group_len();
        let threads = team::worth(threads, matrix.rows * matrix.cols * x.rows() / 16);
        let share = team::share(matrix.data.len() / len, threads);
        // The columns of a thread, row by row.
        let mut columns: Vec<Vec<_>> = (0..threads).map(|_| Vec::with_capacity(x.rows())).collect();
        for row in out.chunks_mut(matrix.rows) {
            for (columns, row) in columns.iter_mut().zip(row.chunks_mut(share * LANES)) {
                columns.push(row);
            }
        }
        let shares = matrix.data.chunks(share * len).zip(columns);
        for (part, (data, out)) in parts.iter_mut().zip(shares) {
            part.push((matrix, x, data, out));
        }
    }
    parts.retain(|part| !part.is_empty());
    team::each(threads, parts.into_iter(), |part| {
        for (matrix, x, data, mut out) in part {
            product(kernel, matrix, data, x, &mut out);
        }
        Ok(())
    })
}

/// For each row of activations what some groups give: sixteen outputs each, the last of a matrix perhaps fewer.
type Columns<'a> = [&'a mut [f32]];

/// Puts the outputs of group `group` in their place, as many as there are.
#[inline(always)]
fn put(out: &mut [f32], group: usize, lanes: &[f32; LANES]) {
    let out = &mut out[group * LANES..];
    match out.first_chunk_mut::<LANES>() {
        Some(out) => *out = *lanes,
        None => out.copy_from_slice(&lanes[..out.len()]),
    }
}

/// One thread's groups.
#[allow(unsafe_code)]
fn product(kernel: Kernel, matrix: &Matrix, data: &[u8], x: &Activations, out: &mut Columns<'_>) {
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
