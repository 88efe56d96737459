//! What crosses the pipes between the two processes of the bench.

use std::io::{ErrorKind, Read, Write};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use weir_model::Token;

/// To the decoder. It is told no more than outer knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Down {
    /// An inward message of the wire.
    Message(Vec<u8>),
    /// A frame.
    Frame(Vec<u8>),
}

impl Down {
    pub(super) fn write(&self, out: &mut impl Write) -> Result<()> {
        let (kind, bytes) = match self {
            Self::Message(bytes) => (MESSAGE, bytes),
            Self::Frame(bytes) => (FRAME, bytes),
        };
        out.write_all(&[kind])?;
        out.write_all(&u32::try_from(bytes.len())?.to_be_bytes())?;
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// `None` once the other end is closed.
    pub(super) fn read(input: &mut impl Read) -> Result<Option<Self>> {
        let mut kind = [0];
        match input.read_exact(&mut kind) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
        input.read_exact(&mut bytes)?;
        match kind[0] {
            MESSAGE => Ok(Some(Self::Message(bytes))),
            FRAME => Ok(Some(Self::Frame(bytes))),
            kind => bail!("unknown kind {kind} on the pipe"),
        }
    }
}

/// From the decoder: one line of JSON for each frame.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Up {
    /// Slots and their tokens.
    pub(super) answers: Vec<(u8, Vec<Token>)>,
    /// Digest of the coder's state.
    pub(super) digest: u64,
    /// Seconds that this frame took to decode, and of them in the model.
    pub(super) seconds: f64,
    pub(super) forward: f64,
}

impl Up {
    pub(super) fn read(line: &str) -> Result<Self> {
        serde_json::from_str(line).context("the decoding process broke off")
    }
}

const MESSAGE: u8 = 1;
const FRAME: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let sent = [
            Down::Message(vec![1, 2]),
            Down::Frame(vec![]),
            Down::Frame(vec![0; 300]),
        ];
        let mut bytes = Vec::new();
        sent.iter().for_each(|one| one.write(&mut bytes).unwrap());
        let mut input = bytes.as_slice();
        for one in sent {
            assert_eq!(Down::read(&mut input).unwrap(), Some(one));
        }
        assert_eq!(Down::read(&mut input).unwrap(), None);
    }
}
