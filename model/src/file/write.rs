//! GGUF files, written: what small built-in models are made with.

use crate::file::dtype::Dtype;
use crate::file::metadata::Value;

/// What offsets of tensors are multiples of.
const ALIGN: usize = 32;

/// A tensor to be written.
pub(crate) struct NewTensor {
    pub(crate) dtype: Dtype,
    /// Outermost dimension first.
    pub(crate) dims: Vec<usize>,
    /// As many bytes as type and shape call for.
    pub(crate) bytes: Vec<u8>,
}

/// The bytes of a GGUF file, version 2. [`Value::Uint`] is written as `u32`, [`Value::Int`] as `i32`; an array has values of one type.
///
/// # Panics
/// For a number beyond 32 bits, or an array of several types.
pub(crate) fn gguf(metadata: &[(String, Value)], tensors: &[(String, NewTensor)]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(2u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        string(&mut out, key);
        out.extend(kind(value).to_le_bytes());
        put(&mut out, value);
    }
    let mut data: Vec<u8> = Vec::new();
    for (name, tensor) in tensors {
        string(&mut out, name);
        out.extend((tensor.dims.len() as u32).to_le_bytes());
        for &dim in tensor.dims.iter().rev() {
            out.extend((dim as u64).to_le_bytes());
        }
        out.extend(tensor.dtype.number().to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        data.extend(&tensor.bytes);
        data.resize(data.len().next_multiple_of(ALIGN), 0);
    }
    out.resize(out.len().next_multiple_of(ALIGN), 0);
    out.extend(data);
    out
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// GGUF's number of a value's type.
fn kind(value: &Value) -> u32 {
    match value {
        Value::Uint(_) => 4,
        Value::Int(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) => 8,
        Value::Array(_) => 9,
        Value::F64(_) => 12,
    }
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Uint(v) => out.extend(u32::try_from(*v).expect("at most 32 bits").to_le_bytes()),
        Value::Int(v) => out.extend(i32::try_from(*v).expect("at most 32 bits").to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push((*v).into()),
        Value::String(v) => string(out, v),
        Value::Array(values) => {
            let of = values.first().map_or(4, kind);
            out.extend(of.to_le_bytes());
            out.extend((values.len() as u64).to_le_bytes());
            for value in values {
                assert_eq!(kind(value), of, "an array has values of one type");
                put(out, value);
            }
        }
    }
}
