//! The two processes of the test, and what passes between them and it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use weir_codec::{Decoder, Encoder, Offer, Query, Sampling, Settings, Vocabulary};
use weir_model::{Kv, Model, Options, Token};
use weir_setup::Source;
use weir_setup::source::{EMBEDDED, kernel, vocabulary};
use weir_wire::frame::{self, Frame, Repr, Sealed};
use weir_wire::{CheckWidth, Format, IdWidth};

/// Variables that make a process one of the ends.
pub(crate) const ROLE: &str = "WEIR_KILLED_ROLE";
pub(crate) const SOCKET: &str = "WEIR_KILLED_SOCKET";
pub(crate) const THREADS: &str = "WEIR_KILLED_THREADS";

/// A line of `weir-lab trace`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) prompt_tokens: Vec<Token>,
    pub(crate) tokens: Vec<Token>,
    temperature: f32,
    top_p: f32,
    top_k: u32,
    tau: f32,
    seed: String,
    /// In force where the tokens are not told.
    #[serde(default)]
    max_tokens: u32,
}

impl Line {
    /// The line without its answer: what outer knows.
    pub(crate) fn query(&self) -> Self {
        let max_tokens = u32::try_from(self.tokens.len()).unwrap();
        Self {
            tokens: Vec::new(),
            max_tokens,
            ..self.clone()
        }
    }
}

impl From<&Line> for Query {
    fn from(line: &Line) -> Self {
        Self {
            seed: u128::from_str_radix(&line.seed, 16).unwrap().to_be_bytes(),
            sampling: Sampling {
                temperature: line.temperature,
                top_p: line.top_p,
                top_k: line.top_k,
                tau: line.tau,
            },
            max_tokens: line.max_tokens,
            stop: Vec::new(),
            prompt: line.prompt_tokens.clone(),
        }
    }
}

/// What inner says: a frame. What it opened before is what outer asked for; the digest is compared by the test alone.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    /// Slots and the numbers of their lines.
    pub(crate) opened: Vec<(u8, usize)>,
    pub(crate) frame: Vec<u8>,
    pub(crate) digest: u64,
}

/// What outer makes of a frame.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    /// Slots and their tokens.
    pub(crate) answers: Vec<(u8, Vec<Token>)>,
    pub(crate) digest: u64,
}

/// Codes the record that it is given first, a frame for each leave that it is given then.
pub(crate) fn inner(mut stream: UnixStream) {
    let lines: Vec<Line> = receive(&mut stream).unwrap();
    let queries: Vec<Query> = lines.iter().map(|line| Query::from(&line.query())).collect();
    let (model, vocabulary) = weak();
    let kernel = model.info().kernel;
    let mut encoder = Encoder::new(model, vocabulary, Settings::default(), kernel);
    let mut waiting = 0..lines.len();
    // Of each slot the number of its line, and how many tokens of it have been sent.
    let mut slots: [Option<(usize, usize)>; SLOTS] = [None; SLOTS];
    let mut digests = Vec::new();
    while let Some(()) = receive(&mut stream) {
        let mut opened = Vec::new();
        for (slot, place) in (0u8..).zip(&mut slots).filter(|(_, place)| place.is_none()) {
            let Some(job) = waiting.next() else { break };
            encoder.slots().open(slot, &queries[job]).unwrap();
            opened.push((slot, job));
            *place = Some((job, 0));
        }
        let live = (0u8..)
            .zip(&slots)
            .filter_map(|(slot, place)| Some((slot, (*place)?)));
        let offers: Vec<(u8, Offer<'_>)> = live
            .map(|(slot, (job, sent))| {
                let rest = &lines[job].tokens[sent..];
                (slot, Offer::Tokens(&rest[..rest.len().min(PER_FRAME)]))
            })
            .collect();
        if offers.is_empty() {
            return;
        }
        let mut code = Vec::new();
        let sealed = encoder
            .frame(opened.len() as u32, &offers, LIMIT, &mut code)
            .unwrap();
        for &(slot, count) in &sealed.coded {
            slots[usize::from(slot)].as_mut().unwrap().1 += count;
        }
        sealed
            .ended
            .iter()
            .for_each(|&slot| slots[usize::from(slot)] = None);
        let mut frame = Vec::new();
        let check = frame::check(FORMAT, &seal(&digests), &code);
        Repr {
            batch: 0,
            check,
            code: &code,
        }
        .emit(FORMAT, &mut frame);
        digests.push(sealed.digest);
        let digest = sealed.digest;
        send(
            &mut stream,
            &Said {
                opened,
                frame,
                digest,
            },
        );
    }
}

/// Decodes the frames that it is given, each with the queries that it takes in.
pub(crate) fn outer(mut stream: UnixStream) {
    let (model, vocabulary) = weak();
    let kernel = model.info().kernel;
    let mut decoder = Decoder::new(model, vocabulary, Settings::default(), kernel);
    let mut digests = Vec::new();
    while let Some((queries, bytes)) = receive::<(Vec<(u8, Line)>, Vec<u8>)>(&mut stream) {
        let frame = Frame::new_checked(FORMAT, bytes).unwrap();
        let expected = frame::check(FORMAT, &seal(&digests), frame.code());
        assert_eq!(frame.check(), expected, "check of frame {}", digests.len());
        let mut begun = decoder.begin(frame.code()).unwrap();
        let mut queries = VecDeque::from(queries);
        for _ in 0..begun.taken_in() {
            let (slot, line) = queries.pop_front().expect("a frame takes in what nobody asked");
            begun.slots().open(slot, &Query::from(&line)).unwrap();
        }
        assert!(queries.is_empty(), "a query is not taken in");
        let decoded = begun.finish().unwrap();
        digests.push(decoded.digest);
        let answers = decoded
            .answers
            .into_iter()
            .map(|answer| (answer.slot, answer.tokens));
        let (answers, digest) = (answers.collect(), decoded.digest);
        send(&mut stream, &Receipt { answers, digest });
    }
}

fn weak() -> (Model, Vocabulary) {
    let source = Source::weak(EMBEDDED);
    let options = Options {
        kernel: kernel("auto").unwrap(),
        threads: std::env::var(THREADS).unwrap().parse().unwrap(),
        kv_tokens: SLOTS * 512,
        max_context: 512,
        kv: Kv::F32,
    };
    (
        source.model(&options).unwrap(),
        vocabulary(&source.tokenizer().unwrap()),
    )
}

/// What the check of the next frame is made of.
fn seal(digests: &[u64]) -> Sealed {
    let behind = digests.len().checked_sub(super::WINDOW);
    Sealed {
        session: 1,
        batch: 0,
        number: digests.len() as u64,
        digest: behind.map_or(0, |index| digests[index]),
    }
}

/// Writes a value with its length before it. Whoever is gone does not hear it.
pub(crate) fn send(stream: &mut UnixStream, value: &impl Serialize) {
    let bytes = serde_json::to_vec(value).unwrap();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let _ = stream.write_all(&[&length, bytes.as_slice()].concat());
}

/// Reads one; nothing if the other end has gone.
pub(crate) fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> Option<T> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("an end hangs")
        }
        Err(_) => return None,
    }
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes).ok()?;
    Some(serde_json::from_slice(&bytes).unwrap())
}

/// Live queries: few, so that there are many frames.
const SLOTS: usize = 16;
const PER_FRAME: usize = 10;
/// Bytes of code in a frame.
const LIMIT: usize = 1400;
const FORMAT: Format = Format {
    id: IdWidth::One,
    check: CheckWidth::Four,
};
