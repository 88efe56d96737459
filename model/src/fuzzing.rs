//! Bodies of the fuzz targets: any bytes give a value or an error, never a panic or a great allocation.

use crate::file::weirfile;
use crate::net::weights::Weights;
use crate::{TokenStream, Tokenizer, embedded};
use std::sync::{Arc, LazyLock};

/// Reads `data` as a GGUF file and repacks it.
pub fn gguf(data: &[u8]) {
    if let Ok(weights) = Weights::from_gguf("fuzz", data) {
        let again = Weights::from_gguf("fuzz", data).map(|weights| weights.hash);
        assert_eq!(again.ok(), Some(weights.hash));
    }
}

/// Reads `data` as a `.weir` file.
pub fn weir_file(data: &[u8]) {
    _ = weirfile::metadata("fuzz", data);
    if let Ok((weights, seals)) = weirfile::read("fuzz", Arc::new(data.to_vec())) {
        _ = seals.verify(&weights.network);
    }
}

/// The same with its hashes put right, so that what is behind them is reached.
pub fn sealed_weir_file(data: &[u8]) {
    let mut data = data.to_vec();
    if weirfile::reseal(&mut data).is_some() {
        weir_file(&data);
    }
}

/// Reads `data` as a text in pieces: how much may be held back, then for each piece its length and as many bytes. No byte
/// changes or waits longer, whatever they are.
pub fn token_stream(data: &[u8]) {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        Tokenizer::from_bytes("embedded", embedded::weak()).expect("the embedded pair is tested")
    });
    let Some((&limit, mut rest)) = data.split_first() else {
        return;
    };
    let (mut stream, mut tokens) = (TokenStream::new(limit.into()), Vec::new());
    let mut pushed = Vec::new();
    while let Some((&len, after)) = rest.split_first() {
        let (piece, after) = after.split_at(after.len().min(len.into()));
        rest = after;
        pushed.extend_from_slice(piece);
        stream
            .push(&TOKENIZER, piece, &mut tokens)
            .expect("it has all bytes");
        assert!(stream.held() <= limit.into());
    }
    stream.finish(&TOKENIZER, &mut tokens);
    assert_eq!(TOKENIZER.decode(&tokens), pushed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Tiny, tiny_gguf};

    #[test]
    fn cut_and_changed_ggufs_are_refused_or_read() {
        let good = tiny_gguf(&Tiny {
            layers: 1,
            ..Tiny::default()
        });
        gguf(&good);
        let mut step = 1;
        let mut at = 0;
        while at < good.len() {
            gguf(&good[..at]);
            for flip in [1, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                gguf(&bad);
            }
            step = if at < 200 { 1 } else { step + 331 };
            at += step;
        }
        weir_file(&good);
        sealed_weir_file(&good);
        gguf(b"GGUF");
    }

    #[test]
    fn texts_in_pieces() {
        token_stream(b"");
        token_stream(b"\x05\x03it'\x02re\x00\x04 \xf0\x9f\x98\x02\x80\xff\xff....");
    }

    #[test]
    fn counts_beyond_the_file_allocate_nothing() {
        for (at, len) in [(8, 8), (16, 8), (24, 8)] {
            let mut bad = tiny_gguf(&Tiny {
                layers: 1,
                ..Tiny::default()
            });
            bad[at..at + len].fill(0xff);
            assert!(Weights::from_gguf("x", &bad).is_err());
        }
    }
}
