//! What every kernel fills, and how a kernel gets its format as a constant.

use crate::kernel::matrix::LANES;

/// Calls a function with the number of a [`Kind`](crate::kernel::quant::Kind) as its constant argument.
macro_rules! for_kind {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            crate::kernel::quant::Kind::Q4_0 => $function::<0>($($argument),*),
            crate::kernel::quant::Kind::Q4_1 => $function::<1>($($argument),*),
            crate::kernel::quant::Kind::Q5_0 => $function::<2>($($argument),*),
            crate::kernel::quant::Kind::Q5_1 => $function::<3>($($argument),*),
            crate::kernel::quant::Kind::Q8_0 => $function::<4>($($argument),*),
            crate::kernel::quant::Kind::Q4K => $function::<5>($($argument),*),
            crate::kernel::quant::Kind::Q5K => $function::<6>($($argument),*),
            crate::kernel::quant::Kind::Q6K => $function::<7>($($argument),*),
        }
    };
}
pub(crate) use for_kind;

/// For each row of activations what some groups give: sixteen outputs each, the last of a matrix perhaps fewer.
pub(crate) type Columns<'a> = [&'a mut [f32]];

/// Puts the outputs of group `group` in their place, as many as there are.
#[inline(always)]
pub(crate) fn put(out: &mut [f32], group: usize, lanes: &[f32; LANES]) {
    let out = &mut out[group * LANES..];
    match out.first_chunk_mut::<LANES>() {
        Some(out) => *out = *lanes,
        None => out.copy_from_slice(&lanes[..out.len()]),
    }
}
