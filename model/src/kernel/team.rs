//! Work that is divided among threads: by rows and by outputs, never within a sum.

use rayon::prelude::*;
use weir_exact::Error;
use weir_exact::float_env;

/// Threads that are worth waking for so many elementary operations (an addition, or sixteen products of codes). To wake
/// one takes some microseconds.
pub(crate) fn worth(threads: usize, operations: usize) -> usize {
    if operations < 1 << 14 { 1 } else { threads }
}

/// How many of `items` each of `threads` takes: at least one.
pub(crate) fn share(items: usize, threads: usize) -> usize {
    items.div_ceil(threads).max(1)
}

/// Does `work` on every part, with so many `threads` of the current pool: whoever is free takes the next part.
///
/// # Errors
/// What `work` says first, or [`Error::FloatEnv`].
pub(crate) fn each<T: Send>(
    threads: usize,
    mut parts: impl Iterator<Item = T>,
    work: impl Fn(T) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let checked = |part| {
        float_env::check()?;
        work(part)
    };
    if threads == 1 {
        return parts.try_for_each(checked);
    }
    let parts: Vec<T> = parts.collect();
    parts.into_par_iter().with_max_len(1).try_for_each(checked)
}
