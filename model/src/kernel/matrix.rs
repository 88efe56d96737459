//! Matrices, repacked so that sixteen rows lie in sixteen lanes.
//!
//! Rows come in groups of [`LANES`], the last one padded with zeros. A group is one record per block of columns; a
//! record holds, each for all sixteen rows: `d`, then `m` if the format has it, sub-scales and sub-minimums by
//! sub-block, and the codes in strips of 32 columns. A strip is made of quads: four columns of each row, which is what
//! dot products of bytes take from 32 bits of a lane. SPEC 8.1 draws it.

use crate::Error;
use crate::file::dtype::Dtype;
use crate::file::gguf;
use crate::kernel::quant::{Block, Kind, Shape, f16};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Rows per group.
pub(crate) const LANES: usize = 16;
/// Columns of a strip.
pub(crate) const STRIP: usize = 32;
/// Bytes of a quad: one byte for each of four columns of each row.
pub(crate) const QUAD: usize = 4 * LANES;

/// Bytes of a cache line and of the widest vector.
const ALIGN: usize = 64;

/// Bytes with a shared owner: memory of our own, or a mapped file.
#[derive(Clone)]
pub(crate) struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// The part `range` of `owner`.
    pub(crate) fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Option<Self> {
        (*owner).as_ref().get(range.clone())?;
        Some(Self { owner, range })
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

/// A matrix of codes: `rows` outputs by `cols` inputs.
#[derive(Clone)]
pub(crate) struct Matrix {
    pub(crate) kind: Kind,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) data: Bytes,
}

/// Where the parts of a record begin, and its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) shape: Shape,
    pub(crate) mins: usize,
    pub(crate) subs: usize,
    pub(crate) submins: usize,
    pub(crate) codes: usize,
    pub(crate) len: usize,
}

impl Record {
    pub(crate) const fn of(kind: Kind) -> Self {
        let shape = kind.shape();
        let mins = 4 * LANES;
        let subs = mins + if shape.mins { 4 * LANES } else { 0 };
        let small = if shape.block == 256 {
            256 / shape.sub * LANES
        } else {
            0
        };
        let submins = subs + small;
        let codes = submins + if shape.mins { small } else { 0 };
        let len = codes + shape.block / STRIP * shape.strip_len();
        Self {
            shape,
            mins,
            subs,
            submins,
            codes,
            len,
        }
    }

    /// Writes the block of row `lane`.
    fn put(&self, record: &mut [u8], lane: usize, block: &Block) {
        record[4 * lane..][..4].copy_from_slice(&block.d.to_le_bytes());
        if self.shape.mins {
            record[self.mins + 4 * lane..][..4].copy_from_slice(&block.m.to_le_bytes());
        }
        if self.shape.block == 256 {
            for s in 0..256 / self.shape.sub {
                record[self.subs + s * LANES + lane] = block.subs[s];
                if self.shape.mins {
                    record[self.submins + submin(s, lane)] = block.submins[s];
                }
            }
        }
        let strips = record[self.codes..].chunks_exact_mut(self.shape.strip_len());
        for (strip, codes) in strips.zip(block.codes.chunks_exact(STRIP)) {
            for (k, &code) in codes.iter().enumerate() {
                for part in self.shape.parts(k) {
                    strip[part.at + 4 * lane] |= (code >> part.from & part.mask) << part.to;
                }
            }
        }
    }

    /// Reads the block of row `lane` back.
    pub(crate) fn get(&self, record: &[u8], lane: usize) -> Block {
        let float =
            |at: usize| f32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
        let mut block = Block {
            d: float(4 * lane),
            ..Block::ZERO
        };
        if self.shape.mins {
            block.m = float(self.mins + 4 * lane);
        }
        if self.shape.block == 256 {
            for s in 0..256 / self.shape.sub {
                block.subs[s] = record[self.subs + s * LANES + lane];
                if self.shape.mins {
                    block.submins[s] = record[self.submins + submin(s, lane)];
                }
            }
        }
        let strips = record[self.codes..].chunks_exact(self.shape.strip_len());
        for (strip, codes) in strips.zip(block.codes.chunks_exact_mut(STRIP)) {
            for (k, code) in codes.iter_mut().enumerate() {
                for part in self.shape.parts(k) {
                    *code |= (strip[part.at + 4 * lane] >> part.to & part.mask) << part.from;
                }
            }
        }
        block
    }
}

/// Where the sub-minimum of a sub-block stands: two sub-blocks side by side, as 16-bit dot products take them.
const fn submin(s: usize, lane: usize) -> usize {
    s / 2 * 2 * LANES + 2 * lane + s % 2
}

/// Some bits of a code in its strip.
#[derive(Clone, Copy, Debug)]
struct Part {
    /// The byte, for lane 0.
    at: usize,
    /// Lowest bit in the code.
    from: u32,
    /// Lowest bit in the byte.
    to: u32,
    mask: u8,
}

impl Shape {
    /// Bytes of 32 columns of sixteen rows.
    pub(crate) const fn strip_len(&self) -> usize {
        STRIP * LANES * self.bits as usize / 8
    }

    /// Where the bits of column `k` of a strip are. SPEC 8.1.
    fn parts(&self, k: usize) -> impl Iterator<Item = Part> {
        let (quad, column) = (k / 4, k % 4);
        let low = if self.bits == 8 {
            Part {
                at: quad * QUAD + column,
                from: 0,
                to: 0,
                mask: 0xff,
            }
        } else {
            Part {
                at: quad % 4 * QUAD + column,
                from: 0,
                to: quad as u32 / 4 * 4,
                mask: 15,
            }
        };
        let high = match self.bits {
            5 => Some((4 * QUAD, quad as u32, 1)),
            6 => Some(((4 + quad / 4) * QUAD, quad as u32 % 4 * 2, 3)),
            _ => None,
        };
        let high = high.map(|(at, to, mask)| Part {
            at: at + column,
            from: 4,
            to,
            mask,
        });
        [low].into_iter().chain(high)
    }
}

impl Matrix {
    /// Repacks a tensor: losslessly where its type has a [`Kind`], else requantized to `Q8_0`.
    pub(crate) fn from_gguf(file: &str, name: &str, tensor: &gguf::Tensor<'_>) -> Result<Self, Error> {
        let &[rows, cols] = tensor.dims.as_slice() else {
            return Err(Error::format(
                file,
                name,
                "a matrix",
                format!("shape {:?}", tensor.dims),
            ));
        };
        let kind = Kind::of(tensor.dtype);
        let floats = if kind.is_some() {
            Vec::new()
        } else {
            floats(file, name, tensor)?
        };
        if Self::bytes(kind.unwrap_or(Kind::Q8_0), rows, cols).is_none() {
            return Err(Error::format(
                file,
                name,
                "columns in whole blocks",
                cols.to_string(),
            ));
        }
        let packed = Self::pack(kind.unwrap_or(Kind::Q8_0), rows, cols, |row, b| match kind {
            Some(kind) => {
                let len = tensor.dtype.block_bytes();
                let at = (row * (cols / kind.shape().block) + b) * len;
                let block = Block::read(kind, &tensor.bytes[at..at + len]);
                (block.d.is_finite() && block.m.is_finite()).then_some(block)
            }
            None => Block::requantize(&floats[row * cols + b * 32..][..32]),
        });
        packed.ok_or_else(|| Error::format(file, name, "finite scales and weights", "infinite or NaN"))
    }

    /// Packs the blocks that `block(row, number in row)` gives.
    pub(crate) fn pack(
        kind: Kind,
        rows: usize,
        cols: usize,
        block: impl Fn(usize, usize) -> Option<Block> + Sync,
    ) -> Option<Self> {
        let record = Record::of(kind);
        let blocks = cols / record.shape.block;
        let bytes = Self::bytes(kind, rows, cols)?;
        // A vector of weights that straddles cache lines is read twice.
        let mut data = vec![0; bytes + ALIGN];
        let begin = data.as_ptr().align_offset(ALIGN).min(ALIGN);
        let group_len = (blocks * record.len).max(1);
        data[begin..begin + bytes]
            .par_chunks_mut(group_len)
            .enumerate()
            .try_for_each(|(g, group)| {
                for lane in 0..LANES.min(rows - g * LANES) {
                    for (b, bytes) in group.chunks_mut(record.len).enumerate() {
                        record.put(bytes, lane, &block(g * LANES + lane, b)?);
                    }
                }
                Some(())
            })?;
        // The vector's own memory does not move with it.
        let range = begin..begin + bytes;
        Some(Self {
            kind,
            rows,
            cols,
            data: Bytes::new(Arc::new(data), range)?,
        })
    }

    /// Bytes of a packed matrix; `None` if that overflows or the shape does not fit the format.
    pub(crate) fn bytes(kind: Kind, rows: usize, cols: usize) -> Option<usize> {
        let record = Record::of(kind);
        let whole = rows > 0 && cols > 0 && cols.is_multiple_of(record.shape.block);
        let groups = rows.div_ceil(LANES);
        whole
            .then(|| {
                (cols / record.shape.block)
                    .checked_mul(record.len)?
                    .checked_mul(groups)
            })
            .flatten()
    }

    /// Whether scales are finite and sub-scales in the ranges of SPEC 2.2; of codes every bit pattern is one.
    pub(crate) fn is_valid(&self) -> bool {
        let record = Record::of(self.kind);
        self.data.par_chunks(record.len).all(|bytes| {
            let (floats, _) = bytes[..record.subs].as_chunks::<4>();
            floats.iter().all(|&b| f32::from_le_bytes(b).is_finite())
                && (record.shape.signed || bytes[record.subs..record.codes].iter().all(|&sub| sub < 64))
        })
    }

    /// Bytes of a group of rows.
    pub(crate) fn group_len(&self) -> usize {
        let record = Record::of(self.kind);
        self.cols / record.shape.block * record.len
    }

    /// The weights of one row as numbers: SPEC 2.2.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        let record = Record::of(self.kind);
        let group = &self.data[row / LANES * self.group_len()..][..self.group_len()];
        let Shape {
            block: len,
            sub,
            zero,
            ..
        } = record.shape;
        for (bytes, out) in group.chunks(record.len).zip(out.chunks_mut(len)) {
            let block = record.get(bytes, row % LANES);
            for (k, out) in out.iter_mut().enumerate() {
                let q = (i32::from(block.codes[k]) - zero) as f32;
                *out = match record.shape {
                    Shape {
                        block: 32,
                        mins: true,
                        ..
                    } => block.d * q + block.m,
                    Shape { block: 32, .. } => block.d * q,
                    Shape { mins: true, .. } => {
                        let (s, m) = (f32::from(block.subs[k / sub]), f32::from(block.submins[k / sub]));
                        block.d * s * q - block.m * m
                    }
                    _ => block.d * f32::from(block.subs[k / sub] as i8) * q,
                };
            }
        }
    }
}

/// The values of a tensor of a float type.
pub(crate) fn floats(file: &str, name: &str, tensor: &gguf::Tensor<'_>) -> Result<Vec<f32>, Error> {
    let halves = || {
        tensor
            .bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&b| u16::from_le_bytes(b))
    };
    let values: Vec<f32> = match tensor.dtype {
        Dtype::F32 => tensor
            .bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect(),
        Dtype::F16 => halves().map(f16).collect(),
        Dtype::BF16 => halves().map(|h| f32::from_bits(u32::from(h) << 16)).collect(),
        dtype => {
            let expected = "F32, F16 or BF16";
            return Err(Error::format(file, name, expected, format!("{dtype:?}")));
        }
    };
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tiny, tiny_gguf};
    use candle_core::quantized::{GgmlDType, QStorage, QTensor};
    use candle_core::{Device, Shape as CandleShape};
    use std::borrow::Cow;

    /// Every block format, repacked and read back as numbers, against candle's reading of the same bytes.
    #[test]
    fn repacked_weights_are_what_candle_reads() {
        let bytes = tiny_gguf(&Tiny::GOLDEN[1]);
        let gguf = gguf::Gguf::parse("tiny", &bytes).unwrap();
        let mut kinds = Vec::new();
        for (name, tensor) in gguf.tensors.iter().filter(|(_, t)| t.dims.len() == 2) {
            let matrix = Matrix::from_gguf("tiny", name, tensor).unwrap();
            let storage = QStorage::from_data(
                Cow::Owned(tensor.bytes.to_vec()),
                &Device::Cpu,
                candle(tensor.dtype),
            );
            let dense = QTensor::new(storage.unwrap(), CandleShape::from(tensor.dims.clone())).unwrap();
            let dense: Vec<Vec<f32>> = dense.dequantize(&Device::Cpu).unwrap().to_vec2().unwrap();
            for (row, expected) in dense.iter().enumerate() {
                let mut got = vec![0.0; matrix.cols];
                matrix.row(row, &mut got);
                for (got, expected) in got.iter().zip(expected) {
                    assert!(
                        (got - expected).abs() <= 1e-6,
                        "{name} row {row}: {got} {expected}"
                    );
                }
            }
            kinds.push(matrix.kind as u8);
        }
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, (0..8).collect::<Vec<_>>());
    }

    fn candle(dtype: Dtype) -> GgmlDType {
        match dtype {
            Dtype::F32 => GgmlDType::F32,
            Dtype::F16 => GgmlDType::F16,
            Dtype::BF16 => GgmlDType::BF16,
            Dtype::Q4_0 => GgmlDType::Q4_0,
            Dtype::Q4_1 => GgmlDType::Q4_1,
            Dtype::Q5_0 => GgmlDType::Q5_0,
            Dtype::Q5_1 => GgmlDType::Q5_1,
            Dtype::Q8_0 => GgmlDType::Q8_0,
            Dtype::Q4K => GgmlDType::Q4K,
            Dtype::Q5K => GgmlDType::Q5K,
            Dtype::Q6K => GgmlDType::Q6K,
        }
    }

    #[test]
    fn other_types_become_q8_0() {
        let values: Vec<f32> = (0..64).map(|i| (i as f32 - 20.0) / 7.0).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = gguf::Tensor {
            dtype: Dtype::F32,
            dims: vec![2, 32],
            bytes: &bytes,
        };
        let matrix = Matrix::from_gguf("x", "x", &tensor).unwrap();
        let mut row = [0.0; 32];
        matrix.row(1, &mut row);
        for (got, expected) in row.iter().zip(&values[32..]) {
            assert!((got - expected).abs() <= 43.0 / 7.0 / 254.0 + 1e-6);
        }
        let odd = gguf::Tensor {
            dtype: Dtype::F32,
            dims: vec![4, 16],
            bytes: &bytes,
        };
        assert!(matches!(
            Matrix::from_gguf("x", "x", &odd),
            Err(Error::Format { .. })
        ));
    }

    #[test]
    fn halves_are_widened_exactly() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2f32.powi(-24)),
            (0x83ff, -1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(f16(bits), value);
        }
        assert!(f16(0x7c01).is_nan());
    }
}
