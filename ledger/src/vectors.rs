//! Golden vectors: `vectors/ledger.json` pins the bytes of SPEC 7 for other implementations. The test fails when the bytes
//! change; `WEIR_BLESS=1 cargo test -p weir-ledger vectors` writes the file anew.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Value, json};

use weir_meter::{Governor, Instant, Limits, LinkCost, Purpose, Release, side_bits};

use crate::ledger::tests::{KEY, SECRETS, World, genesis, us};
use crate::order::{Action, public_key};
use crate::{Ask, Cap, Echo, Head, Limit, Moment, RECORD_LEN, Reply, Request, segment};

#[path = "../../vectors/pinned.rs"]
mod pinned;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/ledger.json");

#[test]
fn vectors_are_as_recorded() {
    let side_bits = [1, 2, 3, 1473, 2048, 2049].map(|choices: u64| json!([choices, side_bits(choices)]));
    let now = json!({
        "costs": costs(),
        "moments": moments(),
        "side_bits": side_bits,
        "first_segment_without_key": records(&segment::first(None, moment(), &genesis(), 2).unwrap().0),
        "life": life(),
        "echo": echo(),
        "remote_witness": remote_witness(),
    });
    pinned::compare(PATH, &now);
}

/// Link, length, bits.
fn costs() -> Vec<Value> {
    let links = [
        ("udp4", LinkCost::UdpIpv4),
        ("udp6", LinkCost::UdpIpv6),
        ("eth", LinkCost::Ethernet),
        ("serial", LinkCost::Serial),
        ("unix", LinkCost::Unix),
    ];
    let lengths = [0, 18, 19, 46, 47, 254, 255, 1_452, 1_472, 1_500, 65_507];
    let bits = links.map(|(name, cost)| lengths.map(|len: usize| json!([name, len, cost.bits(len)])));
    bits.concat()
}

/// Tick of 100 ms on which an empty datagram leaves, and bits charged for its moment.
fn moments() -> Vec<Value> {
    let limits = Limits {
        tick: 100_000,
        side_bits: 0,
        ..Limits::default()
    };
    let mut governor = Governor::new(Instant::ZERO, LinkCost::UdpIpv4, limits).unwrap();
    let charge = |tick: u64| match governor.release(us(tick * 100_000), 0, Purpose::Frame) {
        Release::Go(permit) => json!([tick, permit.bits() - 672]),
        other => panic!("{other:?}"),
    };
    [0, 1, 1, 2, 4, 7, 8, 1_008, 1_009].map(charge).to_vec()
}

fn moment() -> Moment {
    World::new().moment
}

/// A ledger that is opened, charged, closed, raised by order, crashed and rotated.
fn life() -> Value {
    let mut world = World::new();
    world.settings.segment = 16_384;
    let mut ledger = world.open().unwrap();
    for purpose in [
        Purpose::Frame,
        Purpose::Repeat,
        Purpose::Handshake,
        Purpose::Frame,
    ] {
        ledger.draw(us(2_000_000), 672, purpose).unwrap();
    }
    ledger.close(us(3_000_000)).unwrap();
    world.moment = Moment {
        boot: 2,
        since_boot: us(5_000_000),
        wall: world.moment.wall + 60,
    };
    let cap = Cap {
        limit: Limit::Total,
        bits: 2_000_000,
    };
    let order = world.order(Action::Cap(cap), 2);
    let mut ledger = world.open_with(&[], Some(&order)).unwrap();
    ledger.draw(us(6_000_000), 1, Purpose::Frame).unwrap();
    drop(ledger);
    world.moment.since_boot = us(6_000_000);
    let mut ledger = world.open().unwrap();
    let first = world.ledger.bytes();
    ledger.rotate(us(7_000_000)).unwrap();
    let held = world.stores()[0].held(&[5; 32]).unwrap().head().unwrap();
    let operators =
        SECRETS.map(|secret| json!({"secret": hex(&secret), "public": hex(&public_key(&secret))}));
    json!({
        "key": hex(&KEY),
        "operators": operators,
        "order": hex(&order.emit()),
        "first_segment": records(&first),
        "second_segment": records(&world.ledger.bytes()),
        "witness": hex(&world.witnesses[0].bytes()),
        "witness_holds": {"seq": held.seq, "count": held.count, "hash": hex(&held.hash)},
        "spent": ledger.state().spent,
    })
}

fn echo() -> Value {
    let echo = Echo {
        ledger: [5; 32],
        number: 3,
        datagrams: 4,
        bits: 2_688,
    };
    json!({"key": hex(&KEY), "bytes": hex(&echo.seal(&KEY)), "number": 3, "datagrams": 4, "bits": 2_688})
}

/// Each question to a witness on another machine, and each form of its answers.
fn remote_witness() -> Value {
    let head = |seq: u8| Head {
        id: [5; 32],
        seq: seq.into(),
        count: 1_000 * u64::from(seq),
        hash: [seq; 32],
    };
    let (nonce, ledger, turn) = ([3; 16], [5; 32], 7);
    let (from, to) = (head(1), head(2));
    let asks = [
        ("look", Ask::Look),
        ("turn", Ask::Turn),
        ("advance", Ask::Advance { turn, from, to }),
        ("begin", Ask::Begin { turn, head: from }),
    ];
    let requests = asks.map(|(name, ask)| json!([name, hex(&Request { nonce, ledger, ask }.seal(&KEY))]));
    let replies = [(false, None), (false, Some(from)), (true, Some(to))].map(|(done, head)| {
        let reply = Reply {
            nonce,
            ledger,
            turn,
            done,
            head,
        };
        json!([done, head.map(|head| head.seq), hex(&reply.seal(&KEY))])
    });
    json!({"key": hex(&KEY), "requests": requests, "replies": replies})
}

fn records(bytes: &[u8]) -> Box<[String]> {
    bytes.chunks(RECORD_LEN).map(hex).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
