use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use weir_codec::testing::{Markov, letters};
use weir_codec::{Encoder, Offer, Query, Sampling, Settings, pieces};

use super::*;

const VOCAB: usize = 52;
const END: u32 = 51;
const HEADER: usize = 5;

/// A reader, and the encoder of inner's end.
struct World {
    encoder: Encoder<Markov>,
    reader: Reader<Markov>,
    metrics: Metrics,
}

impl World {
    fn new(parameters: Parameters) -> Self {
        let settings = Settings::default();
        let vocabulary = letters(VOCAB, END);
        let encoder = Encoder::new(Markov::new(VOCAB), vocabulary.clone(), settings, Kernel::detect());
        let metrics = Metrics::default();
        let fresh = Box::new(|| Ok(Markov::new(VOCAB)));
        let reader = Reader::new(
            0,
            fresh,
            Kernel::detect(),
            vocabulary,
            settings,
            parameters,
            metrics.clone(),
        );
        Self {
            encoder,
            reader,
            metrics,
        }
    }

    /// Submits a query; inner has not taken it in.
    fn open(
        &mut self,
        slot: u8,
        id: u64,
        max_tokens: u32,
        stop: &[&str],
    ) -> (Query, UnboundedReceiver<Event>) {
        let stop = stop.iter().map(|stop| stop.as_bytes().to_vec()).collect();
        let query = Query {
            seed: [id as u8; 16],
            sampling: Sampling::at(1.0),
            max_tokens,
            stop,
            prompt: vec![3, 4],
        };
        let (events, inbox) = unbounded_channel();
        assert!(
            self.reader
                .order(Order::Open(
                    slot,
                    Ask {
                        id,
                        query: query.clone(),
                        source: weir_wire::Source::Tokens,
                        events,
                        _seat: None,
                    }
                ))
                .is_none()
        );
        (query, inbox)
    }

    /// Inner sends a frame, the reader reads it.
    fn frame(&mut self, taken_in: u32, offers: &[(u8, Offer<'_>)]) -> (Result<Read, String>, u64, Vec<u8>) {
        let mut code = Vec::new();
        let sealed = self.encoder.frame(taken_in, offers, 1400, &mut code).unwrap();
        let report = self.reader.order(Order::Frame(code.clone())).unwrap();
        (report.read, sealed.digest, code)
    }
}

fn text(inbox: &mut UnboundedReceiver<Event>) -> (String, Option<Event>) {
    let mut text = String::new();
    loop {
        match inbox.try_recv() {
            Ok(Event::Piece { text: piece, .. }) => text += &piece,
            Ok(event) => return (text, Some(event)),
            Err(_) => return (text, None),
        }
    }
}

#[test]
fn two_answers_share_frames_and_their_bits() {
    let mut world = World::new(Parameters::default());
    let (first, mut one) = world.open(0, 1, 3, &[]);
    let (second, mut two) = world.open(7, 2, 100, &["zz"]);
    world.encoder.slots().open(0, &first).unwrap();
    world.encoder.slots().open(7, &second).unwrap();
    // "abc" reaches max_tokens, "defz" goes on, and its z may begin the stop string.
    let offers = [(0, Offer::Tokens(&[0, 1, 2])), (7, Offer::Tokens(&[3, 4, 5, 25]))];
    let (read, digest, code) = world.frame(2, &offers);
    assert_eq!(
        read,
        Ok(Read {
            taken_in: 2,
            digest,
            live: true,
            ended: vec![(0, 1)]
        })
    );
    let (said, end) = text(&mut one);
    assert_eq!(said, "abc");
    let Some(Event::Done {
        finish: Finish::Length,
        usage: first,
    }) = end
    else {
        panic!("{end:?}")
    };
    assert_eq!((first.prompt_tokens, first.completion_tokens), (2, 3));
    assert_eq!(text(&mut two), ("def".to_owned(), None));

    let (read, digest, more) = world.frame(0, &[(7, Offer::Tokens(&[25]))]);
    assert_eq!(
        read,
        Ok(Read {
            taken_in: 2,
            digest,
            live: false,
            ended: vec![(7, 2)]
        })
    );
    let (said, end) = text(&mut two);
    assert_eq!(said, "", "the stop string is cut");
    let Some(Event::Done {
        finish: Finish::Stop,
        usage: second,
    }) = end
    else {
        panic!("{end:?}")
    };
    assert_eq!(second.completion_tokens, 5);
    let frames = (2 * HEADER + code.len() + more.len()) as f64 * 8.0;
    assert!((first.frame_bits + second.frame_bits - frames).abs() < 1e-6);
    assert_eq!(world.metrics.frame_bits.get() as f64, frames);
    assert_eq!((world.metrics.tokens.get(), world.metrics.answered.get()), (8, 2));
}

/// A piece may hold the end of one answer and the beginning of the next in the same slot.
#[test]
fn pieces_share_their_bits_and_slots_change_hands_within_one() {
    let parameters = Parameters {
        shape: weir_wire::Shape::CONSTANT,
        mtu: 32,
        ..Parameters::default()
    };
    let len = parameters.piece_len().unwrap();
    let mut world = World::new(parameters);
    let mut inner = pieces::Encoder::new(
        Markov::new(VOCAB),
        letters(VOCAB, END),
        Settings::default(),
        Kernel::detect(),
        len,
    );
    let (first, mut one) = world.open(0, 1, 64, &[]);
    let (second, mut two) = world.open(0, 2, 20, &[]);
    inner.slots().open(0, &first).unwrap();
    let said: Vec<u32> = (0..64).map(|i| i * 7 % 50).collect();
    inner.segment(1, &[(0, Offer::Tokens(&said))]).unwrap();
    let mut reads = Vec::new();
    let mut leave = |encoder: &mut pieces::Encoder<Markov>| {
        let mut code = Vec::new();
        while let Some(digest) = encoder.piece(&mut code) {
            let end = code
                .iter()
                .rposition(|&byte| byte != 0)
                .map_or(0, |last| last + 1);
            let report = world.reader.order(Order::Frame(code[..end].to_vec())).unwrap();
            let read = report.read.unwrap();
            assert_eq!(read.digest, digest);
            reads.push(read);
            code.clear();
        }
    };
    leave(&mut inner);
    inner.slots().open(0, &second).unwrap();
    inner.segment(1, &[(0, Offer::Tokens(&said[..20]))]).unwrap();
    inner.pad();
    leave(&mut inner);
    assert_eq!((reads[0].taken_in, reads[0].ended.len()), (1, 0));
    let change = reads.iter().find(|read| read.taken_in == 2).unwrap();
    assert_eq!(change.ended[0], (0, 1));
    let pieces = reads.len() as u32;
    let (heard, Some(Event::Done { usage: first, .. })) = text(&mut one) else {
        panic!("no end")
    };
    assert_eq!((heard.len(), first.completion_tokens), (64, 64));
    let (heard, Some(Event::Done { usage: second, .. })) = text(&mut two) else {
        panic!("no end")
    };
    assert_eq!((heard.len(), second.completion_tokens), (20, 20));
    let frames = f64::from(pieces * 32 * 8);
    assert!((first.frame_bits + second.frame_bits - frames).abs() < 1e-6);
    assert_eq!(world.metrics.frame_bits.get() as f64, frames);
    assert_eq!(world.metrics.answered.get(), 2);

    // Zeros are an empty segment and a PAD, which inner does not send: where nobody is live it has nothing to say.
    let report = world.reader.order(Order::Frame(Vec::new())).unwrap();
    let why = report.read.unwrap_err();
    assert!(why.contains("says nothing"), "{why}");
}

#[test]
fn an_end_token_ends_and_refusals_are_told() {
    let mut world = World::new(Parameters::default());
    let (query, mut ended) = world.open(0, 1, 50, &[]);
    world.encoder.slots().open(0, &query).unwrap();
    let (query, mut refused) = world.open(1, 2, 50, &[]);
    world.encoder.slots().open(1, &query).unwrap();
    let (read, ..) = world.frame(2, &[(0, Offer::Tokens(&[0, END])), (1, Offer::Refused)]);
    assert_eq!(read.unwrap().ended, [(0, 1), (1, 2)]);
    assert!(matches!(
        text(&mut ended),
        (
            _,
            Some(Event::Done {
                finish: Finish::Stop,
                ..
            })
        )
    ));
    assert_eq!(text(&mut refused).1, Some(Event::Failed(Failure::Refused)));
}

#[test]
fn a_strong_model_may_reach_the_limit_in_its_own_tokens() {
    let mut world = World::new(Parameters::default());
    let (query, mut inbox) = world.open(0, 1, 50, &["xyz"]);
    world.encoder.slots().open(0, &query).unwrap();
    // "ax": the x may begin the stop string, and comes with the end.
    world.frame(1, &[(0, Offer::Tokens(&[0, 23]))]).0.unwrap();
    let (read, ..) = world.frame(0, &[(0, Offer::Refused)]);
    assert_eq!(read.unwrap().ended, [(0, 1)]);
    let (text, end) = text(&mut inbox);
    assert_eq!(text, "ax");
    let Some(Event::Done { finish, usage }) = end else {
        panic!("{end:?}");
    };
    assert_eq!((finish, usage.completion_tokens), (Finish::Length, 2));
}

#[test]
fn a_cancel_counts_when_it_is_taken_in() {
    let mut world = World::new(Parameters::default());
    let (query, mut first) = world.open(0, 1, 50, &[]);
    world.encoder.slots().open(0, &query).unwrap();
    world.reader.order(Order::Cancel(0));
    let (again, mut second) = world.open(0, 2, 50, &[]);
    let (read, ..) = world.frame(1, &[(0, Offer::Tokens(&[0]))]);
    assert_eq!(read.unwrap().taken_in, 1);
    assert_eq!(text(&mut first).0, "a");
    world.encoder.slots().close(0);
    world.encoder.slots().open(0, &again).unwrap();
    let (read, ..) = world.frame(2, &[(0, Offer::Tokens(&[1]))]);
    assert_eq!(read.unwrap().taken_in, 3);
    assert_eq!(
        (text(&mut first).0.as_str(), text(&mut second).0.as_str()),
        ("", "b")
    );
}

#[test]
fn frames_out_of_step_are_errors_and_a_new_session_starts_anew() {
    let mut world = World::new(Parameters::default());
    let (query, mut inbox) = world.open(0, 1, 50, &[]);
    world.encoder.slots().open(0, &query).unwrap();
    let (_, mut waiting) = world.open(1, 2, 50, &[]);
    world.frame(1, &[(0, Offer::Tokens(&[0]))]).0.unwrap();
    let (read, ..) = world.frame(9, &[(0, Offer::Tokens(&[1]))]);
    assert!(read.unwrap_err().contains("9 messages"));
    let lost = Failure::Lost("silence".to_owned());
    assert!(world.reader.order(Order::Session(5, lost.clone())).is_none());
    assert_eq!(text(&mut inbox).1, Some(Event::Failed(lost.clone())));
    assert_eq!(text(&mut waiting).1, Some(Event::Failed(lost)));

    world.encoder = World::new(Parameters::default()).encoder;
    let (query, mut inbox) = world.open(0, 3, 50, &[]);
    world.encoder.slots().open(0, &query).unwrap();
    world.frame(1, &[(0, Offer::Tokens(&[7]))]).0.unwrap();
    assert_eq!(text(&mut inbox).0, "h");
}

/// Whatever the first frame of a session breaks, the next session does not find.
#[test]
fn a_bad_first_frame_is_forgotten_with_its_session() {
    for bad in 0..3 {
        let mut world = World::new(Parameters::default());
        let read = match bad {
            // Nothing that an encoder writes.
            0 => world.reader.order(Order::Frame(vec![1])).unwrap().read,
            // More messages than there are; the shares have moved by then.
            1 => world.frame(7, &[]).0,
            // A query that cannot be opened, behind one that can.
            _ => {
                let (good, _inbox) = world.open(0, 1, 50, &[]);
                let (_, _other) = world.open(0, 2, 50, &[]);
                world.encoder.slots().open(0, &good).unwrap();
                world.frame(2, &[(0, Offer::Tokens(&[0]))]).0
            }
        };
        assert!(read.is_err(), "{bad}: {read:?}");
        let lost = Failure::Lost("diverged".to_owned());
        world.reader.order(Order::Session(6, lost));
        world.encoder = World::new(Parameters::default()).encoder;
        let (query, mut inbox) = world.open(0, 3, 50, &[]);
        world.encoder.slots().open(0, &query).unwrap();
        world.frame(1, &[(0, Offer::Tokens(&[7]))]).0.unwrap();
        assert_eq!(text(&mut inbox).0, "h", "{bad}");
    }
}
