//! The logits that a model gives for golden inputs, as a digest (SPEC 2.10); and a machine's check of itself by them.

use sha2::{Digest, Sha256};

use crate::{Error, Kv, Model, Options, Predict, Token, testing};

/// Digests of golden logits by the model's name.
pub(crate) const VECTORS: &str = include_str!("../../vectors/logits.json");

impl Model {
    /// Computes the golden logits of a tiny built-in model with the kernel and threads of `options`, and compares their
    /// digest with the specification's (`vectors/logits.json`). A program should call it before it relies on exactness.
    ///
    /// # Errors
    /// [`Error::SelfCheck`] if this machine computes something else.
    pub fn self_check(options: &Options) -> Result<(), Error> {
        self_check(options)
    }

    /// SHA-256 of the logits of the golden tokens (SPEC 2.10) with this model's kind of keys and values: the same on every
    /// machine, kernel and number of threads.
    ///
    /// # Errors
    /// As [`Predict::step`]; it takes two slots of 28 positions at most.
    pub fn golden_digest(&mut self) -> Result<String, Error> {
        golden(self)
    }
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

fn self_check(options: &Options) -> Result<(), Error> {
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
