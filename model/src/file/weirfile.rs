//! `.weir` files: repacked weights that can be mapped and used as they lie, each part under its hash. SPEC 8.1.

use crate::Error;
use crate::file::gguf::Gguf;
use crate::file::mapped;
use crate::file::metadata::Metadata;
use crate::kernel::matrix::{Bytes, Matrix};
use crate::kernel::quant::Kind;
use crate::net::config::Config;
use crate::net::digest;
use crate::net::network::{Network, Part, Source, VECTOR};
use crate::net::weights::Weights;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"WEIR\x01\r\n\x1a";
/// Magic, length of the metadata, length of the table, hash of all before the tensors.
const HEADER: usize = 8 + 8 + 8 + 32;
const ALIGN: usize = 64;
/// Most tensors in a table.
const MAX_TENSORS: usize = 1 << 16;

mod field {
    use std::ops::Range;
    pub(super) const METADATA_LEN: Range<usize> = 8..16;
    pub(super) const TABLE_LEN: Range<usize> = 16..24;
    pub(super) const HASH: Range<usize> = 24..56;
}

/// Whether `bytes` begin like a `.weir` file.
pub(crate) fn is_weir(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The metadata of a GGUF or `.weir` file.
pub(crate) fn metadata(name: &str, bytes: &[u8]) -> Result<Metadata, Error> {
    let gguf = if is_weir(bytes) {
        &bytes[Front::read(name, bytes)?.metadata]
    } else {
        bytes
    };
    Ok(Gguf::parse(name, gguf)?.metadata)
}

/// Repacks the GGUF file `from` into the `.weir` file `to`, which appears only when it is whole; gives the model's hash.
///
/// # Errors
/// [`Error::Io`] or [`Error::Format`].
pub fn convert(from: &Path, to: &Path) -> Result<[u8; 32], Error> {
    let map = mapped::map(from)?;
    let name = from.display().to_string();
    let weights = Weights::from_gguf(&name, &map)?;
    let head = Gguf::parse(&name, &map)?.head;
    let mut partial = to.as_os_str().to_owned();
    partial.push(format!(".part.{}", std::process::id()));
    let partial = Path::new(&partial);
    let written = File::create(partial).and_then(|file| {
        let mut file = BufWriter::new(file);
        write(&weights.network, head, &mut file)?;
        file.into_inner()?.sync_all()?;
        std::fs::rename(partial, to)
    });
    if written.is_err() {
        // Nothing to add to the error that is about to be told.
        let _ = std::fs::remove_file(partial);
    }
    written.map(|()| weights.hash).map_err(|source| Error::Io {
        file: to.display().to_string(),
        source,
    })
}

/// Writes a network as a `.weir` file. `head` is the GGUF file's, up to its tensors.
pub(crate) fn write(network: &Network, head: &[u8], to: &mut impl Write) -> std::io::Result<()> {
    let mut metadata = head.to_vec();
    // The copy has no tensors.
    metadata[8..16].fill(0);
    let hashes = digest::part_hashes(network);
    let parts = network.parts();
    let mut table = Vec::new();
    for ((name, part), hash) in parts.iter().zip(&hashes) {
        table.extend(digest::entry(name, part));
        table.extend(hash);
    }
    let mut front = MAGIC.to_vec();
    front.extend((metadata.len() as u64).to_le_bytes());
    front.extend((table.len() as u64).to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    let hash = hasher.update(&front).update(&metadata).update(&table).finalize();
    front.extend(hash.as_bytes());
    front.extend(metadata);
    front.extend(table);
    let mut at = front.len();
    to.write_all(&front)?;
    for (_, part) in &parts {
        to.write_all(&[0; ALIGN][..at.next_multiple_of(ALIGN) - at])?;
        let bytes = part.bytes();
        to.write_all(&bytes)?;
        at = at.next_multiple_of(ALIGN) + bytes.len();
    }
    to.flush()
}

/// Makes all hashes of a file right again after its content has been changed; for tests that want to get behind them.
pub(crate) fn reseal(bytes: &mut [u8]) -> Option<()> {
    let len = |bytes: &[u8], field: Range<usize>| {
        let field = bytes.get(field)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(field)).ok()
    };
    let metadata = len(bytes, field::METADATA_LEN)?;
    let table = HEADER.checked_add(metadata)?;
    let end = table.checked_add(len(bytes, field::TABLE_LEN)?)?;
    let (mut from, mut at) = (table, end);
    while from < end {
        let mut rest = bytes.get(from..end)?;
        let entry = Entry::take(&mut rest, at)?;
        let next = end - rest.len();
        let hash = blake3::hash(bytes.get(entry.range.clone())?);
        bytes[next - 32..next].copy_from_slice(hash.as_bytes());
        (from, at) = (next, entry.range.end);
    }
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&bytes[..field::HASH.start])
        .update(&bytes[HEADER..end]);
    let hash = hasher.finalize();
    bytes[field::HASH].copy_from_slice(hash.as_bytes());
    Some(())
}

/// Reads a `.weir` file; what it says of its tensors is verified, the tensors are not.
pub(crate) fn read(name: &str, owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<(Weights, Seals), Error> {
    let bytes = (*owner).as_ref();
    let front = Front::read(name, bytes)?;
    let metadata = Gguf::parse(name, &bytes[front.metadata.clone()])?.metadata;
    let config = Config::read(&metadata)?;
    let architecture = metadata
        .str("general.architecture")?
        .unwrap_or_default()
        .to_owned();
    let entries = front.entries(name, bytes)?;
    let mut tensors = Tensors {
        file: name,
        owner: &owner,
        entries: entries.iter().map(|e| (e.name.as_str(), e)).collect(),
    };
    let network = Network::read(config, &mut tensors)?;
    drop(tensors);
    let parts = network.parts();
    // A name that stands twice would be loaded from one entry and hashed from the other.
    let same_order =
        parts.len() == entries.len() && parts.iter().zip(&entries).all(|((name, _), e)| *name == e.name);
    if !same_order {
        return Err(Error::format(
            name,
            "table",
            "each tensor once, in the order of the format",
            "another",
        ));
    }
    let hashes: Vec<_> = entries.iter().map(|e| e.hash).collect();
    let hash = digest::model_hash(&network, &hashes);
    let seals = Seals {
        file: name.to_owned(),
        owner,
        entries,
    };
    Ok((Weights::new(network, hash, architecture), seals))
}

/// What a file's tensors must be like before anything is computed with them.
pub(crate) struct Seals {
    file: String,
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    entries: Vec<Entry>,
}

impl Seals {
    /// Reads all tensors: whether they are what their hashes were made of, and matrices are in range.
    pub(crate) fn verify(&self, network: &Network) -> Result<(), Error> {
        let bytes = (*self.owner).as_ref();
        let wrong = |name: &str, expected: &str| Err(Error::format(&self.file, name, expected, "others"));
        self.entries.par_iter().try_for_each(|e| {
            if blake3::hash(&bytes[e.range.clone()]).as_bytes() == &e.hash {
                return Ok(());
            }
            wrong(&e.name, "the bytes that its hash was made of")
        })?;
        network.parts().iter().try_for_each(|(name, part)| match part {
            Part::Matrix(matrix) if !matrix.is_valid() => {
                wrong(name, "finite scales, and sub-scales of six bits")
            }
            _ => Ok(()),
        })
    }
}

/// Where metadata and table lie; their hash is verified.
struct Front {
    metadata: Range<usize>,
    table: Range<usize>,
}

/// A tensor's description.
struct Entry {
    name: String,
    kind: u8,
    rows: usize,
    cols: usize,
    hash: [u8; 32],
    range: Range<usize>,
}

struct Tensors<'a> {
    file: &'a str,
    owner: &'a Arc<dyn AsRef<[u8]> + Send + Sync>,
    entries: BTreeMap<&'a str, &'a Entry>,
}

impl Front {
    fn read(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let short = || {
            Error::format(
                name,
                "header",
                "metadata and table inside the file",
                format!("{} bytes", bytes.len()),
            )
        };
        let len = |field: Range<usize>| {
            let bytes = bytes.get(field).and_then(|b| b.try_into().ok())?;
            usize::try_from(u64::from_le_bytes(bytes)).ok()
        };
        let range =
            |from: usize, len: usize| Some(from..from.checked_add(len)?).filter(|r| r.end <= bytes.len());
        let metadata = len(field::METADATA_LEN)
            .and_then(|len| range(HEADER, len))
            .ok_or_else(short)?;
        let table = len(field::TABLE_LEN)
            .and_then(|len| range(metadata.end, len))
            .ok_or_else(short)?;
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&bytes[..field::HASH.start])
            .update(&bytes[HEADER..table.end]);
        if hasher.finalize().as_bytes() != &bytes[field::HASH] {
            return Err(Error::format(
                name,
                "header",
                "metadata and table as their hash says",
                "others",
            ));
        }
        Ok(Self { metadata, table })
    }

    fn entries(&self, file: &str, bytes: &[u8]) -> Result<Vec<Entry>, Error> {
        let mut rest = &bytes[self.table.clone()];
        let mut at = self.table.end;
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let wrong =
                |what: &str| Error::format(file, format!("table entry {}", entries.len()), what, "not so");
            if entries.len() == MAX_TENSORS {
                return Err(wrong("the end"));
            }
            let entry = Entry::take(&mut rest, at).ok_or_else(|| wrong("name, kind, shape and hash"))?;
            let padding = at..entry.range.start;
            at = entry.range.end;
            if bytes
                .get(padding)
                .is_some_and(|padding| padding.iter().any(|&byte| byte != 0))
            {
                return Err(Error::format(file, entry.name, "zeros before its data", "others"));
            }
            if at > bytes.len() {
                return Err(Error::format(
                    file,
                    entry.name,
                    "data inside the file",
                    format!("an end at {at}"),
                ));
            }
            entries.push(entry);
        }
        if at == bytes.len() {
            return Ok(entries);
        }
        Err(Error::format(
            file,
            "end",
            format!("{at} bytes"),
            bytes.len().to_string(),
        ))
    }
}

impl Entry {
    /// Reads an entry whose data follows position `at`.
    fn take(rest: &mut &[u8], at: usize) -> Option<Self> {
        let len = usize::from(*rest.split_off_first()?);
        let name = std::str::from_utf8(rest.split_off(..len)?).ok()?.to_owned();
        let kind = *rest.split_off_first()?;
        let mut number = || usize::try_from(u64::from_le_bytes(rest.split_off(..8)?.try_into().ok()?)).ok();
        let (rows, cols) = (number()?, number()?);
        let hash = rest.split_off(..32)?.try_into().ok()?;
        let bytes = match kind {
            VECTOR if rows == 1 => cols.checked_mul(4)?,
            kind => Matrix::bytes(*Kind::ALL.get(usize::from(kind))?, rows, cols)?,
        };
        let start = at.checked_next_multiple_of(ALIGN)?;
        Some(Self {
            name,
            kind,
            rows,
            cols,
            hash,
            range: start..start.checked_add(bytes)?,
        })
    }
}

impl Source for Tensors<'_> {
    fn matrix(&mut self, name: &str) -> Result<Option<Matrix>, Error> {
        let Some(e) = self.entries.remove(name) else {
            return Ok(None);
        };
        let kind = Kind::ALL.get(usize::from(e.kind)).copied();
        let data = Bytes::new(Arc::clone(self.owner), e.range.clone());
        let (Some(kind), Some(data)) = (kind, data) else {
            return Err(Error::format(self.file, name, "a matrix", "a vector"));
        };
        Ok(Some(Matrix {
            kind,
            rows: e.rows,
            cols: e.cols,
            data,
        }))
    }

    fn vector(&mut self, name: &str) -> Result<Option<Vec<f32>>, Error> {
        let Some(e) = self.entries.remove(name) else {
            return Ok(None);
        };
        if e.kind != VECTOR {
            return Err(Error::format(self.file, name, "a vector", "a matrix"));
        }
        let bytes = &(**self.owner).as_ref()[e.range.clone()];
        Ok(Some(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b))
                .collect(),
        ))
    }

    fn leftover(&self) -> Option<String> {
        self.entries.keys().next().map(|&name| name.to_owned())
    }

    fn file(&self) -> &str {
        self.file
    }
}

/// The same for the tensors of a GGUF file, repacked on the way.
impl Source for Gguf<'_> {
    fn matrix(&mut self, name: &str) -> Result<Option<Matrix>, Error> {
        let Some(tensor) = self.tensors.remove(name) else {
            return Ok(None);
        };
        Matrix::from_gguf(self.metadata.file(), name, &tensor).map(Some)
    }

    fn vector(&mut self, name: &str) -> Result<Option<Vec<f32>>, Error> {
        let Some(tensor) = self.tensors.remove(name) else {
            return Ok(None);
        };
        crate::kernel::matrix::floats(self.metadata.file(), name, &tensor).map(Some)
    }

    fn leftover(&self) -> Option<String> {
        self.tensors.keys().next().cloned()
    }

    fn file(&self) -> &str {
        self.metadata.file()
    }
}

#[cfg(test)]
mod tests;
