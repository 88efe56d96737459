//! Activations as integer codes: SPEC 2.3.

use crate::math::lanes::{self, Pass};
use crate::ops::TINY;
use crate::weights::STRIP;
use crate::{Error, Kernel};

/// Rows of codes in -127..=127 with one scale per block of 32 or 256.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activations {
    cols: usize,
    block: usize,
    /// `[row][cols]`
    codes: Vec<i8>,
    /// `[row][cols / block]`
    scales: Vec<f32>,
    /// `[row][cols / 16]`: sums of sixteen codes.
    sums: Vec<i32>,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) codes: &'a [i8],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [i32],
}

impl Row<'_> {
    /// The codes of a strip of 32, by quads.
    #[inline(always)]
    pub(super) fn strip(&self, strip: usize) -> &[[i8; 4]; 8] {
        let (quads, _) = self.codes[strip * STRIP..][..STRIP].as_chunks::<4>();
        quads.first_chunk().expect("a strip has eight quads")
    }

    /// The sum of a strip's codes: at most 32 * 127 in magnitude.
    #[inline(always)]
    pub(super) fn sum(&self, strip: usize) -> i32 {
        self.sums[2 * strip] + self.sums[2 * strip + 1]
    }

    /// The sums of a strip and the next one, in the two halves of 32 bits.
    #[inline(always)]
    pub(super) fn sum_pair(&self, strip: usize) -> i32 {
        self.sum(strip) & 0xffff | self.sum(strip + 1) << 16
    }
}

impl Activations {
    /// Quantizes `x`, rows of `cols` values, by blocks of `block`; `cols` is a multiple of `block`.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub(crate) fn quantize(
        &mut self,
        kernel: Kernel,
        x: &[f32],
        cols: usize,
        block: usize,
    ) -> Result<(), Error> {
        (self.cols, self.block) = (cols, block);
        self.codes.resize(x.len(), 0);
        self.scales.resize(x.len() / block, 0.0);
        self.sums.resize(x.len() / 16, 0);
        let finite = lanes::run(kernel, Quantize { x, to: self });
        if finite { Ok(()) } else { Err(Error::NotFinite) }
    }

    pub(crate) fn rows(&self) -> usize {
        self.codes.len() / self.cols
    }

    pub(crate) fn row(&self, row: usize) -> Row<'_> {
        let cols = self.cols;
        Row {
            codes: &self.codes[row * cols..][..cols],
            scales: &self.scales[row * (cols / self.block)..][..cols / self.block],
            sums: &self.sums[row * (cols / 16)..][..cols / 16],
        }
    }
}

struct Quantize<'a> {
    x: &'a [f32],
    to: &'a mut Activations,
}

impl Pass for Quantize<'_> {
    /// Whether every value is finite.
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Activations {
            block,
            codes,
            scales,
            sums,
            ..
        } = self.to;
        let block = *block;
        let mut worst = 0;
        for (b, x) in self.x.chunks_exact(block).enumerate() {
            let (x, _) = x.as_chunks::<16>();
            // The bits of |x| are in the order of |x|, and those of infinity and NaN come last.
            let mut lanes = [0u32; 16];
            for x in x {
                for (lane, x) in lanes.iter_mut().zip(x) {
                    *lane = (*lane).max(x.to_bits() & 0x7fff_ffff);
                }
            }
            let max = lanes.into_iter().fold(0, u32::max);
            worst = worst.max(max);
            let max = f32::from_bits(max);
            let (scale, back) = if max < TINY {
                (0.0, 0.0)
            } else {
                (127.0 / max, max / 127.0)
            };
            scales[b] = back;
            let sums = &mut sums[b * (block / 16)..][..block / 16];
            let (codes, _) = codes[b * block..][..block].as_chunks_mut::<16>();
            for ((x, sum), codes) in x.iter().zip(sums).zip(codes) {
                let rounded = x.map(|x| crate::ops::round(x * scale));
                *codes = rounded.map(|code| code as i8);
                *sum = rounded.iter().sum();
            }
        }
        worst < f32::INFINITY.to_bits()
    }
}
