//! A batch's codec in the mode that a session's shape asks for: frames each sealed by themselves, or pieces of one code.

use weir_codec::{Decoded, Decoder, Encoder, Error, Offer, Sealed, Settings, Slots, Vocabulary, pieces};
use weir_model::{Kernel, Predict};

/// Inner's side of a batch.
#[derive(Debug)]
pub enum BatchEncoder<P> {
    /// Each frame is sealed by itself.
    Frames(Box<Encoder<P>>),
    /// Frames are pieces of one code (SPEC 4.15).
    Pieces(Box<pieces::Encoder<P>>),
}

/// Outer's side of a batch.
#[derive(Debug)]
pub enum BatchDecoder<P> {
    /// Each frame is sealed by itself.
    Frames(Box<Decoder<P>>),
    /// Frames are pieces of one code (SPEC 4.15).
    Pieces(Box<pieces::Decoder<P>>),
}

/// What a frame says.
#[derive(Debug)]
pub enum Heard<'a, P> {
    /// Inner has taken in so many inward messages more: to be applied to the slots now, and at no other time.
    TakenIn(Slots<'a, P>, u32),
    /// New tokens of some slots.
    Tokens(Decoded),
}

impl<P: Predict> BatchEncoder<P> {
    /// A batch without live slots; `piece` is the length of a piece in bytes, where there are pieces.
    pub fn new(
        model: P,
        vocabulary: Vocabulary,
        settings: Settings,
        kernel: Kernel,
        piece: Option<usize>,
    ) -> Self {
        match piece {
            None => Self::Frames(Box::new(Encoder::new(model, vocabulary, settings, kernel))),
            Some(len) => Self::Pieces(Box::new(pieces::Encoder::new(
                model, vocabulary, settings, kernel, len,
            ))),
        }
    }

    /// The slots, to be opened and closed between frames or segments.
    pub fn slots(&mut self) -> Slots<'_, P> {
        match self {
            Self::Frames(encoder) => encoder.slots(),
            Self::Pieces(encoder) => encoder.slots(),
        }
    }

    /// Slots that are live, ascending.
    pub fn live(&self) -> Vec<u8> {
        match self {
            Self::Frames(encoder) => encoder.live().collect(),
            Self::Pieces(encoder) => encoder.live().collect(),
        }
    }

    /// Codes what `offers` bring: a frame of at most `limit` bytes, appended to `out`, or a segment that pieces will bring.
    ///
    /// # Errors
    /// As [`Encoder::frame`] and [`pieces::Encoder::segment`].
    pub fn code(
        &mut self,
        taken_in: u32,
        offers: &[(u8, Offer<'_>)],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<Sealed, Error> {
        match self {
            Self::Frames(encoder) => encoder.frame(taken_in, offers, limit, out),
            Self::Pieces(encoder) => encoder.segment(taken_in, offers),
        }
    }

    /// Whether a piece can leave without anything more being coded.
    pub fn has_piece(&self) -> bool {
        match self {
            Self::Frames(_) => false,
            Self::Pieces(encoder) => encoder.has_piece(),
        }
    }

    /// Whether something was coded that no piece has brought.
    pub fn is_behind(&self) -> bool {
        match self {
            Self::Frames(_) => false,
            Self::Pieces(encoder) => encoder.is_behind(),
        }
    }
}

impl<P: Predict> BatchDecoder<P> {
    /// A batch without live slots; everything as given to the encoder.
    pub fn new(
        model: P,
        vocabulary: Vocabulary,
        settings: Settings,
        kernel: Kernel,
        piece: Option<usize>,
    ) -> Self {
        match piece {
            None => Self::Frames(Box::new(Decoder::new(model, vocabulary, settings, kernel))),
            Some(len) => Self::Pieces(Box::new(pieces::Decoder::new(
                model, vocabulary, settings, kernel, len,
            ))),
        }
    }

    /// Reads what `code` says and tells `each`, in order; gives the digest of the state after it.
    ///
    /// # Errors
    /// What `each` says, or the codec: the batch is of no use then.
    pub fn read<E: From<Error>>(
        &mut self,
        code: &[u8],
        mut each: impl FnMut(Heard<'_, P>) -> Result<(), E>,
    ) -> Result<u64, E> {
        match self {
            Self::Frames(decoder) => {
                let mut begun = decoder.begin(code)?;
                let count = begun.taken_in();
                each(Heard::TakenIn(begun.slots(), count))?;
                let decoded = begun.finish()?;
                let digest = decoded.digest;
                each(Heard::Tokens(decoded))?;
                Ok(digest)
            }
            Self::Pieces(decoder) => {
                decoder.piece(code)?;
                while let Some(step) = decoder.advance()? {
                    each(match step {
                        pieces::Step::TakenIn(count) => Heard::TakenIn(decoder.slots(), count),
                        pieces::Step::Tokens(decoded) => Heard::Tokens(decoded),
                    })?;
                }
                Ok(decoder.digest())
            }
        }
    }
}
