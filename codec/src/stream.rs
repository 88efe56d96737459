//! One text, no queries: a long stream of tokens to one code and back, as `weir compress` needs it (SPEC 4.12).
//!
//! The weak model reads in windows: when its context is full it begins again with the last `overlap` tokens. The number of
//! tokens is not in the code; the container has it.

use weir_model::{Kernel, Predict, Slot, Token};

use crate::Error;
use crate::coder;
use crate::framing::Port;
use crate::stats::SlotStats;
use crate::winner::{Own, Predictor};

/// How far the model looks back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Positions after which the context begins again; at most the model's.
    pub size: usize,
    /// Tokens that a new context begins with; less than `size`.
    pub overlap: usize,
}

/// Tokens of one forward pass of the encoder.
const PASS: usize = 64;

/// Codes `tokens` and appends the code to `out`. `start` is the token that the first one follows (an end or begin token).
/// `progress` is told after every few tokens how many are done.
///
/// ```
/// use weir_codec::stream::{Window, compress, decompress};
/// use weir_codec::testing::Markov;
///
/// let window = Window { size: 128, overlap: 32 };
/// let tokens: Vec<u32> = (0..500).map(|i| i * i % 300).collect();
/// let mut code = Vec::new();
/// compress(&mut Markov::new(300), window, 0, &tokens, &mut code, &mut |_| {})?;
/// let back = decompress(&mut Markov::new(300), window, 0, &code, tokens.len(), &mut |_| {})?;
/// assert_eq!(back, tokens);
/// # Ok::<(), weir_codec::Error>(())
/// ```
///
/// # Errors
/// [`Error::Window`] for a window that the model cannot hold, [`Error::Token`], or the model's.
pub fn compress<P: Predict>(
    model: &mut P,
    window: Window,
    start: Token,
    tokens: &[Token],
    out: &mut Vec<u8>,
    progress: &mut dyn FnMut(usize),
) -> Result<SlotStats, Error> {
    let vocab = model.vocab();
    if let Some(&token) = tokens
        .iter()
        .chain([&start])
        .find(|&&token| token as usize >= vocab)
    {
        return Err(Error::Token { token, vocab });
    }
    let mut coder = coder::Encoder::default();
    let mut reader = Reader::new(model, window, start)?;
    let mut done = 0;
    while done < tokens.len() {
        let pass = &tokens[done..tokens.len().min(done + PASS)];
        done += reader.pass(pass, &mut Port::Write(&mut coder), &mut Vec::new())?;
        progress(done);
    }
    coder.seal(out);
    Ok(reader.finish())
}

/// The first `count` tokens of `code`.
///
/// # Errors
/// [`Error::NotCanonical`] if the code is not what [`compress`] writes for them; otherwise as there.
pub fn decompress<P: Predict>(
    model: &mut P,
    window: Window,
    start: Token,
    code: &[u8],
    count: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Token>, Error> {
    let vocab = model.vocab();
    if start as usize >= vocab {
        return Err(Error::Token { token: start, vocab });
    }
    let mut coder = coder::Decoder::new(code);
    let mut reader = Reader::new(model, window, start)?;
    // The count may be a lie: memory grows with what is decoded.
    let mut tokens = Vec::new();
    while tokens.len() < count {
        reader.pass(&[0], &mut Port::Read(&mut coder), &mut tokens)?;
        if tokens.len().is_multiple_of(16) || tokens.len() == count {
            progress(tokens.len());
        }
    }
    reader.finish();
    if coder.is_canonical() {
        Ok(tokens)
    } else {
        Err(Error::NotCanonical)
    }
}

/// The model at work on one stream.
struct Reader<'a, P: Predict> {
    model: &'a mut P,
    window: Window,
    slot: Slot,
    predictor: Predictor,
    own: Own,
    pending: Token,
    /// The last tokens fed, at least `overlap` of them if there were so many.
    recent: Vec<Token>,
    stats: SlotStats,
}

impl<'a, P: Predict> Reader<'a, P> {
    fn new(model: &'a mut P, window: Window, start: Token) -> Result<Self, Error> {
        let max_context = model.max_context();
        if window.overlap >= window.size || window.size > max_context {
            return Err(Error::Window {
                size: window.size,
                overlap: window.overlap,
                max_context,
            });
        }
        let slot = model.open()?;
        let predictor = Predictor::new(Kernel::choose(None).unwrap_or(Kernel::Portable));
        let own = predictor.begin(None);
        let (recent, stats) = (Vec::new(), SlotStats::default());
        Ok(Self {
            model,
            window,
            slot,
            predictor,
            own,
            pending: start,
            recent,
            stats,
        })
    }

    /// Codes the first tokens of `tokens` (or reads as many) in one pass of the model: all, or fewer where the window ends.
    /// Appends them to `done` and gives their number.
    fn pass(&mut self, tokens: &[Token], port: &mut Port<'_>, done: &mut Vec<Token>) -> Result<usize, Error> {
        if self.model.len(self.slot) >= self.window.size {
            // SPEC 4.12: a new window begins with the last tokens of the old one.
            let begin = self.recent.len() - self.window.overlap;
            self.model.truncate(self.slot, 0);
            self.model.prefill(self.slot, &self.recent[begin..])?;
            self.recent.drain(..begin);
        }
        let room = self.window.size - self.model.len(self.slot);
        let tokens = &tokens[..tokens.len().min(room)];
        let fed = [self.pending]
            .into_iter()
            .chain(tokens[..tokens.len() - 1].iter().copied());
        let rows: Vec<_> = fed.map(|token| (self.slot, token)).collect();
        let Self {
            model,
            predictor,
            own,
            pending,
            recent,
            stats,
            ..
        } = self;
        let mut failed = None;
        model.step(&rows, &mut |row, logits| {
            if failed.is_some() {
                return;
            }
            if let Err(error) = predictor.prepare(logits, None, own) {
                failed = Some(error);
                return;
            }
            let (token, bits) = port.token(predictor, tokens[row]);
            stats.add(bits, predictor.plain_bits(token));
            predictor.learn(token, own);
            recent.push(*pending);
            *pending = token;
            done.push(token);
        })?;
        failed.map_or(Ok(rows.len()), Err)
    }

    fn finish(self) -> SlotStats {
        self.model.close(self.slot);
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Markov;

    #[test]
    fn windows_and_passes_agree() {
        for (size, overlap) in [(1, 0), (2, 1), (64, 63), (65, 1), (100, 40), (4096, 0)] {
            let window = Window { size, overlap };
            let tokens: Vec<Token> = (0..300).map(|i: u32| (i * i * 31 + i / 7) % 500).collect();
            for len in [0, 1, 63, 64, 65, 300] {
                let mut code = Vec::new();
                let (mut model, mut seen) = (Markov::new(500), 0);
                let stats = compress(&mut model, window, 3, &tokens[..len], &mut code, &mut |done| {
                    seen = done
                })
                .unwrap();
                assert_eq!((stats.tokens as usize, seen), (len, len));
                assert!(code.len() as f64 <= stats.coded_bits / 8.0 + 1.1);
                let mut model = Markov::new(500);
                let back = decompress(&mut model, window, 3, &code, len, &mut |_| {}).unwrap();
                assert_eq!(back, tokens[..len]);
                code.push(1);
                let again = decompress(&mut model, window, 3, &code, len, &mut |_| {});
                assert!(matches!(again, Err(Error::NotCanonical)));
            }
        }
    }

    #[test]
    fn unusable_windows() {
        let mut model = Markov::new(10);
        for (size, overlap) in [(0, 0), (5, 5), (5000, 1)] {
            let window = Window { size, overlap };
            assert!(matches!(
                compress(&mut model, window, 0, &[1], &mut Vec::new(), &mut |_| {}),
                Err(Error::Window { .. })
            ));
        }
    }
}
