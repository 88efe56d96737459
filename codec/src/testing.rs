//! A toy language model, for tests, fuzzing and examples.

use std::sync::Arc;

use weir_exact::{Error, Predict, Slot, Token};

use crate::query::Vocabulary;

/// A model whose logits are hashes of the last two tokens: exact, quick, any size.
#[derive(Clone, Debug)]
pub struct Markov {
    vocab: usize,
    max_context: usize,
    /// Sets models of one family apart: their logits are alike but not equal.
    variant: u64,
    slots: Vec<Option<Vec<Token>>>,
    logits: Vec<f32>,
}

impl Markov {
    /// A model of `vocab` tokens with 64 slots of 4096 positions.
    pub fn new(vocab: usize) -> Self {
        Self {
            vocab,
            max_context: 4096,
            variant: 0,
            slots: vec![None; 64],
            logits: vec![0.0; vocab],
        }
    }

    /// The same with other limits.
    pub fn with_limits(self, slots: usize, max_context: usize) -> Self {
        Self {
            slots: vec![None; slots],
            max_context,
            ..self
        }
    }

    /// A relative: half of each logit's deviation is its own.
    pub fn relative(self, variant: u64) -> Self {
        Self { variant, ..self }
    }

    /// Logits after `context`.
    pub fn logits(&mut self, context: &[Token]) -> &[f32] {
        let tail = context
            .iter()
            .rev()
            .take(2)
            .fold(7, |hash, &token| mix(hash ^ u64::from(token)));
        for (token, logit) in (0u64..).zip(&mut self.logits) {
            let hash = mix(tail ^ token.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            // Mostly low, seldom high, as language is.
            let base = peaked(hash);
            let own = peaked(mix(hash ^ self.variant));
            *logit = if self.variant == 0 {
                base
            } else {
                0.8 * base + 0.4 * own
            };
        }
        &self.logits
    }

    fn slot(&mut self, slot: Slot) -> Result<&mut Vec<Token>, Error> {
        let tokens = self.slots.get_mut(slot.0 as usize).and_then(Option::as_mut);
        tokens.ok_or(Error::NoSlot(slot))
    }

    fn feed(&mut self, slot: Slot, token: Token) -> Result<(), Error> {
        let (vocab, max) = (self.vocab, self.max_context);
        let tokens = self.slot(slot)?;
        if token as usize >= vocab {
            return Err(Error::NoToken { token, vocab });
        }
        if tokens.len() >= max {
            return Err(Error::ContextFull {
                slot,
                len: tokens.len() + 1,
                max,
            });
        }
        tokens.push(token);
        Ok(())
    }
}

impl Predict for Markov {
    fn vocab(&self) -> usize {
        self.vocab
    }

    fn max_context(&self) -> usize {
        self.max_context
    }

    fn open(&mut self) -> Result<Slot, Error> {
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.ok_or(Error::PoolFull { needed: 1, free: 0 })?;
        self.slots[slot] = Some(Vec::new());
        Ok(Slot(slot as u32))
    }

    fn close(&mut self, slot: Slot) {
        if let Some(entry) = self.slots.get_mut(slot.0 as usize) {
            *entry = None;
        }
    }

    fn len(&self, slot: Slot) -> usize {
        self.slots
            .get(slot.0 as usize)
            .and_then(Option::as_ref)
            .map_or(0, Vec::len)
    }

    fn truncate(&mut self, slot: Slot, len: usize) {
        if let Ok(tokens) = self.slot(slot) {
            tokens.truncate(len);
        }
    }

    fn prefill(&mut self, slot: Slot, tokens: &[Token]) -> Result<(), Error> {
        tokens.iter().try_for_each(|&token| self.feed(slot, token))
    }

    fn step(&mut self, rows: &[(Slot, Token)], sink: &mut dyn FnMut(usize, &[f32])) -> Result<(), Error> {
        for (row, &(slot, token)) in rows.iter().enumerate() {
            self.feed(slot, token)?;
            let context = self.slot(slot)?.clone();
            sink(row, self.logits(&context));
        }
        Ok(())
    }
}

/// A vocabulary in which token `t` is the letter `a + t mod 26`, and `end` ends an answer.
pub fn letters(vocab: usize, end: Token) -> Vocabulary {
    let bytes: Arc<[Box<[u8]>]> = (0..vocab).map(|t| Box::from([b'a' + (t % 26) as u8])).collect();
    Vocabulary {
        bytes,
        end: vec![end],
    }
}

/// -8..=8 with a long upper tail.
fn peaked(hash: u64) -> f32 {
    let uniform = (hash >> 40) as f32 / (1 << 24) as f32;
    let cubed = uniform * uniform * uniform;
    16.0 * cubed * cubed - 8.0
}

/// SplitMix64's output function.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}
