//! Hashes: of a model (SPEC 2.9) and of the logits it gives for golden inputs (SPEC 2.10).

use crate::net::network::{Network, Part};
use crate::{Error, Kv, Model, Options, Predict, Token, testing};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Digests of golden logits by the model's name.
pub(crate) const VECTORS: &str = include_str!("../../../vectors/logits.json");

/// BLAKE3 of each tensor as stored, in the order of [`Network::parts`].
pub(crate) fn part_hashes(network: &Network) -> Vec<[u8; 32]> {
    network
        .parts()
        .par_iter()
        .map(|(_, part)| part_hash(part))
        .collect()
}

pub(crate) fn part_hash(part: &Part<'_>) -> [u8; 32] {
    *blake3::hash(&part.bytes()).as_bytes()
}

/// The model's hash, of its architecture and the hashes of its tensors.
pub(crate) fn model_hash(network: &Network, hashes: &[[u8; 32]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"weir model 1\n").update(&network.config.bytes());
    for ((name, part), hash) in network.parts().iter().zip(hashes) {
        hasher.update(&entry(name, part)).update(hash);
    }
    *hasher.finalize().as_bytes()
}

/// A tensor's name and shape as table and hash have them: SPEC 8.1.
pub(crate) fn entry(name: &str, part: &Part<'_>) -> Vec<u8> {
    let (kind, rows, cols) = part.shape();
    let mut out = vec![name.len() as u8];
    out.extend_from_slice(name.as_bytes());
    out.push(kind);
    out.extend(rows.to_le_bytes());
    out.extend(cols.to_le_bytes());
    out
}

/// SHA-256 over the logits of the golden tokens, as little-endian floats row by row: 16 tokens by single steps on one slot,
/// then 24 rows on two slots in turn.
pub(crate) fn golden(model: &mut Model) -> Result<String, Error> {
    let mut state = 1u32;
    let vocab = model.vocab() as u32;
    let mut token = || -> Token {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % vocab
    };
    let mut sha = Sha256::new();
    let mut sink = |_: usize, logits: &[f32]| {
        for x in logits {
            sha.update(x.to_bits().to_le_bytes());
        }
    };
    let (a, b) = (model.open()?, model.open()?);
    for _ in 0..16 {
        model.step(&[(a, token())], &mut sink)?;
    }
    let rows: Vec<_> = (0..24)
        .map(|i| (if i % 2 == 0 { a } else { b }, token()))
        .collect();
    model.step(&rows, &mut sink)?;
    model.close(a);
    model.close(b);
    Ok(sha.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

pub(crate) fn self_check(options: &Options) -> Result<(), Error> {
    let small = Options {
        kv_tokens: 256,
        max_context: 128,
        ..options.clone()
    };
    for tiny in testing::Tiny::GOLDEN {
        let bytes = testing::tiny_gguf(&tiny);
        let got = golden(&mut Model::from_bytes(tiny.name(), &bytes, &small)?)?;
        let expected = expected(&vector(tiny.name(), options.kv))?;
        if got != expected {
            let kernel = options.kernel.name();
            return Err(Error::SelfCheck {
                kernel,
                expected,
                got,
            });
        }
    }
    Ok(())
}

/// Where the specification has the digest of a model with a kind of keys and values.
pub(crate) fn vector(name: &str, kv: Kv) -> String {
    match kv {
        Kv::F32 => name.to_owned(),
        Kv::Int8 => format!("{name}, kv int8"),
    }
}

/// The digest that the specification has for `name`.
pub(crate) fn expected(name: &str) -> Result<String, Error> {
    let vectors: serde_json::Value = serde_json::from_str(VECTORS)
        .map_err(|e| Error::format("vectors/logits.json", "json", "an object", e.to_string()))?;
    let digest = vectors.get(name).and_then(|v| v.as_str());
    Ok(digest
        .ok_or_else(|| Error::format("vectors/logits.json", name, "a digest", "nothing"))?
        .to_owned())
}
