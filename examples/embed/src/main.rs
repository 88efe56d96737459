//! Inner codes an answer, outer decodes it: two processes, one pipe, a model of one's own. `cargo run` starts inner, which
//! starts outer. Where frames may be lost, repeated or forged, `weir-wire` has the sessions.

mod model;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use model::Counts;
use weir_codec::{Decoder, Encoder, Offer, Query, Sampler, Sampling, Settings, Vocabulary};
use weir_exact::{Kernel, Token};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The strong model has counted in all of it, and is secret; the weak one in the first half, at both ends.
const TEXT: &[u8] = concat!(include_str!("main.rs"), include_str!("model.rs")).as_bytes();

fn weak() -> (Counts, Vocabulary, Settings, Kernel) {
    let bytes = (0..=255).map(|byte| Box::from([byte])).collect();
    let vocabulary = Vocabulary { bytes, end: vec![] };
    (
        Counts(TEXT.split_at(TEXT.len() / 2).0, Default::default()),
        vocabulary,
        Settings::default(),
        Kernel::detect(),
    )
}

/// Outer has drawn the seed, and told inner.
fn query() -> Query {
    Query {
        seed: *b"sixteen bytes...",
        sampling: Sampling::at(0.8),
        max_tokens: 400,
        stop: vec![b"\n\n".to_vec()],
        prompt: b"impl ".map(Token::from).to_vec(),
    }
}

fn inner() -> Result<()> {
    let mut outer = Command::new(std::env::current_exe()?).arg("outer").stdin(Stdio::piped()).spawn()?;
    let mut pipe = outer.stdin.take().ok_or("no pipe")?;
    let (weak, vocabulary, settings, kernel) = weak();
    let (strong, query, mut sampler) = (Counts(TEXT, Default::default()), query(), Sampler::new(kernel));
    let mut encoder = Encoder::new(weak, vocabulary, settings, kernel);
    encoder.slots().open(0, &query)?;
    let (mut context, mut taken_in, mut bits, mut tokens) = (query.prompt.clone(), 1, 0, 0);
    while encoder.live().next().is_some() {
        let begin = context.len();
        for position in begin - query.prompt.len()..begin - query.prompt.len() + 10 {
            let (logits, position) = (strong.logits(&context), position as u32);
            context.push(sampler.sample(&logits, &query.sampling, &query.seed, position)?);
        }
        let mut code = Vec::new();
        let sealed = encoder.frame(taken_in, &[(0, Offer::Tokens(&context[begin..]))], 1400, &mut code)?;
        (taken_in, bits, tokens) = (0, bits + 8 * code.len(), tokens + sealed.stats.tokens);
        pipe.write_all(&u16::try_from(code.len())?.to_le_bytes())?;
        pipe.write_all(&code)?;
    }
    drop(pipe);
    eprintln!("{bits} bits for {tokens} tokens");
    outer.wait()?.success().then_some(()).ok_or("outer failed".into())
}

fn outer() -> Result<()> {
    let (weak, vocabulary, settings, kernel) = weak();
    let mut decoder = Decoder::new(weak, vocabulary, settings, kernel);
    let (mut pipe, mut len) = (std::io::stdin().lock(), [0; 2]);
    while pipe.read_exact(&mut len).is_ok() {
        let mut code = vec![0; u16::from_le_bytes(len).into()];
        pipe.read_exact(&mut code)?;
        let mut frame = decoder.begin(&code)?;
        if frame.taken_in() > 0 {
            frame.slots().open(0, &query())?;
        }
        for answer in frame.finish()?.answers {
            answer.tokens.iter().for_each(|&token| print!("{}", char::from(token as u8)));
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    if std::env::args().nth(1).is_some() { outer() } else { inner() }
}
