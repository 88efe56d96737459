//! Keys and values of all live slots, in pages.
//!
//! A page holds [`PAGE`] positions of one slot for every layer and head: keys as `[dimension][position]`, so that sixteen
//! positions are sixteen lanes and a score needs no horizontal sum; values as `[position][dimension]` for the same reason.

use crate::{Error, Slot};

/// Positions per page.
pub const PAGE: usize = 64;
/// Most slots open at once.
const MAX_SLOTS: usize = 1 << 16;

/// What one position holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    /// Elements of a head.
    pub(crate) width: usize,
}

/// One slot's tokens so far.
#[derive(Debug, Default)]
struct Sequence {
    len: usize,
    /// Indices into `Pool::pages`; exactly as many as `len` needs.
    pages: Vec<usize>,
}

/// All pages and slots.
#[derive(Debug)]
pub(crate) struct Pool {
    shape: Shape,
    /// Pages that exist; they are made when first needed and then kept.
    pages: Vec<Box<[f32]>>,
    free: Vec<usize>,
    /// Most pages there may be.
    limit: usize,
    slots: Vec<Option<Sequence>>,
    max_context: usize,
}

impl Pool {
    pub(crate) fn new(shape: Shape, positions: usize, max_context: usize) -> Self {
        let limit = positions.div_ceil(PAGE);
        Self {
            shape,
            pages: Vec::new(),
            free: Vec::new(),
            limit,
            slots: Vec::new(),
            max_context,
        }
    }

    pub(crate) fn open(&mut self) -> Result<Slot, Error> {
        let index = self
            .slots
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.slots.len());
        if index >= MAX_SLOTS {
            return Err(self.full(1));
        }
        if index == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[index] = Some(Sequence::default());
        Ok(Slot(index as u32))
    }

    pub(crate) fn close(&mut self, slot: Slot) {
        self.truncate(slot, 0);
        if let Some(entry) = self.slots.get_mut(slot.0 as usize) {
            *entry = None;
        }
    }

    pub(crate) fn truncate(&mut self, slot: Slot, len: usize) {
        let Some(Some(sequence)) = self.slots.get_mut(slot.0 as usize) else {
            return;
        };
        sequence.len = sequence.len.min(len);
        let keep = sequence.len.div_ceil(PAGE);
        self.free.extend(sequence.pages.drain(keep..));
    }

    /// Fails without effect unless every slot of `rows` is open and `rows` more positions fit.
    pub(crate) fn check(&self, rows: impl Iterator<Item = Slot>) -> Result<(), Error> {
        let mut more = std::collections::BTreeMap::<Slot, usize>::new();
        for slot in rows {
            *more.entry(slot).or_default() += 1;
        }
        let mut needed = 0;
        for (&slot, &more) in &more {
            let Some(sequence) = self.get(slot) else {
                return Err(Error::NoSlot(slot));
            };
            let len = sequence.len + more;
            if len > self.max_context {
                return Err(Error::ContextFull {
                    slot,
                    len,
                    max: self.max_context,
                });
            }
            needed += len.div_ceil(PAGE) - sequence.pages.len();
        }
        if needed > self.free_pages() {
            Err(self.full(needed * PAGE))
        } else {
            Ok(())
        }
    }

    /// Adds a position and returns its number. Only after [`Pool::check`].
    pub(crate) fn push(&mut self, slot: Slot) -> Result<usize, Error> {
        let full = self.full(1);
        let Some(Some(sequence)) = self.slots.get_mut(slot.0 as usize) else {
            return Err(Error::NoSlot(slot));
        };
        if sequence.len == sequence.pages.len() * PAGE {
            let page = match self.free.pop() {
                Some(page) => page,
                None if self.pages.len() < self.limit => {
                    let Shape { layers, heads, width } = self.shape;
                    self.pages
                        .push(vec![0.0; layers * heads * width * PAGE * 2].into());
                    self.pages.len() - 1
                }
                None => return Err(full),
            };
            sequence.pages.push(page);
        }
        sequence.len += 1;
        Ok(sequence.len - 1)
    }

    /// Stores keys and values, `[head][width]` each, of one layer of a position.
    pub(crate) fn write(&mut self, slot: Slot, position: usize, layer: usize, keys: &[f32], values: &[f32]) {
        let Shape { heads, width, .. } = self.shape;
        let Some(Some(sequence)) = self.slots.get(slot.0 as usize) else {
            return;
        };
        let page = &mut self.pages[sequence.pages[position / PAGE]];
        let at = position % PAGE;
        for head in 0..heads {
            let part = width * PAGE;
            let (k, v) = page[(layer * heads + head) * 2 * part..][..2 * part].split_at_mut(part);
            for (d, &key) in keys[head * width..][..width].iter().enumerate() {
                k[d * PAGE + at] = key;
            }
            v[at * width..][..width].copy_from_slice(&values[head * width..][..width]);
        }
    }

    /// The pages of one head of a layer, in order: (keys `[width][PAGE]`, values `[PAGE][width]`).
    pub(crate) fn head(
        &self,
        slot: Slot,
        layer: usize,
        head: usize,
    ) -> impl Iterator<Item = (&[f32], &[f32])> + Clone {
        let part = self.shape.width * PAGE;
        let at = (layer * self.shape.heads + head) * 2 * part;
        let pages = self.get(slot).map_or(&[][..], |sequence| &sequence.pages);
        pages
            .iter()
            .map(move |&page| self.pages[page][at..][..2 * part].split_at(part))
    }

    pub(crate) fn len(&self, slot: Slot) -> usize {
        self.get(slot).map_or(0, |sequence| sequence.len)
    }

    pub(crate) fn max_context(&self) -> usize {
        self.max_context
    }

    fn get(&self, slot: Slot) -> Option<&Sequence> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    fn free_pages(&self) -> usize {
        self.limit - self.pages.len() + self.free.len()
    }

    fn full(&self, needed: usize) -> Error {
        Error::PoolFull {
            needed,
            free: self.free_pages() * PAGE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_used_again() {
        let mut pool = Pool::new(
            Shape {
                layers: 1,
                heads: 1,
                width: 16,
            },
            3 * PAGE,
            1000,
        );
        let a = pool.open().unwrap();
        for i in 0..PAGE + 1 {
            assert_eq!(pool.push(a).unwrap(), i);
        }
        let b = pool.open().unwrap();
        assert!(pool.check([b].into_iter().cycle().take(PAGE + 1)).is_err());
        pool.truncate(a, PAGE);
        pool.check([b].into_iter().cycle().take(2 * PAGE)).unwrap();
        pool.close(a);
        assert!(matches!(pool.push(a), Err(Error::NoSlot(_))));
        for _ in 0..3 * PAGE {
            pool.push(b).unwrap();
        }
        assert!(matches!(pool.push(b), Err(Error::PoolFull { .. })));
        assert_eq!((pool.len(a), pool.len(b)), (0, 3 * PAGE));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut pool = Pool::new(
            Shape {
                layers: 2,
                heads: 2,
                width: 16,
            },
            200,
            1000,
        );
        let slot = pool.open().unwrap();
        for p in 0..70 {
            let at = pool.push(slot).unwrap();
            let keys: Vec<f32> = (0..32).map(|i| (p * 100 + i) as f32).collect();
            let values: Vec<f32> = keys.iter().map(|k| -k).collect();
            pool.write(slot, at, 1, &keys, &values);
        }
        let (keys, values) = pool.head(slot, 1, 1).nth(1).unwrap();
        assert_eq!(keys[3 * PAGE + 5], (69 * 100 + 16 + 3) as f32);
        assert_eq!(values[5 * 16 + 3], -((69 * 100 + 16 + 3) as f32));
    }
}
