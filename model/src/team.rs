//! Work that is divided among threads: by rows and by outputs, never within a sum.

use crate::Error;
use crate::kernel::float_env;
use rayon::prelude::*;

/// Threads that are worth waking for so many elementary operations (an addition, or sixteen products of codes). To wake
/// one takes some microseconds.
pub(crate) fn worth(threads: usize, operations: usize) -> usize {
    if operations < 1 << 14 { 1 } else { threads }
}

/// How many of `items` each of `threads` takes: at least one.
pub(crate) fn share(items: usize, threads: usize) -> usize {
    items.div_ceil(threads).max(1)
}

/// Does `work` on every part; each part may have a thread of its own from the current pool.
///
/// # Errors
/// What `work` says first, or [`Error::FloatEnv`].
pub(crate) fn each<T: Send>(
    parts: impl Iterator<Item = T>,
    work: impl Fn(T) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let checked = |part| {
        float_env::check()?;
        work(part)
    };
    let parts: Vec<T> = parts.collect();
    if parts.len() == 1 {
        return parts.into_iter().try_for_each(checked);
    }
    parts.into_par_iter().with_max_len(1).try_for_each(checked)
}
