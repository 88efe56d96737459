//! Files mapped into memory.
#![allow(unsafe_code)]

use crate::Error;
use memmap2::Mmap;
use std::fs::File;
use std::path::Path;

/// Maps the whole file, read-only.
pub(crate) fn map(path: &Path) -> Result<Mmap, Error> {
    let io = |source| Error::Io {
        file: path.display().to_string(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    // SAFETY: the map is private and read-only. Another process that shortens or rewrites the file while it is mapped could
    // break it; as with every program that maps its data, the operator must not do that. Whatever the bytes are, they
    // are only ever read as bytes.
    unsafe { Mmap::map(&file) }.map_err(io)
}
