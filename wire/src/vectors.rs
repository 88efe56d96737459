//! Golden vectors: `vectors/wire.json` pins the bytes of SPEC 5 and 6 for other implementations. The test fails when
//! the bytes change; `WEIR_BLESS=1 cargo test -p weir-wire vectors` writes the file anew.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use serde_json::{Value, json};

use crate::control::{Control, Kind};
use crate::error::{Closed, Refusal};
use crate::frame::{Repr, Sealed, check};
use crate::held::{Budget, Held};
use crate::inward::{Body, Data, Hello, Inward, Piece};
use crate::message::{Message, Query, Role, Source, Turn};
use crate::parameters::{CheckWidth, Format, IdWidth, Parameters};
use crate::settings::Service;
use crate::shape::Shape;
use crate::sim::agreement;

#[path = "../../vectors/pinned.rs"]
mod pinned;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/wire.json");

const FORMATS: [Format; 4] = [
    Format {
        id: IdWidth::One,
        check: CheckWidth::Two,
    },
    Format {
        id: IdWidth::One,
        check: CheckWidth::Four,
    },
    Format {
        id: IdWidth::Two,
        check: CheckWidth::Two,
    },
    Format {
        id: IdWidth::Two,
        check: CheckWidth::Four,
    },
];

#[test]
fn vectors_are_as_recorded() {
    let now = json!({
        "frames": frames(),
        "control": controls(),
        "messages": messages(),
        "inward": inward(),
        "shapes": shapes(),
        "services": services(),
    });
    pinned::compare(PATH, &now);
}

fn frames() -> Vec<Value> {
    let cases: [(u64, u16, u64, u64, &[u8]); 6] = [
        (0x0123_4567_89ab_cdef, 0, 0, 0, b""),
        (0x0123_4567_89ab_cdef, 0, 1, 0, b"\x01"),
        (
            0x0123_4567_89ab_cdef,
            3,
            31,
            0xfeed_face_dead_beef,
            b"\x80\x00\x7f\x00\x00",
        ),
        (
            0x0123_4567_89ab_cdef,
            3,
            32,
            0xfeed_face_dead_beef,
            b"\x80\x00\x7f",
        ),
        (u64::MAX, 254, u64::MAX, u64::MAX, b"\xff\xff\xff\xff"),
        (0, 7, 1 << 40, 1, b"weir"),
    ];
    let mut all = vec![];
    for format in FORMATS {
        for (session, batch, number, digest, code) in cases {
            let check = check(
                format,
                &Sealed {
                    session,
                    batch,
                    number,
                    digest,
                },
                code,
            );
            let mut frame = vec![];
            Repr { batch, check, code }.emit(format, &mut frame);
            all.push(json!({
                "id_bytes": format.id.bytes(),
                "check_bytes": format.check.bytes(),
                "session": format!("{session:016x}"),
                "batch": batch,
                "number": format!("{number:016x}"),
                "digest": format!("{digest:016x}"),
                "code": hex(code),
                "frame": hex(&frame),
            }));
        }
    }
    all
}

fn controls() -> Vec<Value> {
    let cases = [
        ("welcome", Kind::Reply(Ok(()))),
        ("refused: model", Kind::Reply(Err(Refusal::Model))),
        ("refused: busy", Kind::Reply(Err(Refusal::Busy))),
        ("closed: unknown", Kind::Closed(Closed::Unknown)),
        ("closed: diverged", Kind::Closed(Closed::Diverged)),
        ("closed: misbehaved", Kind::Closed(Closed::Misbehaved)),
        ("idle", Kind::Idle),
        (
            "refused: session.retokenize",
            Kind::Reply(Err(Refusal::Retokenize)),
        ),
        ("refused: session.slots", Kind::Reply(Err(Refusal::Slots))),
        ("refused: session.least_tau", Kind::Reply(Err(Refusal::LeastTau))),
        ("held: a window, 1449 s", held(Budget::Window, 1_449)),
        ("held: the rate, 23 s", held(Budget::Rate, 23)),
        ("held: the total", held(Budget::Total, 0)),
        ("held: the ledger", held(Budget::Ledger, 0)),
    ];
    let mut all = vec![];
    for format in FORMATS {
        for (says, kind) in cases {
            let session = 0x0123_4567_89ab_cd00;
            let mut frame = vec![];
            Control { kind, session }.emit(format, &mut frame);
            all.push(json!({
                "id_bytes": format.id.bytes(),
                "check_bytes": format.check.bytes(),
                "says": says,
                "session": format!("{session:016x}"),
                "frame": hex(&frame),
            }));
        }
    }
    all
}

fn held(budget: Budget, seconds: u64) -> Kind {
    Kind::Held(Held::new(budget, Duration::from_secs(seconds)))
}

fn services() -> Vec<Value> {
    let common = Service {
        retokenize: false,
        slots: 128,
        kv_tokens: 65_536,
        max_context: 4_096,
        kv: 0,
        least_tau: 0.01,
    };
    let strict = Service {
        retokenize: true,
        kv: 1,
        least_tau: 1.0,
        ..common
    };
    let service = |service: Service| {
        json!({
            "retokenize": service.retokenize,
            "slots": service.slots,
            "kv_tokens": service.kv_tokens,
            "max_context": service.max_context,
            "kv": service.kv,
            "least_tau_bits": format!("{:08x}", service.least_tau.to_bits()),
            "bytes": hex(&service.to_bytes()),
        })
    };
    [common, strict].map(service).to_vec()
}

fn query() -> Query {
    Query {
        slot: 5,
        seed: core::array::from_fn(|i| i as u8),
        temperature: 0.7,
        top_p: 0.95,
        top_k: 40,
        tau: 0.3,
        max_tokens: 256,
        stop: vec![b"\n\n".to_vec(), b"END".to_vec()],
        prompt: vec![0, 127, 128, 151_935],
        source: Source::Tokens,
    }
}

fn messages() -> Vec<Value> {
    let turn = |role, content: &str| Turn {
        role,
        content: content.to_owned(),
    };
    let sources = [
        Source::Tokens,
        Source::Text("Once <|im_end|> upon".to_owned()),
        Source::Chat(vec![
            turn(Role::System, "Be brief."),
            turn(Role::User, "Ni\u{f1}o?"),
            turn(Role::Assistant, ""),
        ]),
    ];
    let queries = sources.map(|source| {
        let query = Query { source, ..query() };
        let mut bytes = vec![];
        Message::Query(query.clone()).emit(&mut bytes);
        json!({
            "kind": "query",
            "slot": query.slot,
            "seed": hex(&query.seed),
            "temperature_bits": format!("{:08x}", query.temperature.to_bits()),
            "top_p_bits": format!("{:08x}", query.top_p.to_bits()),
            "top_k": query.top_k,
            "tau_bits": format!("{:08x}", query.tau.to_bits()),
            "max_tokens": query.max_tokens,
            "stop": query.stop.iter().map(|stop| hex(stop)).collect::<Vec<_>>(),
            "prompt": query.prompt,
            "source": match &query.source {
                Source::Tokens => json!(null),
                Source::Text(text) => json!(text),
                Source::Chat(turns) => turns.iter().map(|turn| json!([turn.role as u8, turn.content])).collect(),
            },
            "bytes": hex(&bytes),
        })
    });
    let mut cancel = vec![];
    Message::Cancel { slot: 127 }.emit(&mut cancel);
    let cancel = json!({ "kind": "cancel", "slot": 127, "bytes": hex(&cancel) });
    queries.into_iter().chain([cancel]).collect()
}

fn inward() -> Vec<Value> {
    let mut message = vec![];
    Message::Query(query()).emit(&mut message);
    let total = message.len() as u32;
    let mut pieces = vec![];
    Piece {
        number: 8,
        total,
        offset: 0,
        bytes: &message[..40],
    }
    .emit(&mut pieces);
    Piece {
        number: 9,
        total: 2,
        offset: 0,
        bytes: &[2, 5],
    }
    .emit(&mut pieces);
    let parameters = Parameters::default();
    let format = parameters.format;
    let hello = Hello {
        parameters,
        agreement: agreement(),
    };
    let receipt = core::array::from_fn(|i| i as u8);
    let cases = [
        (
            "hello: default parameters, hashes of 01.., 02.., 03.., 04..",
            Body::Hello(hello),
        ),
        ("ping", Body::Ping),
        (
            "data: batch 2, ack 7, no request, no pieces",
            Body::Data(Data::new(2, 7, 0xfeed_face_dead_beef, 0, &[])),
        ),
        (
            "data: batch 2, ack 7, frames 7 and 9 missing, first 40 bytes of message 8 (the query), message 9",
            Body::Data(Data::new(2, 7, 0xfeed_face_dead_beef, 0b101, &pieces)),
        ),
    ];
    let gates = [
        ("tick: 258, a gate's", 0, Body::Tick(258)),
        ("receipt of bytes 00..57, for a gate", 0, Body::Receipt(&receipt)),
    ];
    cases
        .into_iter()
        .map(|(what, body)| (what, 0x0123_4567_89ab_cdef_u64, body))
        .chain(gates)
        .map(|(what, session, body)| {
            let mut bytes = vec![];
            Inward {
                format,
                session,
                body,
            }
            .emit(&mut bytes);
            json!({ "what": what, "session": format!("{session:016x}"), "bytes": hex(&bytes) })
        })
        .collect()
}

fn shapes() -> Vec<Value> {
    let mut all = vec![];
    for (shape, mtu, batches) in [
        (Shape::SEALED, 1472, 1),
        (Shape::BUCKETED, 1472, 1),
        (Shape::BUCKETED, 300, 255),
        (Shape::CONSTANT, 300, 3),
    ] {
        let parameters = Parameters {
            shape,
            mtu,
            batches,
            ..Parameters::default()
        };
        let padded: Vec<[usize; 2]> = [5, 21, 22, 60, 100, 299, 300]
            .map(|len| [len, shape.padded(&parameters, len)])
            .to_vec();
        all.push(json!({
            "shape": shape.0,
            "mtu": mtu,
            "batches": batches,
            "lengths": shape.lengths(&parameters),
            "padded": padded,
            "side_bits": shape.side_bits(&parameters),
        }));
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
