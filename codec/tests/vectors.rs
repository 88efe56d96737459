//! The specification's golden vectors. `WEIR_BLESS=1 cargo test -p weir-codec vectors` writes them anew.

use std::path::PathBuf;

use serde_json::{Value, json};
use weir_codec::coder::Encoder as Coder;
use weir_codec::noise::Noise;
use weir_codec::predict::Predictor;
use weir_codec::testing::{Markov, letters};
use weir_codec::text::{self, Window};
use weir_codec::{Encoder, Offer, Query, Sampler, Sampling, Settings, Slots, agreement, pieces};
use weir_exact::Kernel;

fn compare(name: &str, value: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../vectors")
        .join(name);
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert!(
        golden == text,
        "{name} has changed: codes of other versions no longer mean the same"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn vectors_of_the_coder() {
    let streams: Vec<Vec<(u32, u32)>> = vec![
        vec![],
        vec![(0, 1 << 31)],
        vec![(1 << 31, 1 << 31)],
        vec![(u32::MAX, 1); 3],
        vec![((1 << 31) - 1, 2); 6],
        [vec![((1 << 31) - 1, 2); 6], vec![(u32::MAX, 1)]].concat(),
        (0..40u32)
            .map(|i| (i.wrapping_mul(0x9e37_79b9) >> 1, 1 << (i * 7 % 31)))
            .collect(),
        vec![(1, u32::MAX); 100],
    ];
    let cases = streams.iter().map(|symbols| {
        let mut coder = Coder::default();
        symbols
            .iter()
            .for_each(|&(start, width)| coder.code(start, width));
        let mut code = Vec::new();
        coder.seal(&mut code);
        let mut ended = Vec::new();
        coder.end(&mut ended);
        let end = coder.interval();
        json!({
            "symbols": symbols, "code": hex(&code), "end": hex(&ended),
            "low": format!("{:016x}", end.low), "range": format!("{:016x}", end.range),
        })
    });
    compare("coder.json", &json!({ "streams": cases.collect::<Vec<_>>() }));
}

#[test]
fn vectors_of_the_noise() {
    let seed: [u8; 16] = std::array::from_fn(|i| i as u8);
    let cases = [
        (0u32, 0u32),
        (0, 1),
        (0, 16),
        (0, 255),
        (0, 256),
        (1, 0),
        (9, 151_935),
        (u32::MAX, 77),
    ]
    .map(|(position, token)| {
        let noise = Noise::new(&seed, position);
        json!({
            "position": position, "token": token,
            "word": format!("{:016x}", noise.word(token)),
            "gumbel": format!("{:016x}", noise.gumbel(token).to_bits()),
            "gumbel_of_upper": format!("{:08x}", weir_exact::gumbel((noise.word(token) >> 32) as u32).to_bits()),
        })
    });
    let logits = Markov::new(1000).logits(&[1, 2]).to_vec();
    let mut sampler = Sampler::new(Kernel::detect());
    let samplings = [
        (0.0, 1.0, 0),
        (1.0, 1.0, 0),
        (0.7, 0.9, 0),
        (1.3, 1.0, 20),
        (1.0, 0.5, 300),
    ];
    let drawn = samplings.map(|(temperature, top_p, top_k)| {
        let sampling = Sampling {
            temperature,
            top_p,
            top_k,
            tau: 1.0,
        };
        let mut draw = |i| sampler.sample(&logits, &sampling, &seed, i).unwrap();
        let tokens: Vec<_> = (0..20).map(&mut draw).collect();
        json!({ "temperature": temperature, "top_p": top_p, "top_k": top_k, "tokens": tokens })
    });
    // With the weak model's logits those of another context.
    let weak = Markov::new(1000).logits(&[3, 4]).to_vec();
    let samplings = [
        (0.0, 1.0, 0, 0.3),
        (0.0, 1.0, 0, 0.01),
        (1.0, 1.0, 0, 0.5),
        (0.7, 0.9, 0, 0.2),
        (1.3, 1.0, 20, 0.9),
    ];
    let lossy = samplings.map(|(temperature, top_p, top_k, tau)| {
        let sampling = Sampling {
            temperature,
            top_p,
            top_k,
            tau,
        };
        let mut draw = |i| sampler.sample_lossy(&logits, &weak, &sampling, &seed, i).unwrap();
        let tokens: Vec<_> = (0..20).map(&mut draw).collect();
        json!({ "temperature": temperature, "top_p": top_p, "top_k": top_k, "tau": tau, "tokens": tokens })
    });
    compare(
        "noise.json",
        &json!({ "seed": hex(&seed), "words": cases, "samples": drawn, "lossy": lossy }),
    );
}

#[test]
fn vectors_of_the_prediction() {
    let exps = [0.0f32, -1e-3, -0.5, -1.0, -3.25, -20.0, -86.9].map(|x| {
        json!({ "x": format!("{:08x}", x.to_bits()), "exp": format!("{:08x}", weir_exact::exp(x).to_bits()), "weight": weir_exact::exp_weight(x) })
    });
    let logs = [1e-20, 0.5, 0.999, 1.0, 1.5, 7.0, 1e9]
        .map(|x: f64| json!({ "x": format!("{:016x}", x.to_bits()), "ln": format!("{:016x}", weir_exact::ln(x).to_bits()) }));
    let mut rows = Vec::new();
    for (temperature, tau) in [
        (0.0, 1.0),
        (0.7, 1.0),
        (1.0, 1.0),
        (0.0, 0.3),
        (0.7, 0.2),
        (1.0, 0.05),
    ] {
        let sampling = Sampling {
            tau,
            ..Sampling::at(temperature)
        };
        let mut predictor = Predictor::new(Kernel::Portable);
        let mut own = predictor.begin(Some(&sampling));
        for (position, token) in [(0, 3), (1, 40), (2, 999)] {
            let logits = Markov::new(1000).logits(&[position]).to_vec();
            let noise = Noise::new(&[1; 16], position);
            predictor
                .prepare(&logits, Some((&sampling, &noise)), &own)
                .unwrap();
            let best = logits
                .iter()
                .position(|&x| x == logits.iter().copied().fold(f32::MIN, f32::max))
                .unwrap();
            let places: Vec<_> = [token, best as u32]
                .map(|t| predictor.prediction().place(t))
                .map(|p| json!([p.first, p.rest]))
                .into();
            rows.push(json!({
                "temperature": temperature, "tau": tau, "position": position, "token": token, "best": best, "places": places,
                "candidates": predictor.prediction().candidates(),
            }));
            predictor.learn(token, &mut own);
        }
    }
    compare(
        "cdf.json",
        &json!({ "exp": exps, "ln": logs, "predictions": rows }),
    );
}

fn open(mut slots: Slots<'_, Markov>) {
    for (slot, temperature) in [(0u8, 0.0), (1, 1.0), (5, 0.7)] {
        let sampling = Sampling {
            temperature,
            top_p: if slot == 5 { 0.9 } else { 1.0 },
            top_k: 0,
            tau: 1.0,
        };
        let query = Query {
            seed: [slot; 16],
            sampling,
            max_tokens: 30,
            stop: vec![b"zz".to_vec()],
            prompt: vec![1, 2, 3],
        };
        slots.open(slot, &query).unwrap();
    }
}

fn frames(settings: Settings) -> Vec<Value> {
    let vocabulary = letters(1000, 7);
    let mut encoder = Encoder::new(Markov::new(1000), vocabulary, settings, Kernel::detect());
    let mut frames = Vec::new();
    let mut frame = |encoder: &mut Encoder<Markov>, taken_in, offers: &[(u8, Offer<'_>)], limit| {
        let mut code = Vec::new();
        let sealed = encoder.frame(taken_in, offers, limit, &mut code).unwrap();
        let offers: Vec<_> = offers
            .iter()
            .map(|(slot, offer)| json!([slot, format!("{offer:?}")]))
            .collect();
        frames.push(json!({
            "taken_in": taken_in, "offers": offers, "limit": limit, "code": hex(&code),
            "coded": sealed.coded, "ended": sealed.ended, "digest": format!("{:016x}", sealed.digest),
        }));
    };
    open(encoder.slots());
    let tokens: Vec<u32> = (100..164).map(|t| t * 37 % 1000).collect();
    let part = |at: usize, n: usize| Offer::Tokens(&tokens[at..at + n]);
    frame(
        &mut encoder,
        3,
        &[(0, part(0, 10)), (1, part(10, 10)), (5, part(20, 10))],
        1400,
    );
    frame(
        &mut encoder,
        0,
        &[(0, part(0, 0)), (1, part(3, 4)), (5, Offer::Failed)],
        1400,
    );
    frame(
        &mut encoder,
        0,
        &[(0, part(9, 20)), (1, part(30, 20))],
        Settings::least_limit(2),
    );
    frame(
        &mut encoder,
        300,
        &[(0, Offer::Tokens(&[5, 7])), (1, Offer::Refused)],
        1400,
    );
    frame(&mut encoder, 0, &[], 16);
    frames
}

/// The same queries, in pieces of 27 bytes.
fn pieces() -> Vec<Value> {
    const LEN: usize = 27;
    let vocabulary = letters(1000, 7);
    let mut encoder = pieces::Encoder::new(
        Markov::new(1000),
        vocabulary,
        Settings::default(),
        Kernel::detect(),
        LEN,
    );
    open(encoder.slots());
    let tokens: Vec<u32> = (100..164).map(|t| t * 37 % 1000).collect();
    let part = |at: usize, n: usize| Offer::Tokens(&tokens[at..at + n]);
    let segments = [
        (
            3,
            vec![(0, part(0, 10)), (1, part(10, 10)), (5, part(20, 10))],
            false,
        ),
        (
            0,
            vec![(0, part(0, 0)), (1, part(3, 4)), (5, Offer::Failed)],
            true,
        ),
        (0, vec![(0, part(9, 10)), (1, part(30, 9))], false),
        (300, vec![(0, Offer::Tokens(&[5, 7])), (1, Offer::Refused)], true),
    ];
    let mut all = Vec::new();
    for (taken_in, offers, pads) in segments {
        let sealed = encoder.segment(taken_in, &offers).unwrap();
        if pads {
            encoder.pad();
        }
        let mut pieces = Vec::new();
        let mut code = Vec::new();
        while let Some(digest) = encoder.piece(&mut code) {
            pieces.push(json!([hex(&code), format!("{digest:016x}")]));
            code.clear();
        }
        let offers: Vec<_> = offers
            .iter()
            .map(|(slot, offer)| json!([slot, format!("{offer:?}")]))
            .collect();
        all.push(json!({
            "taken_in": taken_in, "offers": offers, "ended": sealed.ended,
            "digest": format!("{:016x}", sealed.digest), "pad": pads, "pieces": pieces,
        }));
    }
    all
}

#[test]
fn vectors_of_frames() {
    let own = Settings {
        retokenized: true,
        ..Settings::default()
    };
    compare(
        "frames.json",
        &json!({
            "frames": frames(Settings::default()), "agreement": hex(&agreement(&Settings::default())),
            "retokenized": { "frames": frames(own), "agreement": hex(&agreement(&own)) },
            "pieces": pieces(),
        }),
    );
}

#[test]
fn vectors_of_streams() {
    // New words, then old ones; a habit; one word.
    let tokens: Vec<u32> = (0..120u32)
        .chain(40..100)
        .map(|i| i * i * 37 % 1000)
        .chain((0..60).flat_map(|i| [5, 6, i % 3 + 10]))
        .chain([999; 40])
        .collect();
    let cases = [(4096, 0), (64, 16)].map(|(size, overlap)| {
        let mut code = Vec::new();
        let window = Window { size, overlap };
        let stats = text::compress(
            &mut Markov::new(1000),
            Kernel::detect(),
            window,
            3,
            &tokens,
            &mut code,
            &mut |_| {},
        )
        .unwrap();
        assert!(stats.coded_bits < stats.plain_bits);
        json!({ "window": size, "overlap": overlap, "start": 3, "code": hex(&code) })
    });
    compare("stream.json", &json!({ "tokens": tokens, "codes": cases }));
}
