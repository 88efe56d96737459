//! GGUF files, read without trusting them.
//!
//! `check` walks the header with nothing but a cursor and refuses anything that would make a reader allocate more than
//! the file justifies; only then does candle's reader parse it. What comes out is metadata by key and, by name, the
//! raw bytes of each tensor with its type and shape, every range inside the file.

use crate::Error;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Content;
pub(crate) use candle_core::quantized::gguf_file::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Cursor;

/// Metadata of a GGUF file, or of the copy of it inside a `.weir` file.
#[derive(Debug)]
pub(crate) struct Metadata {
    file: String,
    values: HashMap<String, Value>,
}

/// A parsed GGUF file over its bytes.
#[derive(Debug)]
pub(crate) struct Gguf<'a> {
    /// Everything but tensors.
    pub(crate) metadata: Metadata,
    /// Tensors by name.
    pub(crate) tensors: BTreeMap<String, Tensor<'a>>,
    /// The bytes of the file up to the first tensor description: the header and all key-value pairs.
    pub(crate) head: &'a [u8],
}

/// One tensor as it lies in the file.
#[derive(Clone, Debug)]
pub(crate) struct Tensor<'a> {
    /// Number format.
    pub(crate) dtype: GgmlDType,
    /// Outermost dimension first; never empty, no zero.
    pub(crate) dims: Vec<usize>,
    /// Exactly the bytes that type and shape call for.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Gguf<'a> {
    /// Parses the file `data` called `file` in errors.
    pub(crate) fn parse(file: &str, data: &'a [u8]) -> Result<Self, Error> {
        let head_len = check(file, data)?;
        let content = Content::read(&mut Cursor::new(data))
            .map_err(|e| Error::format(file, "header", "a GGUF header", e.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, info) in content.tensor_infos {
            let dims = info.shape.dims().to_vec();
            let elements = dims
                .iter()
                .try_fold(1usize, |n, &d| n.checked_mul(d))
                .unwrap_or(0);
            let last = dims.last().copied().unwrap_or(0);
            let block = info.ggml_dtype.block_size();
            if elements == 0 || !last.is_multiple_of(block) {
                let expected = format!("a shape in whole blocks of {block}");
                return Err(Error::format(file, name, expected, format!("{dims:?}")));
            }
            let range = (|| {
                let len = (elements / block).checked_mul(info.ggml_dtype.type_size())?;
                let start = usize::try_from(content.tensor_data_offset.checked_add(info.offset)?).ok()?;
                data.get(start..start.checked_add(len)?)
            })();
            let Some(bytes) = range else {
                let got = format!("offset {} of {dims:?} {:?}", info.offset, info.ggml_dtype);
                return Err(Error::format(
                    file,
                    name,
                    format!("data inside {} bytes", data.len()),
                    got,
                ));
            };
            tensors.insert(
                name,
                Tensor {
                    dtype: info.ggml_dtype,
                    dims,
                    bytes,
                },
            );
        }
        // Tensors that share bytes would let a small file ask for much memory.
        let mut ranges: Vec<_> = tensors
            .iter()
            .map(|(name, t)| (t.bytes.as_ptr_range(), name))
            .collect();
        ranges.sort_by_key(|(range, _)| range.start);
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].0.end > pair[1].0.start) {
            return Err(Error::format(
                file,
                pair[1].1,
                "data of its own",
                format!("some of {}", pair[0].1),
            ));
        }
        let metadata = Metadata {
            file: file.into(),
            values: content.metadata,
        };
        Ok(Self {
            metadata,
            tensors,
            head: &data[..head_len],
        })
    }
}

impl Metadata {
    /// The file's name for errors.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The value of `key`, if there.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// A whole number of any width that is not negative.
    pub(crate) fn uint(&self, key: &str) -> Result<Option<u64>, Error> {
        let found = match self.get(key) {
            None => return Ok(None),
            Some(&Value::I8(v)) => u64::try_from(v).ok(),
            Some(&Value::I16(v)) => u64::try_from(v).ok(),
            Some(&Value::I32(v)) => u64::try_from(v).ok(),
            Some(&Value::I64(v)) => u64::try_from(v).ok(),
            Some(v) => v.to_u64().ok(),
        };
        found.map(Some).ok_or_else(|| self.wrong(key, "a whole number"))
    }

    /// A finite `f32`.
    pub(crate) fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::F32(v)) if v.is_finite() => Ok(Some(v)),
            Some(_) => Err(self.wrong(key, "a finite f32")),
        }
    }

    /// A string.
    pub(crate) fn str(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(v)) => Ok(Some(v)),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    /// An array of anything.
    pub(crate) fn array(&self, key: &str) -> Result<Option<&[Value]>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(v)) => Ok(Some(v)),
            Some(_) => Err(self.wrong(key, "an array")),
        }
    }

    /// An array of strings.
    pub(crate) fn strings(&self, key: &str) -> Result<Option<Vec<&str>>, Error> {
        let Some(values) = self.array(key)? else {
            return Ok(None);
        };
        let strings = values.iter().map(|v| match v {
            Value::String(s) => Some(s.as_str()),
            _ => None,
        });
        strings
            .collect::<Option<_>>()
            .map(Some)
            .ok_or_else(|| self.wrong(key, "an array of strings"))
    }

    /// `found`, or the error that `key` is missing.
    pub(crate) fn need<T>(&self, key: &str, found: Option<T>) -> Result<T, Error> {
        found.ok_or_else(|| Error::format(&self.file, key, "a value", "nothing"))
    }

    /// The error that `key` is not `expected`; long values are cut.
    pub(crate) fn wrong(&self, key: &str, expected: &str) -> Error {
        let got = match self.get(key) {
            Some(Value::Array(v)) => format!("an array of {}", v.len()),
            Some(Value::String(s)) => format!("{:?}", s.chars().take(64).collect::<String>()),
            other => format!("{other:?}"),
        };
        Error::format(&self.file, key, expected, got)
    }
}

/// Most entries in all metadata arrays together: a vocabulary needs about three per token.
const MAX_ENTRIES: u64 = 1 << 23;
/// Most key-value pairs, and most tensors.
const MAX_TABLE: u64 = 1 << 16;
const MAX_KEY: u64 = 1 << 16;
const MAX_DEPTH: u32 = 4;

/// A cursor over the header that refuses to leave it.
struct Walk<'a> {
    file: &'a str,
    rest: &'a [u8],
    total: usize,
    /// Array entries that may still come.
    entries: u64,
}

/// Walks the header; returns the length of magic, counts and key-value pairs.
fn check(file: &str, data: &[u8]) -> Result<usize, Error> {
    let mut walk = Walk {
        file,
        rest: data,
        total: data.len(),
        entries: MAX_ENTRIES,
    };
    let magic = walk.take(4, "magic")?;
    if magic != b"GGUF" {
        return Err(Error::format(file, "magic", "GGUF", format!("{magic:02x?}")));
    }
    let version = walk.u32("version")?;
    if !(2..=3).contains(&version) {
        return Err(Error::format(file, "version", "2 or 3", version.to_string()));
    }
    let tensors = walk.count("tensor count", MAX_TABLE)?;
    let pairs = walk.count("metadata count", MAX_TABLE)?;
    let mut keys = HashSet::new();
    for _ in 0..pairs {
        let len = walk.count("metadata key", MAX_KEY)?;
        let key = walk.take(len, "metadata key")?;
        walk.first_time(&mut keys, key, "metadata key")?;
        let kind = walk.u32("metadata type")?;
        let value = walk.rest;
        walk.value(kind, 0)?;
        if key == b"general.alignment" {
            // Readers round offsets up to multiples of it.
            let alignment = Some(value)
                .filter(|_| kind == 4)
                .and_then(|value| value.first_chunk());
            let alignment = alignment.map_or(0, |value| u32::from_le_bytes(*value));
            if !alignment.is_power_of_two() {
                let expected = "a power of two, as u32";
                return Err(Error::format(
                    file,
                    "general.alignment",
                    expected,
                    alignment.to_string(),
                ));
            }
        }
    }
    let head = walk.at();
    let mut names = HashSet::new();
    for _ in 0..tensors {
        let len = walk.count("tensor name", MAX_KEY)?;
        let name = walk.take(len, "tensor name")?;
        walk.first_time(&mut names, name, "tensor name")?;
        let dims = walk.u32("tensor dimensions")?;
        if !(1..=4).contains(&dims) {
            return Err(Error::format(
                file,
                "tensor dimensions",
                "1 to 4",
                dims.to_string(),
            ));
        }
        let mut elements = 1u64;
        for _ in 0..dims {
            let dim = walk.u64("tensor shape")?;
            elements = elements
                .checked_mul(dim)
                .filter(|&n| n <= 1 << 40)
                .ok_or_else(|| {
                    Error::format(
                        file,
                        "tensor shape",
                        "at most 2^40 elements",
                        format!("a dimension {dim}"),
                    )
                })?;
        }
        walk.u32("tensor type")?;
        walk.u64("tensor offset")?;
    }
    Ok(head)
}

impl<'a> Walk<'a> {
    fn at(&self) -> usize {
        self.total - self.rest.len()
    }

    fn take(&mut self, len: u64, part: &str) -> Result<&'a [u8], Error> {
        let split = usize::try_from(len)
            .ok()
            .and_then(|n| self.rest.split_at_checked(n));
        let Some((head, rest)) = split else {
            let got = format!("{len} bytes wanted at {} of {}", self.at(), self.total);
            return Err(Error::format(self.file, part, "no more than the file holds", got));
        };
        self.rest = rest;
        Ok(head)
    }

    /// Two of one name would be taken for either.
    fn first_time(&self, seen: &mut HashSet<&'a [u8]>, name: &'a [u8], part: &str) -> Result<(), Error> {
        if seen.insert(name) {
            return Ok(());
        }
        let name = String::from_utf8_lossy(name).into_owned();
        Err(Error::format(
            self.file,
            part,
            "each once",
            format!("{name:?} twice"),
        ))
    }

    fn u32(&mut self, part: &str) -> Result<u32, Error> {
        let bytes = self.take(4, part)?;
        Ok(bytes.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b)))
    }

    fn u64(&mut self, part: &str) -> Result<u64, Error> {
        let bytes = self.take(8, part)?;
        Ok(bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    fn count(&mut self, part: &str, most: u64) -> Result<u64, Error> {
        let n = self.u64(part)?;
        if n > most {
            return Err(Error::format(
                self.file,
                part,
                format!("at most {most}"),
                n.to_string(),
            ));
        }
        Ok(n)
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<(), Error> {
        if let Some(width) = width(kind) {
            return self.take(width, "metadata value").map(|_| ());
        }
        match kind {
            8 => {
                let len = self.u64("metadata string")?;
                self.take(len, "metadata string").map(|_| ())
            }
            9 if depth < MAX_DEPTH => {
                let kind = self.u32("array type")?;
                let len = self.count("array length", self.entries)?;
                self.entries -= len;
                if let Some(width) = width(kind) {
                    return self.take(len.saturating_mul(width), "array").map(|_| ());
                }
                (0..len).try_for_each(|_| self.value(kind, depth + 1))
            }
            _ => {
                let got = format!("type {kind} at depth {depth}");
                Err(Error::format(
                    self.file,
                    "metadata type",
                    "a GGUF value type",
                    got,
                ))
            }
        }
    }
}

/// Bytes of a value of fixed width (GGUF value types 0..=7 and 10..=12).
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
