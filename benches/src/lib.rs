//! What the benches share: data that looks like a language model's.
//!
//! `cargo bench -p weir-benches` runs them; each names its kernel and size.
#![forbid(unsafe_code)]

use weir_model::Kernel;

/// The vocabulary of Qwen2.5.
pub const QWEN: usize = 151_936;

/// A row of logits of `vocab` tokens, drawn with `seed`: most far below the best, as language is.
pub fn logits(vocab: usize, seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    let mut row = vec![0.0; vocab];
    for logit in &mut row {
        // A sum of uniforms is about normal; its spread of 2.5 gives some ten tokens a say.
        let sum: f64 = (0..4).map(|_| random.unit()).sum();
        *logit = ((sum - 2.0) * 4.3) as f32;
    }
    // A few likely tokens, as a weak model has nearly always.
    for rank in 0..20 {
        let place = random.bits() as usize % vocab;
        row[place] = 14.0 - 0.6 * rank as f32;
    }
    row
}

/// The kernels of this machine.
pub fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.supported())
}

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}
