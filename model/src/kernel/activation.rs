//! Activations as integer codes: SPEC 2.3.

use crate::net::ops::{TINY, round};
use weir_exact::lanes::{self, Pass};
use weir_exact::{Error, Kernel};

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
        let rows = x.len() / cols;
        let tiles = self.tiles_mut(rows, cols, block);
        tiles
            .zip(x.chunks(tile_rows(rows) * cols))
            .try_for_each(|(tile, x)| tile.quantize(kernel, x))
    }

    /// Tiles for `rows` rows of `cols` values in blocks of `block`, all of which are to be quantized.
    pub(crate) fn tiles_mut(
        &mut self,
        rows: usize,
        cols: usize,
        block: usize,
    ) -> impl Iterator<Item = TileMut<'_>> {
        let width = tile_rows(rows);
        (self.rows, self.cols, self.block, self.width) = (rows, cols, block, width);
        let tiles = rows.div_ceil(width);
        let (quads, halves, blocks) = (cols / 4 * width, cols / 16 * width, cols / block * width);
        self.codes.resize(tiles * quads, [0; 4]);
        self.sums.resize(tiles * halves, 0);
        self.scales.resize(tiles * blocks, 0.0);
        let parts = self.codes.chunks_mut(quads).zip(self.sums.chunks_mut(halves));
        parts
            .zip(self.scales.chunks_mut(blocks))
            .map(move |((codes, sums), scales)| TileMut {
                cols,
                block,
                width,
                codes,
                sums,
                scales,
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

/// Rows of a tile, where there are `rows` in all: a power of two.
pub(crate) fn tile_rows(rows: usize) -> usize {
    rows.next_power_of_two().min(TILE)
}

/// A tile that is to be quantized.
pub(crate) struct TileMut<'a> {
    cols: usize,
    block: usize,
    width: usize,
    codes: &'a mut [Quad],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
}

impl TileMut<'_> {
    /// Quantizes `x`, as many rows as the tile has or fewer.
    ///
    /// # Errors
    /// [`Error::NotFinite`].
    pub(crate) fn quantize(self, kernel: Kernel, x: &[f32]) -> Result<(), Error> {
        if lanes::run(kernel, Quantize { x, tile: self }) {
            Ok(())
        } else {
            Err(Error::NotFinite)
        }
    }
}

struct Quantize<'a> {
    x: &'a [f32],
    tile: TileMut<'a>,
}

impl Pass for Quantize<'_> {
    /// Whether every value is finite.
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        match (self.tile.width, self.tile.block.is_multiple_of(32)) {
            (1, true) => self.rows::<1, 32>(),
            (1, false) => self.rows::<1, 16>(),
            (2, true) => self.rows::<2, 32>(),
            (2, false) => self.rows::<2, 16>(),
            (4, true) => self.rows::<4, 32>(),
            (4, false) => self.rows::<4, 16>(),
            (_, true) => self.rows::<TILE, 32>(),
            (_, false) => self.rows::<TILE, 16>(),
        }
    }
}

impl Quantize<'_> {
    /// For tiles of `T` rows, `P` codes at a time: in loops over constants, or compilers make gathers of them.
    #[inline(always)]
    fn rows<const T: usize, const P: usize>(self) -> bool {
        let Self { x, tile } = self;
        let TileMut {
            cols,
            block,
            codes,
            scales,
            sums,
            ..
        } = tile;
        if x.len() < T * cols {
            // The rows that fill up the last tile.
            codes.fill([0; 4]);
            sums.fill(0);
            scales.fill(0.0);
        }
        let (codes, _) = codes.as_chunks_mut::<T>();
        let (scales, _) = scales.as_chunks_mut::<T>();
        let (sums, _) = sums.as_chunks_mut::<T>();
        let mut worst = 0;
        for (row, x) in x.chunks_exact(cols).enumerate().take(T) {
            let mut pieces = codes.chunks_exact_mut(P / 4).zip(sums.chunks_exact_mut(P / 16));
            for (x, back) in x.chunks_exact(block).zip(&mut *scales) {
                // The bits of |x| are in the order of |x|, and those of infinity and NaN come last.
                let max = x.iter().fold(0, |max, x| (x.to_bits() & 0x7fff_ffff).max(max));
                worst = worst.max(max);
                let max = f32::from_bits(max);
                let scale;
                (scale, back[row]) = if max < TINY {
                    (0.0, 0.0)
                } else {
                    (127.0 / max, max / 127.0)
                };
                for (x, (codes, sums)) in x.as_chunks::<P>().0.iter().zip(&mut pieces) {
                    let mut narrow = [0; P];
                    for (narrow, x) in narrow.iter_mut().zip(x) {
                        *narrow = round(x * scale) as i8;
                    }
                    for (quads, narrow) in codes.iter_mut().zip(narrow.as_chunks().0) {
                        quads[row] = *narrow;
                    }
                    for (sums, narrow) in sums.iter_mut().zip(narrow.as_chunks::<16>().0) {
                        sums[row] = narrow.iter().map(|&code| i32::from(code)).sum();
                    }
                }
            }
        }
        worst < f32::INFINITY.to_bits()
    }
}
