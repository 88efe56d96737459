//! The file that `weir compress` writes: a fixed header, a list, the code, a check of all. SPEC 8.2.
//!
//! This module reads and writes bytes; it judges the form of a file, never its content. What the code means is
//! `compress`'s business.

/// What a compressed file says before its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Hash of the weak model that wrote the code; only the same one reads it.
    pub(crate) model: [u8; 32],
    /// Hash of the tokenizer, likewise.
    pub(crate) tokenizer: [u8; 32],
    /// BLAKE3 of the content.
    pub(crate) content: [u8; 32],
    /// Bytes of content.
    pub(crate) length: u64,
    /// Tokens of content.
    pub(crate) tokens: u64,
    /// Positions that the model's context may take.
    pub(crate) window: u32,
    /// Tokens kept when a full window is begun anew.
    pub(crate) overlap: u32,
    /// The token that the first one follows.
    pub(crate) start: u32,
    /// Bytes of the list of those that the vocabulary lacks.
    pub(crate) missing: u64,
}

/// Why some bytes are not a compressed file, or not an intact one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The first bytes are not the magic.
    #[error("not a file made by `weir compress` (it does not begin with WEIRZIP)")]
    Foreign,
    /// A version that this program does not know.
    #[error("compressed by another version of weir: format {0}, this program reads format {VERSION}")]
    Version(u8),
    /// Fewer bytes than header and check take.
    #[error("the file ends after {got} bytes, its header and check alone take {OVERHEAD}: it is cut short")]
    Short {
        /// Bytes there are.
        got: u64,
    },
    /// The check over header and code does not match.
    #[error("the file is damaged: its check does not match what it holds")]
    Damaged,
    /// Intact, but says something that no compressor says.
    #[error("the file is not valid: {0}")]
    Invalid(&'static str),
}

impl Header {
    /// A whole file.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the header would not be read back.
    pub(crate) fn emit(&self, missing: &[u8], code: &[u8]) -> Result<Vec<u8>, Error> {
        self.judge()?;
        let mut out = Vec::with_capacity(OVERHEAD + missing.len() + code.len());
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.extend_from_slice(&self.model);
        out.extend_from_slice(&self.tokenizer);
        out.extend_from_slice(&self.content);
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.tokens.to_be_bytes());
        out.extend_from_slice(&self.window.to_be_bytes());
        out.extend_from_slice(&self.overlap.to_be_bytes());
        out.extend_from_slice(&self.start.to_be_bytes());
        out.extend_from_slice(&self.missing.to_be_bytes());
        out.extend_from_slice(missing);
        out.extend_from_slice(code);
        let check = check(&out);
        out.extend_from_slice(&check);
        Ok(out)
    }

    /// Takes a file apart into header, list of missing bytes and code. Any bytes are safe.
    ///
    /// # Errors
    /// Every way in which the bytes differ from a file that [`Header::emit`] made.
    pub(crate) fn parse(file: &[u8]) -> Result<(Self, &[u8], &[u8]), Error> {
        let magic = file.get(..MAGIC.len()).ok_or(Error::Foreign)?;
        if magic != MAGIC {
            return Err(Error::Foreign);
        }
        let short = Error::Short {
            got: file.len() as u64,
        };
        let version = *file.get(MAGIC.len()).ok_or(short)?;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        if file.len() < OVERHEAD {
            return Err(short);
        }
        let (body, sum) = file.split_last_chunk::<CHECK>().ok_or(short)?;
        if check(body) != *sum {
            return Err(Error::Damaged);
        }
        let mut rest = Cursor(&body[MAGIC.len() + 1..]);
        let header = Self {
            model: rest.take(short)?,
            tokenizer: rest.take(short)?,
            content: rest.take(short)?,
            length: u64::from_be_bytes(rest.take(short)?),
            tokens: u64::from_be_bytes(rest.take(short)?),
            window: u32::from_be_bytes(rest.take(short)?),
            overlap: u32::from_be_bytes(rest.take(short)?),
            start: u32::from_be_bytes(rest.take(short)?),
            missing: u64::from_be_bytes(rest.take(short)?),
        };
        header.judge()?;
        let missing = usize::try_from(header.missing).ok();
        let (missing, code) = missing
            .and_then(|missing| rest.0.split_at_checked(missing))
            .ok_or(Error::Invalid("its list of missing bytes is longer than itself"))?;
        Ok((header, missing, code))
    }

    /// What the compressor keeps to, so that a decompressor can rely on it.
    fn judge(&self) -> Result<(), Error> {
        if self.tokens > self.length {
            return Err(Error::Invalid("it counts more tokens than bytes"));
        }
        if self.overlap >= self.window {
            return Err(Error::Invalid("its overlap is not inside its window"));
        }
        Ok(())
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self, short: Error) -> Result<[u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(short)?;
        self.0 = rest;
        Ok(*head)
    }
}

/// Against accident, not malice: whoever can write the file can write the check.
pub(crate) fn check(body: &[u8]) -> [u8; CHECK] {
    let mut sum = [0; CHECK];
    sum.copy_from_slice(&blake3::hash(body).as_bytes()[..CHECK]);
    sum
}

/// The last two bytes show a file that was taken for text and had its line ends changed.
pub(crate) const MAGIC: &[u8; 9] = b"WEIRZIP\r\n";
/// The one format that is read and written.
pub(crate) const VERSION: u8 = 2;
/// Bytes of the check at the end.
const CHECK: usize = 16;
/// Bytes of a file besides its code.
pub(crate) const OVERHEAD: usize = MAGIC.len() + 1 + 3 * 32 + 2 * 8 + 3 * 4 + 8 + CHECK;

#[cfg(test)]
// By their paths, for the fuzz target that takes this file in.
#[path = "container/fuzzing.rs"]
mod fuzzing;
#[cfg(test)]
#[path = "container/tests.rs"]
mod tests;
