//! Models with different tokenizers: what outer reads is, byte for byte, what the strong model said. SPEC 4.14.

use core::ops::ControlFlow;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use weir_codec::testing::Markov;
use weir_codec::{Decoder, End, Query, Sampling, Settings};
use weir_exact::Kernel;
use weir_inner::engine::{Engine, Limits};
use weir_inner::record::{Answer, Record};
use weir_inner::retokenize::Retokenizer;
#[cfg(feature = "candle")]
use weir_inner::strong::candle::Candle;
use weir_inner::strong::exact::Exact;
use weir_inner::strong::{Failed, Handle, Refused, Sink, Strong};
use weir_model::{Kv, Model, Options, Predict, Token, TokenType, Tokenizer, embedded};
use weir_setup::source::vocabulary;
use weir_wire::{Message, Role, Source, Turn};

/// 2,048 tokens, words of English.
fn large() -> Tokenizer {
    Tokenizer::from_bytes("embedded", embedded::strong()).unwrap()
}

fn tiny_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/tiny-llama.gguf")
}

/// 300 tokens, hardly more than bytes.
fn tiny() -> Tokenizer {
    Tokenizer::load(&tiny_path()).unwrap()
}

/// Says what it is told to: the tokens of each seed.
struct Scripted {
    scripts: BTreeMap<u8, Vec<Token>>,
    live: BTreeMap<Handle, VecDeque<Token>>,
}

impl Strong for Scripted {
    fn admit(&mut self, handle: Handle, query: &Query) -> Result<(), Refused> {
        let script = self.scripts.remove(&query.seed[0]).ok_or(Refused::Broken)?;
        self.live.insert(handle, script.into());
        Ok(())
    }

    fn advance(&mut self, wants: &[(Handle, usize)], sink: &mut Sink<'_>) {
        for (handle, count) in wants {
            assert!(*count <= 10, "more than a tick's tokens at once");
            for _ in 0..*count {
                let token = self.live.get_mut(handle).and_then(VecDeque::pop_front);
                if sink(*handle, token.ok_or(Failed)).is_break() {
                    break;
                }
            }
        }
    }

    fn dismiss(&mut self, handle: Handle) {
        self.live.remove(&handle);
    }
}

struct Ask {
    query: Query,
    source: Source,
    tokens: Vec<Token>,
    end: Option<End>,
    /// Frames until its end.
    frames: usize,
}

fn ask(seed: u8, max_tokens: u32, stop: &[&str], source: Source) -> Ask {
    let query = Query {
        seed: [seed; 16],
        sampling: Sampling::at([0.0, 0.8][usize::from(seed % 2)]),
        max_tokens,
        stop: stop.iter().map(|stop| stop.as_bytes().to_vec()).collect(),
        prompt: vec![1, 2],
    };
    Ask {
        query,
        source,
        tokens: Vec::new(),
        end: None,
        frames: 0,
    }
}

/// Answers all asks side by side, over frames of at most `code` bytes, and returns inner's record by seed.
fn answer<P: Predict + Clone>(
    strong: Box<dyn Strong>,
    weak: P,
    both: [Tokenizer; 2],
    code: usize,
    asks: &mut [Ask],
) -> BTreeMap<String, Answer> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let settings = Settings {
        retokenized: true,
        ..Settings::default()
    };
    let limits = Limits {
        batches: 1,
        slots: 128,
        code,
        continuous: false,
        settings,
    };
    let [own, shared] = both;
    let vocabulary = vocabulary(&shared);
    let mut decoder = Decoder::new(weak.clone(), vocabulary.clone(), settings, Kernel::detect());
    let retokenizer = Retokenizer::new(own, shared).unwrap();
    let record = Record::open(&path).unwrap();
    let mut engine = Engine::new(
        strong,
        weak,
        Kernel::detect(),
        vocabulary,
        limits,
        Some(retokenizer),
        Some(record),
    );
    let message = |(slot, ask): (u8, &Ask)| {
        let query = ask.query.clone();
        Message::Query(weir_wire::Query {
            slot,
            seed: query.seed,
            temperature: query.sampling.temperature,
            top_p: query.sampling.top_p,
            top_k: query.sampling.top_k,
            tau: query.sampling.tau,
            max_tokens: query.max_tokens,
            stop: query.stop,
            prompt: query.prompt,
            source: ask.source.clone(),
        })
    };
    let mut messages: Vec<Message> = (0..).zip(asks.iter()).map(message).collect();
    for round in 1.. {
        assert!(round < 1000, "an answer does not end");
        let mut frames = Vec::new();
        engine
            .turn(vec![(0, core::mem::take(&mut messages))], &mut frames)
            .unwrap();
        let Some(frame) = frames.pop() else { break };
        let mut begun = decoder.begin(&frame.code).unwrap();
        if begun.taken_in() > 0 {
            for (slot, ask) in (0..).zip(asks.iter()) {
                begun.slots().open(slot, &ask.query).unwrap();
            }
        }
        let decoded = begun.finish().unwrap();
        assert_eq!(decoded.digest, frame.digest);
        for part in decoded.answers {
            let ask = &mut asks[usize::from(part.slot)];
            ask.tokens.extend(part.tokens);
            (ask.end, ask.frames) = (part.end, round);
        }
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Answer>(line).unwrap());
    lines.map(|answer| (answer.seed.clone(), answer)).collect()
}

/// What the strong model's tokens say, up to its end or a stop string, and how it ends.
fn said(tokens: &[Token], tokenizer: &Tokenizer, query: &Query) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    for (count, token) in (1..).zip(tokens) {
        if tokenizer.end_tokens().contains(token) {
            return (bytes, End::Token);
        }
        for &byte in tokenizer.token_bytes(*token) {
            bytes.push(byte);
            let found = |stop: &Vec<u8>| bytes.ends_with(stop);
            if let Some(stop) = query.stop.iter().position(found) {
                let consumed = 0;
                return (bytes, End::Stop(weir_codec::stop::Found { stop, consumed }));
            }
        }
        if count == query.max_tokens {
            return (bytes, End::MaxTokens);
        }
    }
    (bytes, End::Failed)
}

/// Compares an answer with what was said, and says how it ended.
fn check(ask: &Ask, record: &Answer, script: &[Token], own: &Tokenizer, shared: &Tokenizer) -> &'static str {
    assert_eq!(record.tokens, ask.tokens);
    assert!(
        script.starts_with(&record.strong),
        "{} says something else",
        record.seed
    );
    let (bytes, end) = said(&record.strong, own, &ask.query);
    let got = shared.decode(&ask.tokens);
    let most = ask.query.max_tokens as usize;
    match (ask.end.unwrap(), end) {
        // The weak model's tokens are as many as were asked for: text may be missing at the end.
        (End::MaxTokens, _) => {
            assert_eq!(ask.tokens.len(), most);
            assert!(bytes.starts_with(&got));
            return "length";
        }
        (End::Token, End::Token) => {
            assert!(shared.end_tokens().contains(ask.tokens.last().unwrap()));
            assert_eq!(record.end, "end");
        }
        (End::Stop(one), End::Stop(other)) => {
            assert_eq!((one.stop, &*record.end), (other.stop, "stop"));
        }
        (End::Refused, End::MaxTokens) => assert_eq!((record.strong.len(), &*record.end), (most, "length")),
        (End::Failed, End::Failed) => assert_eq!(record.end, "failed"),
        (got, said) => panic!("{}: {got:?}, but {said:?}", record.seed),
    }
    assert_eq!(got, bytes, "{}", record.seed);
    // No token but the last is one that a text could not have.
    let inside = &ask.tokens[..ask.tokens.len().saturating_sub(1)];
    assert!(inside.iter().all(|&token| !shared.token_bytes(token).is_empty()));
    match ask.end.unwrap() {
        End::Refused => "strong length",
        _ => ["end", "stop", "failed"]
            .into_iter()
            .find(|end| *end == record.end)
            .unwrap(),
    }
}

fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 20) as usize
}

/// Texts as models write them, and as nobody does.
fn script(seed: u64, own: &Tokenizer) -> Vec<Token> {
    const PIECES: [&str; 20] = [
        "The quick brown fox",
        " jumps over",
        " the lazy dog's",
        " tail.",
        "\n\n",
        "    return x + 1;\r\n",
        "fn f() {\n\t",
        "}",
        " Ñandú",
        " 日本語のテキスト",
        "\u{1f600}\u{1f468}\u{200d}\u{1f469}",
        " 3.14159",
        " <|im_end|>",
        "<|endoftext|>",
        "'",
        "'re",
        "   ",
        "\u{a0}",
        "====================================================",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let state = &mut (seed + 88_172_645_463_325_252);
    let mut tokens = Vec::new();
    for _ in 0..random(state) % 60 {
        match random(state) % 8 {
            0 => tokens.push((random(state) % own.vocab()) as Token),
            _ => tokens.extend(own.encode(PIECES[random(state) % PIECES.len()])),
        }
    }
    if !random(state).is_multiple_of(4) {
        tokens.push(own.end_tokens()[0]);
    }
    tokens
}

#[test]
fn scripts_of_any_tokens_come_out_byte_for_byte() {
    for (own, shared) in [
        (large as fn() -> Tokenizer, tiny as fn() -> Tokenizer),
        (tiny, large),
    ] {
        let mut ends = Vec::new();
        let (said_in, coded_in) = (own(), shared());
        for round in 0..4_u64 {
            let scripts: BTreeMap<u8, Vec<Token>> = (0..40)
                .map(|n| (n, script(round << 8 | u64::from(n), &said_in)))
                .collect();
            let mut asks: Vec<Ask> = (0..40_u8)
                .map(|n| {
                    let most = [7, 40, 60, 600][usize::from(n) / 2 % 4];
                    let stop: &[&str] = if n % 5 == 0 {
                        &["brown", "テキ", ".\n", "\u{1f468}"]
                    } else {
                        &[]
                    };
                    ask(n, most, stop, Source::Text("x".to_owned()))
                })
                .collect();
            let strong = Scripted {
                scripts: scripts.clone(),
                live: BTreeMap::new(),
            };
            let weak = Markov::new(coded_in.vocab()).with_limits(4096, 1 << 20);
            // Long frames, and such as have to be cut.
            let code = [16_384, 600][round as usize % 2];
            let record = answer(Box::new(strong), weak, [own(), shared()], code, &mut asks);
            for ask in &asks {
                let name = format!("{:02x}", ask.query.seed[0]).repeat(16);
                let script = &scripts[&ask.query.seed[0]];
                ends.push(check(ask, &record[&name], script, &said_in, &coded_in));
            }
        }
        for end in ["end", "stop", "length", "strong length", "failed"] {
            assert!(ends.contains(&end), "no answer ended by {end}");
        }
    }
}

/// The weak model's logits say nothing of the strong one's tokens.
#[test]
fn no_answer_deviates_by_choice() {
    let (own, shared) = (large(), tiny());
    let scripts: BTreeMap<u8, Vec<Token>> = (0..4).map(|n| (n, own.encode("The quick brown fox"))).collect();
    let strong = Scripted {
        scripts,
        live: BTreeMap::new(),
    };
    let mut asks: Vec<Ask> = (0..4)
        .map(|n| {
            let mut ask = ask(n, 3, &[], Source::Text("x".to_owned()));
            ask.query.sampling.tau = [1.0, 0.3][usize::from(n) / 2];
            ask
        })
        .collect();
    let weak = Markov::new(shared.vocab()).with_limits(4096, 1 << 20);
    let record = answer(Box::new(strong), weak, [own, shared], 16_384, &mut asks);
    for (ask, end) in asks.iter().zip(["length", "length", "refused", "refused"]) {
        assert_eq!(record[&format!("{:02x}", ask.query.seed[0]).repeat(16)].end, end);
        assert_eq!(
            ask.end == Some(End::Refused) && ask.tokens.is_empty(),
            end == "refused"
        );
    }
}

#[test]
fn ten_tokens_of_the_strong_model_a_tick_whatever_they_become() {
    let (own, shared) = (large(), tiny());
    let text =
        "The children of the village went to the market and bought a number of different things. ".repeat(12);
    let mut script = own.encode(&text);
    let strong_tokens = script.len();
    script.push(own.end_tokens()[0]);
    let strong = Scripted {
        scripts: BTreeMap::from([(0, script)]),
        live: BTreeMap::new(),
    };
    let mut asks = [ask(0, 4000, &[], Source::Text("x".to_owned()))];
    let weak = Markov::new(shared.vocab()).with_limits(4096, 1 << 20);
    answer(Box::new(strong), weak, [own, shared], 16_384, &mut asks);
    let [ask] = asks;
    assert_eq!(ask.end, Some(End::Token));
    assert!(
        ask.tokens.len() > 3 * strong_tokens,
        "{} from {strong_tokens}",
        ask.tokens.len()
    );
    // What waits for its word to end, or for company, comes one tick later at most.
    assert!(
        ask.frames <= strong_tokens.div_ceil(10) + 1,
        "{} frames for {strong_tokens}",
        ask.frames
    );
}

fn options() -> Options {
    Options {
        kernel: Kernel::detect(),
        threads: 1,
        kv_tokens: 1 << 14,
        max_context: 1024,
        kv: Kv::F32,
    }
}

/// The embedded model on both engines, under a weak model of random weights.
#[test]
fn a_real_model_answers_conversations_under_foreign_tokens() {
    let options = options();
    let exact = || -> Box<dyn Strong> {
        let model = Model::from_bytes("strong", embedded::strong(), &options).unwrap();
        Box::new(Exact::new(model, large().vocab(), 1 << 14, Kernel::detect()))
    };
    #[cfg(feature = "candle")]
    let candle = || -> Box<dyn Strong> {
        let mut file = std::io::Cursor::new(embedded::strong());
        Box::new(Candle::load(&mut file, large().vocab(), 1024, 1 << 14, Kernel::detect()).unwrap())
    };
    let prompts = [
        "Mara has 14 apples and gives 9 of them away. How many are left?",
        "Tom reads <|im_end|> 3 pages a day. How many in a week?",
    ];
    let engines: &[&dyn Fn() -> Box<dyn Strong>] = &[
        &exact,
        #[cfg(feature = "candle")]
        &candle,
    ];
    for engine in engines {
        let turn = |said: &str| Turn {
            role: Role::User,
            content: said.to_owned(),
        };
        let mut asks: Vec<Ask> = (0..6_u8)
            .map(|n| {
                let said = turn(prompts[usize::from(n) % 2]);
                ask(n, [500, 30][usize::from(n) / 4], &[], Source::Chat(vec![said]))
            })
            .collect();
        // What the strong model says with nothing around it.
        let mut alone = engine();
        let scripts: Vec<Vec<Token>> = asks
            .iter()
            .map(|ask| {
                let Source::Chat(turns) = &ask.source else {
                    unreachable!()
                };
                let messages = [weir_model::Message::new("user", turns[0].content.as_str())];
                let query = Query {
                    prompt: large().chat(&messages).unwrap(),
                    ..ask.query.clone()
                };
                let (mut tokens, most) = (Vec::new(), query.max_tokens as usize);
                alone.admit(Handle(0), &query).unwrap();
                alone.advance(&[(Handle(0), most)], &mut |_, token| {
                    tokens.push(token.unwrap());
                    ControlFlow::Continue(())
                });
                alone.dismiss(Handle(0));
                tokens
            })
            .collect();
        let weak = Markov::new(tiny().vocab()).with_limits(4096, 1 << 20);
        let record = answer(engine(), weak, [large(), tiny()], 16_384, &mut asks);
        let mut ends = Vec::new();
        for (ask, script) in asks.iter().zip(&scripts) {
            let name = format!("{:02x}", ask.query.seed[0]).repeat(16);
            assert!(!ask.tokens.is_empty());
            ends.push(check(ask, &record[&name], script, &large(), &tiny()));
        }
        assert!(ends.contains(&"end") && ends.contains(&"length"), "{ends:?}");
    }
}

/// A token with `byte` in it, and bytes before it.
fn straddling(tokenizer: &Tokenizer, byte: u8) -> Token {
    let mut all = 0..tokenizer.vocab() as Token;
    let straddles = |token: &Token| {
        let bytes = tokenizer.token_bytes(*token);
        bytes.iter().position(|&b| b == byte).is_some_and(|at| at > 0)
    };
    all.find(straddles).unwrap()
}

#[test]
fn what_cannot_be_said_is_refused() {
    let turn = |role, said: &str| Turn {
        role,
        content: said.to_owned(),
    };
    let mut asks = [
        ask(0, 20, &[], Source::Tokens),
        // Longer than the strong model's context.
        ask(
            1,
            20,
            &[],
            Source::Chat(vec![turn(Role::User, &"word ".repeat(2000))]),
        ),
        ask(
            2,
            20,
            &[],
            Source::Chat(vec![turn(Role::System, "Count."), turn(Role::User, "One?")]),
        ),
    ];
    let model = Model::from_bytes("strong", embedded::strong(), &options()).unwrap();
    let strong = Box::new(Exact::new(model, large().vocab(), 1 << 14, Kernel::detect()));
    let weak = Markov::new(tiny().vocab()).with_limits(512, 1 << 16);
    answer(strong, weak, [large(), tiny()], 16_384, &mut asks);
    assert_eq!([asks[0].end, asks[1].end], [Some(End::Refused); 2]);
    assert!(!asks[2].tokens.is_empty());

    // A vocabulary without a byte that is said, in the middle of a token: what came before it is all there is, and nobody is
    // told something else.
    let mut metadata = tiny().metadata().clone();
    metadata.types[usize::from(b'X')] = TokenType::Unused;
    let lacking = Tokenizer::from_metadata("lacking", metadata).unwrap();
    let script = [large().encode("hello world, "), vec![straddling(&large(), b'X')]].concat();
    let said = large().decode(&script);
    let strong = Box::new(Scripted {
        scripts: BTreeMap::from([(0, script)]),
        live: BTreeMap::new(),
    });
    let mut asks = [ask(0, 40, &[], Source::Text("x".to_owned()))];
    let weak = Markov::new(tiny().vocab()).with_limits(512, 1 << 16);
    answer(strong, weak, [large(), lacking], 16_384, &mut asks);
    assert_eq!(asks[0].end, Some(End::Failed));
    let before = said.iter().position(|&byte| byte == b'X').unwrap();
    assert_eq!(tiny().decode(&asks[0].tokens), said[..before]);

    let mut metadata = tiny().metadata().clone();
    metadata.eos = None;
    let endless = Tokenizer::from_metadata("endless", metadata).unwrap();
    let error = Retokenizer::new(large(), endless).err().unwrap().to_string();
    assert!(error.contains("weak") && error.contains("end token"), "{error}");
}
