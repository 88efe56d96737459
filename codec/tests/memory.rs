//! What a session takes beside the weak model: one test, alone in its process, as the process is what is measured.

use weir_codec::testing::{Markov, letters};
use weir_codec::{Decoder, Encoder, Offer, Query, Sampling, Settings};
use weir_exact::{Kernel, Token};

/// Tokens of a large vocabulary, that of Qwen2.5.
const VOCAB: usize = 151_936;
/// Bytes that all parts together may take in one session, at one of its ends.
const MOST: usize = 64 << 20;

/// Bytes, as Linux counts them in the line `name`; 0 where there is no Linux.
fn resident(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[test]
fn a_session_of_128_answers_takes_less_than_64_megabytes() {
    let vocabulary = letters(VOCAB, 5);
    let model = || Markov::new(VOCAB).with_limits(128, 64);
    let query = |n: u8| Query {
        seed: [n; 16],
        sampling: Sampling::at(1.0),
        max_tokens: 50,
        stop: Vec::new(),
        prompt: vec![10, 11, 12],
    };
    // Any tokens do; some are candidates, some are not.
    let tokens: Vec<Token> = (0..2).map(|i| i * 70_001 + 17).collect();
    let offers: Vec<_> = (0..128).map(|slot| (slot, Offer::Tokens(&tokens))).collect();

    let before = resident("VmRSS:");
    let mut encoder = Encoder::new(model(), vocabulary.clone(), Settings::default(), Kernel::detect());
    (0..128).for_each(|slot| encoder.slots().open(slot, &query(slot)).unwrap());
    let mut codes = Vec::new();
    for taken_in in [128, 0, 0] {
        let mut code = Vec::new();
        let sealed = encoder.frame(taken_in, &offers, 60_000, &mut code).unwrap();
        assert_eq!(sealed.stats.tokens, 256);
        codes.push(code);
    }
    let encoding = resident("VmHWM:").saturating_sub(before);

    let before = resident("VmRSS:");
    let mut decoder = Decoder::new(model(), vocabulary, Settings::default(), Kernel::detect());
    for code in &codes {
        let mut begun = decoder.begin(code).unwrap();
        (0..begun.taken_in() as u8).for_each(|slot| begun.slots().open(slot, &query(slot)).unwrap());
        assert_eq!(begun.finish().unwrap().stats.tokens, 256);
    }
    let decoding = resident("VmHWM:").saturating_sub(before);
    println!("encoder {} kB, decoder {} kB", encoding >> 10, decoding >> 10);
    assert!(
        encoding < MOST && decoding < MOST,
        "{encoding} and {decoding} bytes"
    );
}
