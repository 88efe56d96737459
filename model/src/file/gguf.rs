//! GGUF files, read without trusting them.
//!
//! One walk with a cursor that refuses to leave the file, and refuses what would make a reader allocate more than the file
//! justifies. What comes out is metadata by key and, by name, the raw bytes of each tensor with its type and shape,
//! every range inside the file.

use std::collections::{BTreeMap, HashMap};

use crate::Error;
use crate::file::dtype::Dtype;
use crate::file::metadata::{Metadata, Value};

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
    pub(crate) dtype: Dtype,
    /// Outermost dimension first; never empty, no zero.
    pub(crate) dims: Vec<usize>,
    /// Exactly the bytes that type and shape call for.
    pub(crate) bytes: &'a [u8],
}

/// Most entries in all metadata arrays together: a vocabulary needs about three per token.
const MAX_ENTRIES: u64 = 1 << 23;
/// Most key-value pairs, and most tensors.
const MAX_TABLE: u64 = 1 << 16;
/// Most bytes of a key, and of a tensor's name.
const MAX_KEY: u64 = 1 << 16;
/// Deepest array of arrays.
const MAX_DEPTH: u32 = 4;
/// Most elements of a tensor.
const MAX_ELEMENTS: u64 = 1 << 40;
/// What offsets of tensors are rounded up to where the file does not say.
const ALIGNMENT: u64 = 32;

impl<'a> Gguf<'a> {
    /// Parses the file `data` called `file` in errors.
    pub(crate) fn parse(file: &str, data: &'a [u8]) -> Result<Self, Error> {
        let mut walk = Walk {
            file,
            rest: data,
            total: data.len(),
            entries: MAX_ENTRIES,
        };
        let magic = walk.take(4, "magic")?;
        if magic != b"GGUF" {
            return Err(walk.wrong("magic", "GGUF", format!("{magic:02x?}")));
        }
        let version = walk.u32("version")?;
        if !(2..=3).contains(&version) {
            return Err(walk.wrong("version", "2 or 3", version.to_string()));
        }
        let tensors = walk.count("tensor count", MAX_TABLE)?;
        let pairs = walk.count("metadata count", MAX_TABLE)?;
        let mut values = HashMap::new();
        for _ in 0..pairs {
            let key = walk.string("metadata key", MAX_KEY)?;
            let kind = walk.u32("metadata type")?;
            let value = walk.value(kind, 0)?;
            if key == "general.alignment" && kind != U32 {
                return Err(walk.wrong(&key, "a power of two, as u32", format!("{value:?}")));
            }
            walk.first_time(values.insert(key.clone(), value).is_none(), &key, "metadata key")?;
        }
        let metadata = Metadata::new(file, values);
        let alignment = metadata.uint("general.alignment")?.unwrap_or(ALIGNMENT);
        if !alignment.is_power_of_two() {
            return Err(walk.wrong(
                "general.alignment",
                "a power of two, as u32",
                alignment.to_string(),
            ));
        }
        let head = &data[..walk.at()];
        let described = (0..tensors)
            .map(|_| walk.description())
            .collect::<Result<Vec<_>, _>>()?;
        let begin = (walk.at() as u64).checked_next_multiple_of(alignment);
        let mut found = BTreeMap::new();
        for description in described {
            let name = description.name.clone();
            let tensor = description.locate(&walk, begin, data)?;
            walk.first_time(found.insert(name.clone(), tensor).is_none(), &name, "tensor name")?;
        }
        let gguf = Self {
            metadata,
            tensors: found,
            head,
        };
        gguf.apart(&walk)?;
        Ok(gguf)
    }

    /// Tensors that share bytes would let a small file ask for much memory.
    fn apart(&self, walk: &Walk<'_>) -> Result<(), Error> {
        let tensors = self.tensors.iter();
        let mut ranges: Vec<_> = tensors.map(|(name, t)| (t.bytes.as_ptr_range(), name)).collect();
        ranges.sort_by_key(|(range, _)| range.start);
        let shared = ranges.windows(2).find(|pair| pair[0].0.end > pair[1].0.start);
        shared.map_or(Ok(()), |pair| {
            Err(walk.wrong(pair[1].1, "data of its own", format!("some of {}", pair[0].1)))
        })
    }
}

/// What a file says of a tensor.
struct Description {
    name: String,
    dtype: Dtype,
    /// Outermost first.
    dims: Vec<u64>,
    /// From the first tensor's place.
    offset: u64,
}

impl Description {
    /// The tensor's bytes in `data`, where tensors begin at `begin`.
    fn locate<'a>(self, walk: &Walk<'_>, begin: Option<u64>, data: &'a [u8]) -> Result<Tensor<'a>, Error> {
        let Self {
            name,
            dtype,
            dims,
            offset,
        } = self;
        let block = dtype.block_len() as u64;
        let elements: u64 = dims.iter().product();
        if elements == 0 || !dims.last().is_some_and(|last| last.is_multiple_of(block)) {
            return Err(walk.wrong(
                &name,
                format!("a shape in whole blocks of {block}"),
                format!("{dims:?}"),
            ));
        }
        // At most 2^40 elements of at most 4 bytes.
        let len = elements / block * dtype.block_bytes() as u64;
        let range = (|| {
            let start = begin?.checked_add(offset)?;
            let end = start.checked_add(len)?;
            data.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        })();
        let bytes = range.ok_or_else(|| {
            let expected = format!("data inside {} bytes", data.len());
            walk.wrong(&name, expected, format!("offset {offset} of {dims:?} {dtype:?}"))
        })?;
        Ok(Tensor {
            dtype,
            // Each is at least 1, and so none is greater than their product, which lies in memory.
            dims: dims.iter().map(|&dim| dim as usize).collect(),
            bytes,
        })
    }
}

/// A cursor over the header that refuses to leave it.
struct Walk<'a> {
    file: &'a str,
    rest: &'a [u8],
    total: usize,
    /// Array entries that may still come.
    entries: u64,
}

/// GGUF's number of a `u32` among types of values.
const U32: u32 = 4;

impl<'a> Walk<'a> {
    fn at(&self) -> usize {
        self.total - self.rest.len()
    }

    fn wrong(&self, part: &str, expected: impl Into<String>, got: impl Into<String>) -> Error {
        Error::format(self.file, part, expected, got)
    }

    fn take(&mut self, len: u64, part: &str) -> Result<&'a [u8], Error> {
        let split = usize::try_from(len)
            .ok()
            .and_then(|n| self.rest.split_at_checked(n));
        let Some((head, rest)) = split else {
            let got = format!("{len} bytes wanted at {} of {}", self.at(), self.total);
            return Err(self.wrong(part, "no more than the file holds", got));
        };
        self.rest = rest;
        Ok(head)
    }

    /// Two of one name would be taken for either.
    fn first_time(&self, first: bool, name: &str, part: &str) -> Result<(), Error> {
        if first {
            return Ok(());
        }
        Err(self.wrong(part, "each once", format!("{name:?} twice")))
    }

    fn array<const N: usize>(&mut self, part: &str) -> Result<[u8; N], Error> {
        let bytes = self.take(N as u64, part)?;
        Ok(*bytes.first_chunk().expect("as many were taken"))
    }

    fn u32(&mut self, part: &str) -> Result<u32, Error> {
        self.array(part).map(u32::from_le_bytes)
    }

    fn u64(&mut self, part: &str) -> Result<u64, Error> {
        self.array(part).map(u64::from_le_bytes)
    }

    fn count(&mut self, part: &str, most: u64) -> Result<u64, Error> {
        let n = self.u64(part)?;
        if n > most {
            return Err(self.wrong(part, format!("at most {most}"), n.to_string()));
        }
        Ok(n)
    }

    /// A text of at most `most` bytes. Writers exist that end texts with zeros, or cut a character: zeros at the end go, and
    /// what is not UTF-8 is replaced.
    fn string(&mut self, part: &str, most: u64) -> Result<String, Error> {
        let len = self.count(part, most)?;
        let bytes = self.take(len, part)?;
        let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// A value of GGUF's type `kind`.
    fn value(&mut self, kind: u32, depth: u32) -> Result<Value, Error> {
        const PART: &str = "metadata value";
        Ok(match kind {
            0 => Value::Uint(u8::from_le_bytes(self.array(PART)?).into()),
            1 => Value::signed(i8::from_le_bytes(self.array(PART)?).into()),
            2 => Value::Uint(u16::from_le_bytes(self.array(PART)?).into()),
            3 => Value::signed(i16::from_le_bytes(self.array(PART)?).into()),
            U32 => Value::Uint(self.u32(PART)?.into()),
            5 => Value::signed(i32::from_le_bytes(self.array(PART)?).into()),
            6 => Value::F32(f32::from_le_bytes(self.array(PART)?)),
            7 => match self.array(PART)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return Err(self.wrong(PART, "a truth value, 0 or 1", other.to_string())),
            },
            8 => Value::String(self.string("metadata string", u64::MAX)?),
            9 if depth < MAX_DEPTH => {
                let kind = self.u32("array type")?;
                let len = self.count("array length", self.entries)?;
                self.entries -= len;
                // No reservation: a length is no promise that the file holds as much.
                let values = (0..len).map(|_| self.value(kind, depth + 1));
                Value::Array(values.collect::<Result<_, _>>()?)
            }
            10 => Value::Uint(self.u64(PART)?),
            11 => Value::signed(i64::from_le_bytes(self.array(PART)?)),
            12 => Value::F64(f64::from_le_bytes(self.array(PART)?)),
            _ => {
                let got = format!("type {kind} at depth {depth}");
                return Err(self.wrong("metadata type", "a GGUF value type", got));
            }
        })
    }

    fn description(&mut self) -> Result<Description, Error> {
        let name = self.string("tensor name", MAX_KEY)?;
        let rank = self.u32("tensor dimensions")?;
        if !(1..=4).contains(&rank) {
            return Err(self.wrong("tensor dimensions", "1 to 4", rank.to_string()));
        }
        let (mut dims, mut elements) = (Vec::new(), 1u64);
        for _ in 0..rank {
            let dim = self.u64("tensor shape")?;
            elements = elements
                .checked_mul(dim)
                .filter(|&n| n <= MAX_ELEMENTS)
                .ok_or_else(|| {
                    self.wrong(
                        "tensor shape",
                        "at most 2^40 elements",
                        format!("a dimension {dim}"),
                    )
                })?;
            dims.push(dim);
        }
        dims.reverse();
        let dtype = Dtype::of(self.u32("tensor type")?)
            .map_err(|got| self.wrong(&format!("tensor {name:?}"), Dtype::NAMES, got))?;
        Ok(Description {
            name,
            dtype,
            dims,
            offset: self.u64("tensor offset")?,
        })
    }
}
