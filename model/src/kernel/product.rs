//! Products of a matrix with activations, divided among threads.

use weir_exact::{Error, Kernel};

use crate::kernel::activation::Activations;
use crate::kernel::columns::Columns;
use crate::kernel::matrix::{LANES, Matrix};
#[cfg(target_arch = "x86_64")]
use crate::kernel::{avx2, avx512};
use crate::kernel::{portable, reference, team};

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
