//! A language model of one's own: which byte follows two others, counted in a text that both ends have.

use weir_exact::{Error, Predict, Slot, Token, ln};

const MAX: usize = 4096;

/// The text, and for each slot the bytes so far.
pub struct Counts(pub &'static [u8], pub [Option<Vec<Token>>; 8]);

impl Counts {
    /// Logarithms of counts, by the crate's own `ln`: the same bits on any machine.
    pub fn logits(&self, context: &[Token]) -> [f32; 256] {
        let mut counts = [1e-4; 256];
        let last = context.last_chunk::<2>().map(|last| last.map(|token| token as u8));
        for found in self.0.windows(3).filter(|bytes| last.is_some_and(|last| bytes.starts_with(&last))) {
            counts[usize::from(found[2])] += 1.0;
        }
        counts.map(|count| ln(count) as f32)
    }

    fn fed(&mut self, slot: Slot) -> Result<&mut Vec<Token>, Error> {
        let fed = self.1.get_mut(slot.0 as usize).and_then(Option::as_mut);
        fed.ok_or(Error::NoSlot(slot))
    }
}

impl Predict for Counts {
    fn vocab(&self) -> usize {
        256
    }
    fn max_context(&self) -> usize {
        MAX
    }
    fn open(&mut self) -> Result<Slot, Error> {
        let free = self.1.iter().position(Option::is_none);
        let slot = free.ok_or(Error::PoolFull { needed: 1, free: 0 })?;
        self.1[slot] = Some(Vec::new());
        Ok(Slot(slot as u32))
    }
    fn close(&mut self, slot: Slot) {
        let _ = self.1.get_mut(slot.0 as usize).map(Option::take);
    }
    fn len(&self, slot: Slot) -> usize {
        self.1.get(slot.0 as usize).and_then(Option::as_ref).map_or(0, Vec::len)
    }
    fn truncate(&mut self, slot: Slot, len: usize) {
        let _ = self.fed(slot).map(|fed| fed.truncate(len));
    }
    fn prefill(&mut self, slot: Slot, tokens: &[Token]) -> Result<(), Error> {
        self.step(&tokens.iter().map(|&token| (slot, token)).collect::<Vec<_>>(), &mut |_, _| ())
    }
    fn step(&mut self, rows: &[(Slot, Token)], sink: &mut dyn FnMut(usize, &[f32])) -> Result<(), Error> {
        for (row, &(slot, token)) in rows.iter().enumerate() {
            let fed = self.fed(slot)?;
            fed.push(token);
            if fed.len() > MAX {
                return Err(Error::ContextFull { slot, len: fed.len(), max: MAX });
            }
            let fed = fed.clone();
            sink(row, &self.logits(&fed));
        }
        Ok(())
    }
}
