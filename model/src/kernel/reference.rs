//! SPEC 2.4, word by word: one output at a time on unpacked blocks.

use super::activation::Activations;
use super::columns::Columns;
use crate::kernel::matrix::{LANES, Matrix, Record};
use crate::kernel::quant::Shape;

/// Multiplies the groups of rows in `data` with every row of `x`.
pub(super) fn multiply(matrix: &Matrix, data: &[u8], x: &Activations, out: &mut Columns<'_>) {
    let record = Record::of(matrix.kind);
    let Shape {
        block: len,
        sub,
        zero,
        mins,
        signed,
        ..
    } = record.shape;
    for (row, out) in out.iter_mut().enumerate() {
        let (x, r) = (x.tile(row / x.width()), row % x.width());
        for (group, out) in data.chunks(matrix.group_len()).zip(out.chunks_mut(LANES)) {
            for (lane, out) in out.iter_mut().enumerate() {
                let mut sum = 0.0f32;
                for (b, bytes) in group.chunks(record.len).enumerate() {
                    let w = record.get(bytes, lane);
                    let mut dot = 0i32;
                    let mut min = 0i32;
                    for k in 0..len {
                        let column = b * len + k;
                        let code = i32::from(x.quad(column / 4, r)[column % 4]);
                        let (scale, submin) = match (len, signed) {
                            (32, _) => (1, 1),
                            (_, true) => (i32::from(w.subs[k / sub] as i8), 0),
                            (_, false) => (i32::from(w.subs[k / sub]), i32::from(w.submins[k / sub])),
                        };
                        dot += scale * (i32::from(w.codes[k]) - zero) * code;
                        min += submin * code;
                    }
                    let scale = x.scales[b * x.width + r];
                    sum += w.d * scale * dot as f32;
                    if mins && len == 32 {
                        sum += w.m * scale * min as f32;
                    } else if mins {
                        sum -= w.m * scale * min as f32;
                    }
                }
                *out = sum;
            }
        }
    }
}
