//! ChaCha with 8 rounds (RFC 8439's layout: 256-bit key, 32-bit counter, 96-bit nonce), many blocks at once.

#[cfg(target_arch = "x86_64")]
mod x86;

use super::lanes::{self, Pass};
use crate::Kernel;

/// Blocks made together; their words lie next to each other, so no transposition is needed.
const BLOCKS: usize = 16;
/// Words of [`BLOCKS`] blocks.
const GROUP: usize = 16 * BLOCKS;

/// A keystream of 32-bit words, numbered so that vectors of blocks write them in order: word `i` is word
/// `(i / 16) mod 16` of block `16 (i / 256) + i mod 16` (SPEC 4.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Words {
    /// Key as little-endian words.
    pub key: [u32; 8],
    /// Nonce as little-endian words.
    pub nonce: [u32; 3],
}

impl Words {
    /// Word `index`.
    pub fn word(&self, index: u32) -> u32 {
        let block = index / GROUP as u32 * BLOCKS as u32 + index % BLOCKS as u32;
        self.block(block)[(index / BLOCKS as u32 % 16) as usize]
    }

    /// Block `counter` in the cipher's own order.
    pub fn block(&self, counter: u32) -> [u32; 16] {
        block(self, counter)
    }

    /// The words of several indices: `out[i]` is word `indices[i]`.
    pub fn gather(&self, kernel: Kernel, indices: &[u32], out: &mut [u32]) {
        lanes::run(
            kernel,
            Gather {
                words: *self,
                indices,
                out,
            },
        );
    }

    /// The first words of the stream.
    pub fn fill(&self, kernel: Kernel, out: &mut [u32]) {
        let mut all = [0; GROUP];
        for (g, out) in (0..).zip(out.chunks_mut(GROUP)) {
            group(kernel, self, g, &mut all);
            out.copy_from_slice(&all[..out.len()]);
        }
    }

    /// Every `(index, word)` with `index < len` and `word < limit`, ascending, appended to `found`.
    pub fn below(&self, kernel: Kernel, len: u32, limit: u32, found: &mut Vec<(u32, u32)>) {
        lanes::run(
            kernel,
            Below {
                kernel,
                words: *self,
                len,
                limit,
                found,
            },
        );
    }

    /// Every index that may have `(logit - max) / temperature - ln E >= least` for a noise E of at least word / 2^32,
    /// ascending, appended to `found`: a superset, by an upper bound with slack for its own roundings.
    pub fn rivals(&self, kernel: Kernel, logits: &[f32], race: &Race, found: &mut Vec<u32>) {
        lanes::run(
            kernel,
            Rivals {
                kernel,
                words: *self,
                logits,
                race: *race,
                found,
            },
        );
    }
}

/// What [`Words::rivals`] compares with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Race {
    /// Best of the logits.
    pub max: f32,
    /// One over the temperature.
    pub scale: f32,
    /// A perturbed logit, relative to `max * scale`, that some token is known to have.
    pub least: f32,
}

#[inline(always)]
fn quarter(v: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    v[a] = v[a].wrapping_add(v[b]);
    v[d] = (v[d] ^ v[a]).rotate_left(16);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_left(12);
    v[a] = v[a].wrapping_add(v[b]);
    v[d] = (v[d] ^ v[a]).rotate_left(8);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_left(7);
}

#[inline(always)]
fn double_round(v: &mut [u32; 16]) {
    quarter(v, 0, 4, 8, 12);
    quarter(v, 1, 5, 9, 13);
    quarter(v, 2, 6, 10, 14);
    quarter(v, 3, 7, 11, 15);
    quarter(v, 0, 5, 10, 15);
    quarter(v, 1, 6, 11, 12);
    quarter(v, 2, 7, 8, 13);
    quarter(v, 3, 4, 9, 14);
}

/// The state before the rounds.
#[inline(always)]
fn start(words: &Words, counter: u32) -> [u32; 16] {
    // "expand 32-byte k"
    let [c0, c1, c2, c3] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
    let Words { key: k, nonce: n } = words;
    [
        c0, c1, c2, c3, k[0], k[1], k[2], k[3], k[4], k[5], k[6], k[7], counter, n[0], n[1], n[2],
    ]
}

#[inline(always)]
fn block(words: &Words, counter: u32) -> [u32; 16] {
    let start = start(words, counter);
    let mut v = start;
    // Written out: the loop over blocks around this is what becomes vectors.
    double_round(&mut v);
    double_round(&mut v);
    double_round(&mut v);
    double_round(&mut v);
    for i in 0..16 {
        v[i] = v[i].wrapping_add(start[i]);
    }
    v
}

/// Words `256 group ..` of the stream.
#[allow(unsafe_code)]
fn group(kernel: Kernel, words: &Words, group: u32, out: &mut [u32; GROUP]) {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512 if kernel.supported() => {
            // SAFETY: the features were just detected.
            unsafe { x86::group512(words, group, out) }
        }
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2 if kernel.supported() => {
            // SAFETY: the feature was just detected.
            unsafe { x86::group256(words, group, out) }
        }
        _ => group_by_blocks(words, group, out),
    }
}

fn group_by_blocks(words: &Words, group: u32, out: &mut [u32; GROUP]) {
    let first = group * BLOCKS as u32;
    for lane in 0..BLOCKS {
        let v = block(words, first + lane as u32);
        for word in 0..16 {
            out[word * BLOCKS + lane] = v[word];
        }
    }
}

struct Gather<'a> {
    words: Words,
    indices: &'a [u32],
    out: &'a mut [u32],
}

impl Pass for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (indices, out) in self.indices.chunks(BLOCKS).zip(self.out.chunks_mut(BLOCKS)) {
            let mut counters = [0; BLOCKS];
            for (counter, &i) in counters.iter_mut().zip(indices) {
                *counter = i / GROUP as u32 * BLOCKS as u32 + i % BLOCKS as u32;
            }
            let mut all = [0; GROUP];
            for lane in 0..BLOCKS {
                let v = block(&self.words, counters[lane]);
                for word in 0..16 {
                    all[word * BLOCKS + lane] = v[word];
                }
            }
            for (lane, (&i, out)) in indices.iter().zip(out).enumerate() {
                *out = all[(i / BLOCKS as u32 % 16) as usize * BLOCKS + lane];
            }
        }
    }
}

struct Below<'a> {
    kernel: Kernel,
    words: Words,
    len: u32,
    limit: u32,
    found: &'a mut Vec<(u32, u32)>,
}

impl Pass for Below<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            kernel,
            words,
            len,
            limit,
            found,
        } = self;
        let mut all = [0; GROUP];
        for g in 0..len.div_ceil(GROUP as u32) {
            group(kernel, &words, g, &mut all);
            let (rows, _) = all.as_chunks::<BLOCKS>();
            for (first, row) in (g * GROUP as u32..).step_by(BLOCKS).zip(rows) {
                // Most rows have none.
                if row.iter().fold(u32::MAX, |least, &word| least.min(word)) < limit {
                    let low = (first..len).zip(row).filter(|(_, word)| **word < limit);
                    found.extend(low.map(|(index, &word)| (index, word)));
                }
            }
        }
    }
}

struct Rivals<'a> {
    kernel: Kernel,
    words: Words,
    logits: &'a [f32],
    race: Race,
    found: &'a mut Vec<u32>,
}

impl Pass for Rivals<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            kernel,
            words,
            logits,
            race: Race { max, scale, least },
            found,
        } = self;
        let mut all = [0; GROUP];
        let mut bounds = [f32::NEG_INFINITY; GROUP];
        for (g, part) in (0u32..).zip(logits.chunks(GROUP)) {
            group(kernel, &words, g, &mut all);
            bounds[..part.len()].copy_from_slice(part);
            for i in 0..GROUP {
                bounds[i] = (bounds[i] - max) * scale + bound(all[i]);
            }
            let (rows, _) = bounds.as_chunks::<BLOCKS>();
            for (first, row) in (0..part.len()).step_by(BLOCKS).zip(rows) {
                let mut any = false;
                for bound in row {
                    any |= *bound >= least;
                }
                if any {
                    let end = part.len().min(first + BLOCKS);
                    let near = (first..end).filter(|&i| bounds[i] >= least);
                    found.extend(near.map(|i| g * GROUP as u32 + i as u32));
                }
            }
        }
    }
}

/// At least `-ln(word / 2^32)`, by the chord of log2 between powers of two: the bits of a float are such a chord.
#[inline(always)]
fn bound(word: u32) -> f32 {
    const LN_2: f32 = std::f32::consts::LN_2;
    // 31 bits, because a signed conversion is one instruction everywhere; halved words are smaller, so still a bound.
    let half = (word >> 1) as i32 as f32;
    // Exponent and mantissa as a fixed-point log2, biased by 127: zero becomes -127, beyond any word.
    let log2 = half.to_bits() as i32 as f32 * (1.0 / 8_388_608.0) - 127.0;
    (31.0 - log2) * LN_2 + 0.01
}
