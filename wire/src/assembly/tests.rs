use super::*;
use crate::message::{Query, Source};
use alloc::vec;
use proptest::prelude::*;

fn message(prompt: usize) -> Message {
    Message::Query(Query {
        slot: 1,
        seed: [1; 16],
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        tau: 1.0,
        max_tokens: 1,
        stop: vec![],
        prompt: vec![5; prompt],
        source: Source::Tokens,
    })
}

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut out = vec![];
    message.emit(&mut out);
    out
}

fn piece(number: u32, bytes: &[u8], range: Range<usize>) -> Piece<'_> {
    Piece {
        number,
        total: bytes.len() as u32,
        offset: range.start as u32,
        bytes: &bytes[range],
    }
}

#[test]
fn messages_come_out_in_order_however_they_come_in() {
    let mut assembler = Assembler::default();
    let messages = [message(10), Message::Cancel { slot: 3 }, message(50)];
    let bytes: Vec<_> = messages.iter().map(bytes_of).collect();
    for number in [2, 1, 0] {
        assert_eq!(assembler.take(), None);
        let whole = &bytes[number as usize];
        assert_eq!(
            assembler.add(&piece(number, whole, 0..whole.len()), Caps::default()),
            Ok(())
        );
    }
    for message in messages {
        assert_eq!(assembler.take(), Some(message));
    }
    assert_eq!(
        (assembler.take(), assembler.taken(), assembler.buffered),
        (None, 3, 0)
    );
    let again = piece(1, &bytes[1], 0..2);
    assert_eq!(assembler.add(&again, Caps::default()), Err(Dropped::Duplicate));
}

#[test]
fn caps_hold_and_the_next_message_is_never_shut_out() {
    let mut assembler = Assembler::default();
    let caps = Caps::default();
    let big = vec![1; MESSAGE_BYTES_MAX];
    // Numbers 1.. fill the buffer; then only number 0, the next in order, may still come in.
    let most = (BUFFERED_BYTES_MAX / MESSAGE_BYTES_MAX) as u32;
    for number in 1..=most {
        assert_eq!(assembler.add(&piece(number, &big, 0..1), caps), Ok(()));
    }
    let more = assembler.add(&piece(most + 1, &big, 0..1), caps);
    assert_eq!(more, Err(Dropped::Overload));
    let whole = bytes_of(&message(1));
    assert_eq!(assembler.add(&piece(0, &whole, 0..whole.len()), caps), Ok(()));
    assert!(assembler.take().is_some());
    let far = OUTSTANDING_MAX as u32 + 1;
    assert_eq!(
        assembler.add(&piece(far, &whole, 0..1), caps),
        Err(Dropped::Overload)
    );
    assert!(assembler.buffered <= BUFFERED_BYTES_MAX + MESSAGE_BYTES_MAX);
}

#[test]
fn contradictions_are_misbehaviour() {
    let mut assembler = Assembler::default();
    let (short, long) = (vec![1; 10], vec![1; 11]);
    assert_eq!(assembler.add(&piece(0, &short, 0..5), Caps::default()), Ok(()));
    let length = Err(Dropped::Misbehaved(Misbehaviour::MessageLength));
    assert_eq!(assembler.add(&piece(0, &long, 5..10), Caps::default()), length);
    let malformed = Err(Dropped::Misbehaved(Misbehaviour::MessageMalformed));
    assert_eq!(
        assembler.add(&piece(0, &short, 5..10), Caps::default()),
        malformed
    );
}

#[test]
fn scattered_stretches_are_bounded() {
    let mut assembler = Assembler::default();
    let big = vec![1; 10_000];
    let results: Vec<_> = (0..1_100)
        .map(|i| assembler.add(&piece(0, &big, i * 3..i * 3 + 1), Caps::default()))
        .collect();
    assert!(results[..STRETCHES_MAX].iter().all(Result::is_ok));
    assert!(
        results[STRETCHES_MAX..]
            .iter()
            .all(|result| *result == Err(Dropped::Overload))
    );
}

proptest! {
    /// Random overlapping pieces: complete exactly when every byte has come.
    #[test]
    fn any_overlap_completes_exactly_when_covered(
        prompt in 1_usize..200,
        cuts in prop::collection::vec((0_usize..250, 1_usize..60), 0..80),
    ) {
        let message = message(prompt);
        let bytes = bytes_of(&message);
        let mut covered = vec![false; bytes.len()];
        let mut assembler = Assembler::default();
        for (start, len) in cuts {
            let start = start % bytes.len();
            let end = (start + len).min(bytes.len());
            let fresh = covered[start..end].iter().any(|&there| !there);
            let result = assembler.add(&piece(0, &bytes, start..end), Caps::default());
            prop_assert_eq!(result, if fresh { Ok(()) } else { Err(Dropped::Duplicate) });
            covered[start..end].fill(true);
            prop_assert_eq!(assembler.has_next(), covered.iter().all(|&there| there));
        }
        if assembler.has_next() {
            prop_assert_eq!(assembler.take(), Some(message));
        }
    }
}
