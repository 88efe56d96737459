//! The order of `vectors/ledger.json`, in a program that checks signatures and in one that cannot.

use serde_json::Value;
use weir_ledger::order::{OrderError, SignedOrder};
use weir_ledger::{RECORD_LEN, replay};

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn a_program_without_signatures_obeys_no_order() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/ledger.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let life = &vectors["life"];
    let key: [u8; 32] = bytes(&life["key"]).try_into().unwrap();
    let order = SignedOrder::parse(&bytes(&life["order"])).unwrap();
    let segment: Vec<u8> = life["first_segment"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(bytes)
        .collect();
    // The ledger as the operators had seen it.
    let chain = (1..=segment.len() / RECORD_LEN)
        .filter_map(|records| replay(&segment[..records * RECORD_LEN], Some(&key)).ok())
        .find(|chain| chain.head == order.order.head)
        .unwrap();
    let expected = match cfg!(feature = "orders") {
        true => Ok(()),
        false => Err(OrderError::Unable),
    };
    assert_eq!(order.verify(&chain, order.order.expires), expected);
    assert_eq!(
        order.verify(&chain, order.order.expires + 1),
        Err(OrderError::Expired)
    );
}
