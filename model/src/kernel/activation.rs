//! Activations as integer codes: SPEC 2.3.

use crate::math::lanes::{self, Pass};
use crate::ops::TINY;
use crate::{Error, Kernel, team};

/// Most rows that lie side by side: a kernel multiplies them together.
pub(crate) const TILE: usize = 8;

/// Four codes of one row.
pub(crate) type Quad = [i8; 4];

/// Rows of codes in -127..=127 with one scale per block of 32 or 256, in tiles of `width` rows. The last tile is filled up
/// with rows of zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activations {
    rows: usize,
    cols: usize,
    block: usize,
    /// 1, 2, 4 or [`TILE`]: a few rows must not take the cache of many.
    width: usize,
    /// `[tile][strip][quad: 8][row of tile]`
    codes: Vec<Quad>,
    /// `[tile][block][row of tile]`
    scales: Vec<f32>,
    /// Sums of sixteen codes: `[tile][strip][half: 2][row of tile]`
    sums: Vec<i32>,
}

/// Some rows, side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile<'a> {
    /// Number of rows.
    pub(crate) width: usize,
    /// `[strip][quad: 8][row]`
    pub(crate) codes: &'a [Quad],
    /// `[block][row]`
    pub(crate) scales: &'a [f32],
    /// Sums of sixteen codes: `[strip][half: 2][row]`
    pub(crate) sums: &'a [i32],
}

impl Tile<'_> {
    /// Quad `quad` of a row, counted over all strips.
    #[inline(always)]
    pub(super) fn quad(&self, quad: usize, row: usize) -> Quad {
        self.codes[quad * self.width + row]
    }

    /// A row's sum of a strip's codes: at most 32 * 127 in magnitude.
    #[inline(always)]
    pub(super) fn sum(&self, strip: usize, row: usize) -> i32 {
        self.half_sum(2 * strip, row) + self.half_sum(2 * strip + 1, row)
    }

    /// A row's sum of sixteen codes.
    #[inline(always)]
    pub(super) fn half_sum(&self, half: usize, row: usize) -> i32 {
        self.sums[half * self.width + row]
    }
}

impl Activations {
    /// Quantizes `x`, rows of `cols` values, by blocks of `block`; `cols` is a multiple of `block`. Tiles are divided among
    /// `threads` of the current pool.
    ///
    /// # Errors
    /// [`Error::NotFinite`], [`Error::FloatEnv`].
    pub(crate) fn quantize(
        &mut self,
        kernel: Kernel,
        threads: usize,
        x: &[f32],
        cols: usize,
        block: usize,
    ) -> Result<(), Error> {
        (self.rows, self.cols, self.block) = (x.len() / cols, cols, block);
        self.width = self.rows.next_power_of_two().min(TILE);
        let (tiles, width) = (self.rows.div_ceil(self.width), self.width);
        let (quads, halves, blocks) = (cols / 4 * width, cols / 16 * width, cols / block * width);
        self.codes.resize(tiles * quads, [0; 4]);
        self.sums.resize(tiles * halves, 0);
        self.scales.resize(tiles * blocks, 0.0);
        let share = team::share(tiles, team::worth(threads, x.len()));
        let parts = x
            .chunks(share * width * cols)
            .zip(self.codes.chunks_mut(share * quads))
            .zip(self.sums.chunks_mut(share * halves))
            .zip(self.scales.chunks_mut(share * blocks));
        team::each(parts, |(((x, codes), sums), scales)| {
            let pass = Quantize {
                x,
                cols,
                block,
                width,
                codes,
                sums,
                scales,
            };
            if lanes::run(kernel, pass) {
                Ok(())
            } else {
                Err(Error::NotFinite)
            }
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Rows of a tile.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Sums of sixteen codes of all rows, `[tile][strip][half: 2][row of tile]`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn sums(&self) -> &[i32] {
        &self.sums
    }

    #[inline(always)]
    pub(crate) fn tile(&self, tile: usize) -> Tile<'_> {
        let width = self.width;
        let (quads, halves) = (self.cols / 4 * width, self.cols / 16 * width);
        let blocks = self.cols / self.block * width;
        Tile {
            width,
            codes: &self.codes[tile * quads..][..quads],
            scales: &self.scales[tile * blocks..][..blocks],
            sums: &self.sums[tile * halves..][..halves],
        }
    }
}

/// Some tiles.
struct Quantize<'a> {
    x: &'a [f32],
    cols: usize,
    block: usize,
    width: usize,
    codes: &'a mut [Quad],
    sums: &'a mut [i32],
    scales: &'a mut [f32],
}

impl Pass for Quantize<'_> {
    /// Whether every value is finite.
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self {
            x,
            cols,
            block,
            width,
            codes,
            sums,
            scales,
        } = self;
        let (quads, blocks) = (cols / 4, cols / block);
        let rows = x.len() / cols;
        if !rows.is_multiple_of(width) {
            // The rows that fill up the last tile.
            let tile = rows / width * width;
            codes[tile * quads..].fill([0; 4]);
            sums[tile * (cols / 16)..].fill(0);
            scales[tile * blocks..].fill(0.0);
        }
        let mut worst = 0;
        for (i, x) in x.chunks_exact(block).enumerate() {
            let (row, b) = (i / blocks, i % blocks);
            let (tile, row) = (row / width, row % width);
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
            scales[(tile * blocks + b) * width + row] = back;
            let half = tile * (cols / 16) + b * (block / 16);
            for (h, x) in x.iter().enumerate() {
                let rounded = x.map(|x| crate::ops::round(x * scale));
                sums[(half + h) * width + row] = rounded.iter().sum();
                let narrow = rounded.map(|code| code as i8);
                let quads = &mut codes[(half + h) * 4 * width..][..4 * width];
                for (quad, narrow) in quads
                    .iter_mut()
                    .skip(row)
                    .step_by(width)
                    .zip(narrow.as_chunks::<4>().0)
                {
                    *quad = *narrow;
                }
            }
        }
        worst < f32::INFINITY.to_bits()
    }
}
