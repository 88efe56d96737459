use super::*;
use alloc::format;
use alloc::vec;
use proptest::prelude::*;

fn query() -> Query {
    Query {
        slot: 5,
        seed: [7; 16],
        temperature: 0.7,
        top_p: 0.95,
        top_k: 40,
        tau: 0.3,
        max_tokens: 256,
        stop: vec![b"\n\n".to_vec()],
        prompt: vec![1, 300, 70_000],
        source: Source::Tokens,
    }
}

fn turn(role: Role, content: &str) -> Turn {
    Turn {
        role,
        content: String::from(content),
    }
}

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut out = vec![];
    message.emit(&mut out);
    out
}

fn limit(change: impl FnOnce(&mut Query)) -> &'static str {
    let mut query = query();
    change(&mut query);
    let message = Message::Query(query);
    let limit = message.check(Caps { prompt_tokens: 100 }).unwrap_err();
    // What the sender may not say, the receiver does not hear.
    assert_eq!(
        Message::parse(&bytes_of(&message), Caps { prompt_tokens: 100 }),
        Err(Malformed),
        "{limit}"
    );
    limit
}

#[test]
fn limits_are_named_and_enforced_on_both_sides() {
    assert!(limit(|q| q.slot = 128).contains("slot"));
    for temperature in [f32::NAN, f32::INFINITY, -1.0, -0.0, 1e-9, 0.000_976, 16.000_01] {
        assert!(limit(|q| q.temperature = temperature).contains("temperature"));
    }
    for top_p in [f32::NAN, 0.0, -0.5, 1.000_001] {
        assert!(limit(|q| q.top_p = top_p).contains("top_p"));
    }
    for tau in [f32::NAN, 0.0, -0.5, 0.000_976, 1.000_001] {
        assert!(limit(|q| q.tau = tau).contains("tau"));
    }
    assert!(limit(|q| q.max_tokens = 0).contains("max_tokens"));
    assert!(limit(|q| q.stop = vec![vec![1]; 5]).contains("stop"));
    assert!(limit(|q| q.stop = vec![vec![]]).contains("stop"));
    assert!(limit(|q| q.stop = vec![vec![1; 65]]).contains("stop"));
    assert!(limit(|q| q.prompt = vec![]).contains("prompt"));
    assert!(limit(|q| q.prompt = vec![1; 101]).contains("prompt"));
    let long = "\u{e9}".repeat(SOURCE_BYTES_MAX / 2);
    let (first, rest) = (turn(Role::User, &long), turn(Role::Assistant, "x"));
    assert!(limit(|q| q.source = Source::Text(format!("{long}x"))).contains("source"));
    assert!(limit(|q| q.source = Source::Chat(vec![first, rest.clone()])).contains("source"));
    assert!(limit(|q| q.source = Source::Chat(vec![])).contains("turns"));
    assert!(limit(|q| q.source = Source::Chat(vec![rest; TURNS_MAX + 1])).contains("turns"));
    assert!(Message::Cancel { slot: 128 }.check(Caps::default()).is_err());
    assert_eq!(Message::parse(&[2, 128], Caps::default()), Err(Malformed));
}

#[test]
fn the_longest_message_fits_its_bound() {
    let query = Query {
        stop: vec![vec![0xff; 64]; 4],
        prompt: vec![u32::MAX; PROMPT_MAX],
        source: Source::Chat(vec![
            turn(Role::User, &"x".repeat(SOURCE_BYTES_MAX / TURNS_MAX));
            TURNS_MAX
        ]),
        ..query()
    };
    let message = Message::Query(query);
    assert_eq!(message.check(Caps::default()), Ok(()));
    assert!(message.buffer_len() <= MESSAGE_BYTES_MAX);
    assert_eq!(Message::parse(&bytes_of(&message), Caps::default()), Ok(message));
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let mut bytes = bytes_of(&Message::Query(Query {
        prompt: vec![1],
        ..query()
    }));
    bytes.truncate(bytes.len() - 3);
    let mut prompt = bytes.clone();
    put_varint(&mut prompt, u64::MAX);
    assert_eq!(Message::parse(&prompt, Caps::default()), Err(Malformed));
    bytes.extend([1, 1]);
    for (form, before) in [(1, &[][..]), (2, &[]), (2, &[1, 0])] {
        let mut source = bytes.clone();
        source.push(form);
        source.extend(before);
        put_varint(&mut source, u64::MAX);
        assert_eq!(Message::parse(&source, Caps::default()), Err(Malformed));
    }
}

#[test]
fn sources_are_texts_of_known_roles() {
    let parse = |tail: &[u8]| {
        let mut bytes = bytes_of(&Message::Query(query()));
        bytes.pop();
        bytes.extend(tail);
        Message::parse(&bytes, Caps::default())
    };
    assert!(parse(&[0]).is_ok() && parse(&[1, 0]).is_ok());
    assert!(parse(&[1, 2, 0xc3, 0xa9]).is_ok() && parse(&[2, 1, 2, 1, b'x']).is_ok());
    let bad: [&[u8]; 7] = [
        &[],
        &[3],                // no form
        &[1, 2, 0xc3, b'x'], // no UTF-8
        &[2, 0],             // nobody says anything
        &[2, 1, 3, 1, b'x'], // no role
        &[2, 2, 1, 1, b'x'], // a turn is missing
        &[0, 0],             // something follows
    ];
    for tail in bad {
        assert_eq!(parse(tail), Err(Malformed), "{tail:?}");
    }
}

fn any_source() -> impl Strategy<Value = Source> {
    let role = prop::sample::select(vec![Role::System, Role::User, Role::Assistant]);
    let turn = (role, any::<String>()).prop_map(|(role, content)| Turn { role, content });
    prop_oneof![
        Just(Source::Tokens),
        any::<String>().prop_map(Source::Text),
        prop::collection::vec(turn, 1..5).prop_map(Source::Chat),
    ]
}

fn any_message() -> impl Strategy<Value = Message> {
    let stop = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=64), 0..=4);
    let prompt = prop::collection::vec(any::<u32>(), 1..40);
    let query = (
        0_u8..=127,
        any::<[u8; 16]>(),
        prop_oneof![Just(0.0), TEMPERATURES],
        0.01_f32..=1.0,
        any::<u32>(),
        TAU_MIN..=1.0,
        1_u32..,
        stop,
        prompt,
        any_source(),
    );
    prop_oneof![
        (0_u8..=127).prop_map(|slot| Message::Cancel { slot }),
        query.prop_map(
            |(slot, seed, temperature, top_p, top_k, tau, max_tokens, stop, prompt, source)| {
                Message::Query(Query {
                    slot,
                    seed,
                    temperature,
                    top_p,
                    top_k,
                    tau,
                    max_tokens,
                    stop,
                    prompt,
                    source,
                })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn messages_round_trip(message in any_message()) {
        let bytes = bytes_of(&message);
        prop_assert_eq!(bytes.len(), message.buffer_len());
        prop_assert_eq!(message.check(Caps::default()), Ok(()));
        prop_assert_eq!(Message::parse(&bytes, Caps::default()), Ok(message));
    }

    /// One form only: bytes that parse are the bytes that would be emitted; every prefix is malformed.
    #[test]
    fn parsing_is_canonical(message in any_message(), at: usize, value: u8) {
        let mut bytes = bytes_of(&message);
        for len in 0..bytes.len() {
            prop_assert_eq!(Message::parse(&bytes[..len], Caps::default()), Err(Malformed));
        }
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(parsed) = Message::parse(&bytes, Caps::default()) {
            prop_assert_eq!(bytes_of(&parsed), bytes);
        }
    }
}
