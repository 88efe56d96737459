//! What a page holds: numbers as they are, or codes of 8 bits with a scale for each position and head (SPEC 2.7).

use super::shape::{PAGE, Shape};
use crate::Kv;

/// Keys and values of [`PAGE`] positions of one slot, for every layer and head.
#[derive(Debug)]
pub(crate) struct Content {
    /// For each layer and head: keys `[width][PAGE]` and values `[PAGE][width]`; with codes, scales `[2][PAGE]`.
    floats: Box<[f32]>,
    /// Keys and values likewise, or nothing.
    codes: Box<[i8]>,
}

impl Content {
    pub(crate) fn new(shape: &Shape) -> Self {
        let heads = shape.layers * shape.heads;
        let numbers = heads * 2 * shape.width * PAGE;
        let (floats, codes) = match shape.kv {
            Kv::F32 => (numbers, 0),
            Kv::Int8 => (heads * 2 * PAGE, numbers),
        };
        Self {
            floats: vec![0.0; floats].into(),
            codes: vec![0; codes].into(),
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        4 * self.floats.len() + self.codes.len()
    }

    pub(super) fn copy_from(&mut self, other: &Self) {
        let Self { floats, codes } = self;
        floats.copy_from_slice(&other.floats);
        codes.copy_from_slice(&other.codes);
    }

    /// Puts the numbers of one position of a head in their place.
    pub(super) fn put(&mut self, width: usize, head: usize, at: usize, keys: &[f32], values: &[f32]) {
        place(&mut self.floats, width, head, at, keys, values);
    }

    /// Puts codes in their place, with the scales of keys and values.
    pub(super) fn put_codes(
        &mut self,
        width: usize,
        head: usize,
        at: usize,
        (keys, key_scale): (&[i8], f32),
        (values, value_scale): (&[i8], f32),
    ) {
        place(&mut self.codes, width, head, at, keys, values);
        let scales = &mut self.floats[head * 2 * PAGE..][..2 * PAGE];
        (scales[at], scales[PAGE + at]) = (key_scale, value_scale);
    }
}

fn place<N: Copy>(numbers: &mut [N], width: usize, head: usize, at: usize, keys: &[N], values: &[N]) {
    let part = width * PAGE;
    let (k, v) = numbers[head * 2 * part..][..2 * part].split_at_mut(part);
    for (d, &key) in keys.iter().enumerate() {
        k[d * PAGE + at] = key;
    }
    v[at * width..][..width].copy_from_slice(values);
}

/// Keys and values of one head of a layer in one page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a, N> {
    /// `[width][PAGE]`
    pub(crate) keys: &'a [N],
    /// `[PAGE][width]`
    pub(crate) values: &'a [N],
    /// What the keys and the values of each position are multiplied by.
    pub(crate) key_scales: &'a [f32; PAGE],
    pub(crate) value_scales: &'a [f32; PAGE],
}

/// What keys and values are kept as.
pub(crate) trait Number: Copy + Sync + 'static {
    fn float(self) -> f32;

    /// `sum` times the scale of its position.
    fn scaled(sum: f32, scale: f32) -> f32;

    /// The part of a head; heads are numbered through all layers.
    fn part(page: &Content, width: usize, head: usize) -> Part<'_, Self>;
}

impl Number for f32 {
    #[inline(always)]
    fn float(self) -> f32 {
        self
    }

    #[inline(always)]
    fn scaled(sum: f32, _: f32) -> f32 {
        sum
    }

    fn part(page: &Content, width: usize, head: usize) -> Part<'_, Self> {
        split(&page.floats, width, head, [&[1.0; PAGE]; 2])
    }
}

impl Number for i8 {
    #[inline(always)]
    fn float(self) -> f32 {
        f32::from(self)
    }

    #[inline(always)]
    fn scaled(sum: f32, scale: f32) -> f32 {
        sum * scale
    }

    fn part(page: &Content, width: usize, head: usize) -> Part<'_, Self> {
        let (scales, _) = page.floats.as_chunks::<PAGE>();
        split(
            &page.codes,
            width,
            head,
            [&scales[2 * head], &scales[2 * head + 1]],
        )
    }
}

fn split<'a, N>(
    numbers: &'a [N],
    width: usize,
    head: usize,
    [key_scales, value_scales]: [&'a [f32; PAGE]; 2],
) -> Part<'a, N> {
    let part = width * PAGE;
    let (keys, values) = numbers[head * 2 * part..][..2 * part].split_at(part);
    Part {
        keys,
        values,
        key_scales,
        value_scales,
    }
}
