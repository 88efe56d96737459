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
use activation::TILE;

use crate::weights::{LANES, Matrix};
use crate::{Error, Kernel, team};

/// A product to be made.
pub(crate) struct Product<'a> {
    pub(crate) matrix: &'a Matrix,
    pub(crate) x: &'a Activations,
    /// `[row of x][matrix.rows]`
    pub(crate) out: &'a mut [f32],
}

impl Product<'_> {
    /// Outputs, as many as lanes.
    fn padded(&self) -> usize {
        self.matrix.rows.div_ceil(LANES) * LANES
    }
}

/// Makes `products`, whose `x` have equally many rows. `scratch` is room; its content does not matter.
///
/// Each of `threads` takes its share of the groups of every matrix; a sum is never divided.
pub(crate) fn multiply(
    kernel: Kernel,
    threads: usize,
    products: &mut [Product<'_>],
    scratch: &mut Vec<f32>,
) -> Result<(), Error> {
    let rows = products.first().map_or(0, |product| product.x.rows());
    if rows == 1
        && products
            .iter()
            .all(|product| product.padded() == product.matrix.rows)
    {
        let direct = products.iter_mut().map(|p| (p.matrix, p.x, &mut *p.out));
        return run(kernel, threads, direct);
    }
    let len = products.iter().map(|product| product.padded() * rows).sum();
    scratch.resize(len, 0.0);
    let mut rest = &mut scratch[..];
    let grouped = products.iter().map(|product| {
        let out = rest.split_off_mut(..product.padded() * rows).unwrap_or_default();
        (product.matrix, product.x, out)
    });
    run(kernel, threads, grouped)?;
    let mut rest = &scratch[..len];
    let mut parts = Vec::new();
    for product in products {
        let grouped = rest.split_off(..product.padded() * rows).unwrap_or_default();
        let outputs = product.matrix.rows;
        let share = team::share(rows, team::worth(threads, rows * outputs));
        let out = product.out.chunks_mut(share * outputs).enumerate();
        parts.extend(out.map(|(i, out)| (grouped, i * share, outputs, out)));
    }
    team::each(parts.into_iter(), |(grouped, first, outputs, out)| {
        by_row(grouped, rows, first, outputs, out);
        Ok(())
    })
}

/// Rows `first..` from `[group][row][lane]` to `[row][output]`, some rows at a time so that neither side jumps about.
fn by_row(grouped: &[f32], rows: usize, first: usize, outputs: usize, out: &mut [f32]) {
    let (lanes, _) = grouped.as_chunks::<LANES>();
    for (i, out) in out.chunks_mut(TILE * outputs).enumerate() {
        let first = first + i * TILE;
        for (g, group) in lanes.chunks_exact(rows).enumerate() {
            let width = LANES.min(outputs - g * LANES);
            for (out, lanes) in out.chunks_exact_mut(outputs).zip(&group[first..]) {
                let out = &mut out[g * LANES..][..width];
                match out.as_mut_array::<LANES>() {
                    Some(out) => *out = *lanes,
                    None => out.copy_from_slice(&lanes[..width]),
                }
            }
        }
    }
}

/// Makes products into `[group][row of x][lane]` each.
fn run<'a>(
    kernel: Kernel,
    threads: usize,
    products: impl Iterator<Item = (&'a Matrix, &'a Activations, &'a mut [f32])>,
) -> Result<(), Error> {
    let mut parts: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
    for (matrix, x, out) in products {
        let len = matrix.group_len();
        let threads = team::worth(threads, matrix.rows * matrix.cols * x.rows() / 16);
        let share = team::share(matrix.data.len() / len, threads);
        let shares = matrix.data.chunks(share * len);
        let shares = shares.zip(out.chunks_mut(share * LANES * x.rows()));
        for (part, (data, out)) in parts.iter_mut().zip(shares) {
            part.push((matrix, x, data, out));
        }
    }
    parts.retain(|part| !part.is_empty());
    team::each(parts.into_iter(), |part| {
        for (matrix, x, data, out) in part {
            product(kernel, matrix, data, x, out);
        }
        Ok(())
    })
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
