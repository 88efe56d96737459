//! One text, no queries: a long stream of tokens to one code and back, as `weir compress` needs it (SPEC 4.12).
//!
//! The weak model reads in windows: when its context is full it begins again with the last `overlap` tokens. The number of
//! tokens is not in the code; the container has it.

mod bias;
mod mixer;
mod ngram;
mod predictor;

use core::ops::ControlFlow;

use weir_exact::{Kernel, Predict, Slot, Token};

use crate::Error;
use crate::coder;
use crate::stats::SlotStats;
use crate::symbol::Port;

use predictor::TextPredictor;

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
/// use core::ops::ControlFlow;
/// use weir_codec::text::{Window, compress, decompress};
/// use weir_codec::testing::Markov;
/// use weir_exact::Kernel;
///
/// let window = Window { size: 128, overlap: 32 };
/// let tokens: Vec<u32> = (0..500).map(|i| i * i % 300).collect();
/// let mut code = Vec::new();
/// compress(&mut Markov::new(300), Kernel::detect(), window, 0, &tokens, &mut code, &mut |_| {})?;
/// let all = &mut |_| ControlFlow::Continue(());
/// let back = decompress(&mut Markov::new(300), Kernel::detect(), window, 0, &code, tokens.len(), all)?;
/// assert_eq!(back, tokens);
/// # Ok::<(), weir_codec::Error>(())
/// ```
///
/// # Errors
/// [`Error::Window`] for a window that the model cannot hold, [`Error::Token`], or the model's.
pub fn compress<P: Predict>(
    model: &mut P,
    kernel: Kernel,
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
    let mut reader = Reader::new(model, kernel, window, start)?;
    let mut done = 0;
    while done < tokens.len() {
        let pass = &tokens[done..tokens.len().min(done + PASS)];
        done += reader.pass(pass, &mut Port::Write(&mut coder), &mut Vec::new())?;
        progress(done);
    }
    coder.seal(out);
    Ok(reader.finish())
}

/// The first `count` tokens of `code`, which may be a lie. `each` hears of every token as it is decoded, and may break.
///
/// # Errors
/// [`Error::NotCanonical`] if the code is not what [`compress`] writes for them; [`Error::Stopped`] if `each` broke;
/// otherwise as there.
pub fn decompress<P: Predict>(
    model: &mut P,
    kernel: Kernel,
    window: Window,
    start: Token,
    code: &[u8],
    count: usize,
    each: &mut dyn FnMut(Token) -> ControlFlow<()>,
) -> Result<Vec<Token>, Error> {
    let vocab = model.vocab();
    if start as usize >= vocab {
        return Err(Error::Token { token: start, vocab });
    }
    let mut coder = coder::Decoder::new(code);
    let mut reader = Reader::new(model, kernel, window, start)?;
    // Memory grows with what is decoded.
    let mut tokens = Vec::new();
    while tokens.len() < count {
        reader.pass(&[0], &mut Port::Read(&mut coder), &mut tokens)?;
        if tokens.last().is_some_and(|&token| each(token).is_break()) {
            reader.finish();
            return Err(Error::Stopped);
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
    predictor: TextPredictor,
    pending: Token,
    /// The last tokens fed, at least `overlap` of them if there were so many.
    recent: Vec<Token>,
    stats: SlotStats,
}

impl<'a, P: Predict> Reader<'a, P> {
    fn new(model: &'a mut P, kernel: Kernel, window: Window, start: Token) -> Result<Self, Error> {
        let max_context = model.max_context();
        if window.overlap >= window.size || window.size > max_context {
            return Err(Error::Window {
                size: window.size,
                overlap: window.overlap,
                max_context,
            });
        }
        let slot = model.open()?;
        let predictor = TextPredictor::new(kernel);
        let (recent, stats) = (Vec::new(), SlotStats::default());
        Ok(Self {
            model,
            window,
            slot,
            predictor,
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
            let prediction = match predictor.prepare(logits) {
                Ok(prediction) => prediction,
                Err(error) => {
                    failed = Some(error);
                    return;
                }
            };
            let (token, bits) = port.token(prediction, tokens[row]);
            stats.add(bits, prediction.plain_bits(token));
            predictor.learn(token);
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
mod tests;
