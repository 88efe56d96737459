//! The other means: protocols that carry tokens as they come, and compressors of text.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;
use liblzma::stream::PRESET_EXTREME;
use liblzma::write::XzEncoder;
use weir_model::Token;

use weir_setup::tool::events;

/// An answer as others see it.
pub(super) struct Answer {
    pub(super) tokens: Vec<Token>,
    /// Bytes of each token.
    pub(super) pieces: Vec<Vec<u8>>,
}

impl Answer {
    fn text(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Other {
    Sse,
    /// Each event can be read as soon as it is there.
    SseGzipFlushed,
    SseGzip,
    Protobuf,
    Text,
    Alone(Compressor),
    Dictionary,
    Together(Compressor),
}

/// A compressor of bytes at its best setting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Compressor {
    Zstd,
    Xz,
    Brotli,
}

impl Other {
    pub(super) const ALL: [Self; 12] = [
        Self::Sse,
        Self::SseGzipFlushed,
        Self::SseGzip,
        Self::Text,
        Self::Protobuf,
        Self::Alone(Compressor::Xz),
        Self::Alone(Compressor::Zstd),
        Self::Alone(Compressor::Brotli),
        Self::Dictionary,
        Self::Together(Compressor::Zstd),
        Self::Together(Compressor::Xz),
        Self::Together(Compressor::Brotli),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sse => "server-sent events, one per token",
            Self::SseGzipFlushed => "the same, gzip, flushed per event",
            Self::SseGzip => "the same, gzip, not flushed",
            Self::Protobuf => "protobuf, ten token ids a message",
            Self::Text => "text, UTF-8",
            Self::Alone(Compressor::Zstd) => "zstd -19, alone",
            Self::Alone(Compressor::Xz) => "xz -9e, alone",
            Self::Alone(Compressor::Brotli) => "brotli -11, alone",
            Self::Dictionary => "zstd -19, alone, trained dictionary",
            Self::Together(Compressor::Zstd) => "zstd -19, together",
            Self::Together(Compressor::Xz) => "xz -9e, together",
            Self::Together(Compressor::Brotli) => "brotli -11, together",
        }
    }

    /// Bytes that all answers take; nothing if there is too little text for a dictionary.
    ///
    /// # Errors
    /// A compressor's.
    pub(super) fn weigh(self, answers: &[Answer]) -> Result<Option<usize>> {
        let each =
            |weigh: &dyn Fn(&Answer) -> Result<usize>| -> Result<usize> { answers.iter().map(weigh).sum() };
        let bytes = match self {
            Self::Sse => each(&|answer| Ok(events(answer).map(|event| event.len()).sum()))?,
            Self::SseGzipFlushed => each(&|answer| gzip(events(answer), true))?,
            Self::SseGzip => each(&|answer| gzip(events(answer), false))?,
            Self::Protobuf => each(&|answer| {
                let messages = answer
                    .tokens
                    .chunks(10)
                    .map(|tokens| message(STREAM, tokens).len());
                Ok(messages.sum())
            })?,
            Self::Text => each(&|answer| Ok(answer.text().len()))?,
            Self::Alone(compressor) => each(&|answer| compressor.compress(&answer.text()))?,
            Self::Together(compressor) => {
                let texts: Vec<Vec<u8>> = answers.iter().map(Answer::text).collect();
                compressor.compress(&texts.concat())?
            }
            Self::Dictionary => return dictionary(answers),
        };
        Ok(Some(bytes))
    }
}

impl Compressor {
    /// Bytes of `text` compressed.
    fn compress(self, text: &[u8]) -> Result<usize> {
        Ok(match self {
            Self::Zstd => zstd::bulk::compress(text, ZSTD).context("zstd failed")?.len(),
            Self::Xz => {
                let mut encoder = XzEncoder::new(Vec::new(), 9 | PRESET_EXTREME);
                encoder.write_all(text).context("xz failed")?;
                encoder.finish().context("xz failed")?.len()
            }
            Self::Brotli => {
                let params = BrotliEncoderParams {
                    quality: 11,
                    ..BrotliEncoderParams::default()
                };
                let mut out = Vec::new();
                brotli::BrotliCompress(&mut &*text, &mut out, &params).context("brotli failed")?;
                out.len()
            }
        })
    }
}

fn events(answer: &Answer) -> impl Iterator<Item = String> {
    events::of("strong-model", answer.pieces.iter().map(Vec::as_slice))
}

/// Bytes of one stream of events through gzip at its usual level.
fn gzip(events: impl Iterator<Item = String>, flush: bool) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for event in events {
        encoder.write_all(event.as_bytes()).context("gzip failed")?;
        if flush {
            encoder.flush().context("gzip failed")?;
        }
    }
    Ok(encoder.finish().context("gzip failed")?.len())
}

/// Zstd with a dictionary trained on the answers of the other half.
fn dictionary(answers: &[Answer]) -> Result<Option<usize>> {
    let mut bytes = 0;
    for half in [0, 1] {
        let texts = |of: usize| answers.iter().skip(of).step_by(2).map(Answer::text);
        let samples: Vec<Vec<u8>> = texts(1 - half).filter(|text| !text.is_empty()).collect();
        // Fails where there is too little to learn from.
        let Ok(dictionary) = zstd::dict::from_samples(&samples, DICTIONARY) else {
            return Ok(None);
        };
        let compressor = zstd::bulk::Compressor::with_dictionary(ZSTD, &dictionary);
        let mut compressor = compressor.context("zstd failed")?;
        for text in texts(half) {
            bytes += compressor.compress(&text).context("zstd failed")?.len();
        }
    }
    Ok(Some(bytes))
}

/// A message of protobuf with its length before it, as its libraries write streams of them:
/// `message Tokens { uint32 stream = 1; repeated uint32 token = 2; }`, the tokens packed.
fn message(stream: u32, tokens: &[Token]) -> Vec<u8> {
    let mut packed = Vec::new();
    tokens.iter().for_each(|&token| varint(token, &mut packed));
    let mut body = vec![1 << 3];
    varint(stream, &mut body);
    body.push(2 << 3 | 2);
    varint(packed.len() as u32, &mut body);
    body.extend(packed);
    let mut out = Vec::new();
    varint(body.len() as u32, &mut out);
    out.extend(body);
    out
}

fn varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const ZSTD: i32 = 19;
/// Most bytes of a dictionary: zstd's own default.
const DICTIONARY: usize = 112_640;
/// The number of a stream that shares its connection with a hundred others.
const STREAM: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Vec<Answer> {
        let words = [
            "the ",
            "weir ",
            "holds ",
            "back ",
            "a ",
            "flow ",
            "and ",
            "measures ",
            "it. ",
        ];
        let answer = |n: usize| {
            let tokens: Vec<Token> = (0..40)
                .map(|i| ((i * i + n * 7) % words.len()) as Token)
                .collect();
            let pieces = tokens
                .iter()
                .map(|&t| words[t as usize].as_bytes().to_vec())
                .collect();
            Answer { tokens, pieces }
        };
        (0..60).map(answer).collect()
    }

    #[test]
    fn a_message_is_what_protobuf_writes() {
        // By hand from the encoding's definition: field 1 varint 100, field 2 packed 1, 300, 151,935.
        let expected = [10, 8, 100, 18, 6, 1, 0xac, 2, 0xff, 0xa2, 9];
        assert_eq!(message(100, &[1, 300, 151_935]), expected);
    }

    /// Whatever uses more of what it knows takes less.
    #[test]
    fn means_are_in_the_order_of_what_they_know() {
        let answers = answers();
        let weigh = |other: Other| other.weigh(&answers).unwrap().unwrap();
        let text: usize = answers.iter().map(|answer| answer.text().len()).sum();
        assert_eq!(weigh(Other::Text), text);
        assert!(weigh(Other::Sse) > 20 * text);
        assert!(weigh(Other::SseGzip) < weigh(Other::SseGzipFlushed));
        assert!(weigh(Other::SseGzipFlushed) < weigh(Other::Sse));
        assert!(weigh(Other::Protobuf) < text);
        assert!(weigh(Other::Dictionary) < weigh(Other::Alone(Compressor::Zstd)));
        for compressor in [Compressor::Zstd, Compressor::Xz, Compressor::Brotli] {
            assert!(
                weigh(Other::Together(compressor)) < weigh(Other::Alone(compressor)),
                "{compressor:?}"
            );
        }
    }

    #[test]
    fn one_answer_is_no_dictionary() {
        assert!(Other::Dictionary.weigh(&answers()[..1]).unwrap().is_none());
    }

    #[test]
    fn what_is_compressed_comes_back() {
        use std::io::Read as _;
        let text = answers()[0].text();
        let mut encoder = XzEncoder::new(Vec::new(), 9 | PRESET_EXTREME);
        encoder.write_all(&text).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(packed.len(), Compressor::Xz.compress(&text).unwrap());
        let mut back = Vec::new();
        liblzma::read::XzDecoder::new(packed.as_slice())
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, text);
    }
}
