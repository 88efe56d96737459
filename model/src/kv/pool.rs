//! Keys and values of all live slots, in pages.
//!
//! A page holds [`PAGE`] positions of one slot for every layer and head: keys as `[dimension][position]`, so that sixteen
//! positions are sixteen lanes and a score needs no horizontal sum; values as `[position][dimension]` for the same reason.
//!
//! Slots that begin with the same registered prefix hold the same pages of it. A page with several holders is only read:
//! a slot that goes on in the middle of one puts a copy in its place first.

use std::sync::Arc;

use super::page::{Content, Number, Part};
use super::shape::{PAGE, Shape};
use crate::Kv;
use crate::kernel::Activations;
use weir_exact::{Error, Kernel, Slot, Token};

/// Most slots open at once.
const MAX_SLOTS: usize = 1 << 16;

/// Keys and values of [`PAGE`] positions; the pool's own have one holder, those of a prefix have more.
type Page = Arc<Content>;

fn is_shared(page: &Page) -> bool {
    Arc::strong_count(page) > 1
}

/// One slot's tokens so far.
#[derive(Debug, Default)]
struct Sequence {
    len: usize,
    /// Exactly as many as `len` needs.
    pages: Vec<Page>,
}

impl Sequence {
    /// The page that the next position goes into, if it must be copied before.
    fn to_copy(&self) -> Option<&Page> {
        let last = self.pages.last().filter(|_| !self.len.is_multiple_of(PAGE));
        last.filter(|page| is_shared(page))
    }

    /// Pages to take before there are `more` positions, at least one.
    fn missing(&self, more: usize) -> usize {
        (self.len + more).div_ceil(PAGE) - self.pages.len() + usize::from(self.to_copy().is_some())
    }
}

/// What slots that begin with the same tokens have in common.
#[derive(Debug)]
struct Prefix {
    tokens: Vec<Token>,
    /// Held here as long as there is a pool that knows them, so a slot's hold is never the only one.
    pages: Vec<Page>,
}

/// All pages and slots.
#[derive(Debug)]
pub(crate) struct Pool {
    shape: Shape,
    /// Pages of this pool that exist, in use or free; they are made when first needed and then kept. Those of prefixes are
    /// not among them.
    made: usize,
    free: Vec<Page>,
    /// Most pages there may be.
    limit: usize,
    slots: Vec<Option<Sequence>>,
    prefixes: Vec<Arc<Prefix>>,
    max_context: usize,
    kernel: Kernel,
    /// Keys and values of the position that is being written, as codes.
    coded: [Activations; 2],
}

impl Pool {
    pub(crate) fn new(shape: Shape, kernel: Kernel, positions: usize, max_context: usize) -> Self {
        Self {
            shape,
            kernel,
            coded: Default::default(),
            made: 0,
            free: Vec::new(),
            limit: positions.div_ceil(PAGE),
            slots: Vec::new(),
            prefixes: Vec::new(),
            max_context,
        }
    }

    /// A pool of the same shape, context and prefixes, with room and slots of its own.
    pub(crate) fn beside(&self, positions: usize) -> Self {
        Self {
            prefixes: self.prefixes.clone(),
            ..Self::new(self.shape, self.kernel, positions, self.max_context)
        }
    }

    /// Shares the prefixes of another pool, if they have the same shape.
    pub(crate) fn inherit(&mut self, from: &Self) {
        if self.shape == from.shape {
            self.prefixes.clone_from(&from.prefixes);
        }
    }

    /// Keeps what `slot` of `from` holds, which is that of `tokens`, as a prefix. Its pages do not count as this pool's.
    pub(crate) fn register(&mut self, tokens: &[Token], mut from: Self, slot: Slot) {
        if let Some(sequence) = from.slots.get_mut(slot.0 as usize).and_then(Option::take) {
            self.prefixes.push(Arc::new(Prefix {
                tokens: tokens.to_vec(),
                pages: sequence.pages,
            }));
        }
    }

    pub(crate) fn is_registered(&self, tokens: &[Token]) -> bool {
        self.prefixes.iter().any(|prefix| prefix.tokens == tokens)
    }

    /// Begins an empty slot with the longest prefix that `tokens` begin with, and gives its length; takes no page.
    ///
    /// Only whole prefixes count: were parts shared too, the time that a prompt takes would tell how far it agrees with
    /// one, and so the prefix, token by token.
    pub(crate) fn adopt(&mut self, slot: Slot, tokens: &[Token]) -> usize {
        let Some(Some(sequence)) = self.slots.get_mut(slot.0 as usize) else {
            return 0;
        };
        if sequence.len > 0 {
            return 0;
        }
        let fit = |prefix: &&Arc<Prefix>| {
            prefix.tokens.len() <= self.max_context && tokens.starts_with(&prefix.tokens)
        };
        let fitting = self.prefixes.iter().filter(fit);
        if let Some(prefix) = fitting.max_by_key(|prefix| prefix.tokens.len()) {
            sequence.len = prefix.tokens.len();
            sequence.pages.clone_from(&prefix.pages);
        }
        sequence.len
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
        let given = sequence.pages.drain(keep..);
        self.free.extend(given.filter(|page| !is_shared(page)));
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
            needed += sequence.missing(more);
        }
        if needed > self.free_pages() {
            Err(self.full(needed * PAGE))
        } else {
            Ok(())
        }
    }

    /// Adds a position and returns its number. Only after [`Pool::check`].
    pub(crate) fn push(&mut self, slot: Slot) -> Result<usize, Error> {
        let sequence = self.get(slot).ok_or(Error::NoSlot(slot))?;
        let fresh = if sequence.missing(1) > 0 {
            let original = sequence.to_copy().cloned();
            let mut page = self.take()?;
            if let Some(original) = &original {
                own(&mut page).copy_from(original);
            }
            Some((page, original.is_some()))
        } else {
            None
        };
        let Some(Some(sequence)) = self.slots.get_mut(slot.0 as usize) else {
            return Err(Error::NoSlot(slot));
        };
        if let Some((page, is_copy)) = fresh {
            if is_copy {
                sequence.pages.pop();
            }
            sequence.pages.push(page);
        }
        sequence.len += 1;
        Ok(sequence.len - 1)
    }

    /// Stores keys and values, `[head][width]` each, of one layer of a position that was pushed.
    ///
    /// # Errors
    /// [`Error::NotFinite`], where they are quantized.
    pub(crate) fn write(
        &mut self,
        slot: Slot,
        position: usize,
        layer: usize,
        keys: &[f32],
        values: &[f32],
    ) -> Result<(), Error> {
        let Shape { kv, heads, width, .. } = self.shape;
        let Some(Some(sequence)) = self.slots.get_mut(slot.0 as usize) else {
            return Err(Error::NoSlot(slot));
        };
        let page = own(&mut sequence.pages[position / PAGE]);
        let at = position % PAGE;
        let of = |head: usize| head * width..(head + 1) * width;
        match kv {
            Kv::F32 => {
                for head in 0..heads {
                    let (keys, values) = (&keys[of(head)], &values[of(head)]);
                    page.put(width, layer * heads + head, at, keys, values);
                }
            }
            Kv::Int8 => {
                let [coded_keys, coded_values] = &mut self.coded;
                coded_keys.quantize(self.kernel, keys, heads * width, width)?;
                coded_values.quantize(self.kernel, values, heads * width, width)?;
                let (keys, values) = (coded_keys.tile(0), coded_values.tile(0));
                for head in 0..heads {
                    let keys = (&keys.codes.as_flattened()[of(head)], keys.scales[head]);
                    let values = (&values.codes.as_flattened()[of(head)], values.scales[head]);
                    page.put_codes(width, layer * heads + head, at, keys, values);
                }
            }
        }
        Ok(())
    }

    /// The pages of one head of a layer, in order; N is what the shape's kind is kept as.
    pub(crate) fn head<N: Number>(
        &self,
        slot: Slot,
        layer: usize,
        head: usize,
    ) -> impl Iterator<Item = Part<'_, N>> + Clone {
        let Shape { heads, width, .. } = self.shape;
        let pages = self.get(slot).map_or(&[][..], |sequence| &sequence.pages);
        pages
            .iter()
            .map(move |page| N::part(page, width, layer * heads + head))
    }

    pub(crate) fn kv(&self) -> Kv {
        self.shape.kv
    }

    pub(crate) fn len(&self, slot: Slot) -> usize {
        self.get(slot).map_or(0, |sequence| sequence.len)
    }

    pub(crate) fn max_context(&self) -> usize {
        self.max_context
    }

    fn take(&mut self) -> Result<Page, Error> {
        if let Some(page) = self.free.pop() {
            return Ok(page);
        }
        if self.made == self.limit {
            return Err(self.full(1));
        }
        self.made += 1;
        Ok(Arc::new(Content::new(&self.shape)))
    }

    fn get(&self, slot: Slot) -> Option<&Sequence> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    fn free_pages(&self) -> usize {
        self.limit - self.made + self.free.len()
    }

    fn full(&self, needed: usize) -> Error {
        Error::PoolFull {
            needed,
            free: self.free_pages() * PAGE,
        }
    }
}

/// A page's content for writing: there is no way to that of a shared page.
fn own(page: &mut Page) -> &mut Content {
    Arc::get_mut(page).expect("a position that is written is in a page of the slot's own")
}

#[cfg(test)]
mod tests;
