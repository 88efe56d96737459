//! The hash of a model (SPEC 2.9).

use crate::net::network::{Network, Part};
use rayon::prelude::*;

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
