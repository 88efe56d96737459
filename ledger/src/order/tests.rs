use super::*;
use crate::ledger::tests::us;
use crate::record::{Entry, State};
use crate::replay::replay;
use crate::{Genesis, Moment, segment};
use proptest::prelude::*;
use std::vec;

const WALL: u64 = 1_700_000_000;
const SECRETS: [[u8; 32]; 3] = [[1; 32], [2; 32], [3; 32]];

/// A ledger's state with three operators, two of whom must sign, in which order 4 was applied to record 2 of 4.
fn ledger() -> Chain {
    let genesis = Genesis {
        id: [5; 32],
        weights: [6; 32],
        operators: SECRETS.iter().map(public_key).collect(),
        threshold: 2,
        caps: vec![Cap {
            limit: Limit::Total,
            bits: 1_000,
        }],
        spent: 0,
    };
    let moment = Moment {
        boot: 1,
        since_boot: us(1),
        wall: WALL,
    };
    let mut chain = replay(&segment::first(None, moment, &genesis, 1).unwrap().0, None).unwrap();
    let applied = Entry::Witness {
        index: 0,
        order: [4; 16],
    };
    chain.records = vec![
        ([10; 32], Entry::Open { witnesses: 1 }),
        ([11; 32], Entry::Reserve),
        ([12; 32], applied),
        ([13; 32], Entry::Reserve),
    ];
    chain.state = State {
        order: 4,
        ..chain.state
    };
    chain
}

fn order() -> Order {
    Order {
        action: Action::Cap(Cap {
            limit: Limit::Total,
            bits: 2_000,
        }),
        number: 5,
        expires: WALL,
        ledger: [5; 32],
        head: [13; 32],
    }
}

fn signed(order: Order, signers: &[usize]) -> SignedOrder {
    let mut signed = order.unsigned();
    for &signer in signers {
        signed.sign(&SECRETS[signer], &ledger().keys).unwrap();
    }
    signed
}

fn verdict(order: Order) -> Result<(), OrderError> {
    signed(order, &[0, 2]).verify(&ledger(), WALL)
}

#[test]
fn a_good_order_is_obeyed() {
    assert_eq!(verdict(order()), Ok(()));
    // The record that the last order made is still a state to decide on.
    assert_eq!(
        verdict(Order {
            head: [12; 32],
            ..order()
        }),
        Ok(())
    );
    assert_eq!(
        verdict(Order {
            action: Action::Witness(3),
            ..order()
        }),
        Ok(())
    );
}

#[test]
fn each_rule_is_kept() {
    assert_eq!(
        verdict(Order {
            ledger: [4; 32],
            ..order()
        }),
        Err(OrderError::Ledger)
    );
    for number in [0, 4] {
        assert_eq!(
            verdict(Order { number, ..order() }),
            Err(OrderError::Number { number, last: 4 })
        );
    }
    assert_eq!(
        verdict(Order {
            expires: WALL - 1,
            ..order()
        }),
        Err(OrderError::Expired)
    );
    for head in [[11; 32], [99; 32]] {
        assert_eq!(verdict(Order { head, ..order() }), Err(OrderError::Head));
    }
    for limit in [Limit::Weights, Limit::Window(60)] {
        let action = Action::Cap(Cap { limit, bits: 1 });
        assert_eq!(verdict(Order { action, ..order() }), Err(OrderError::Subject));
    }
    let few = signed(order(), &[1]);
    assert_eq!(
        few.verify(&ledger(), WALL),
        Err(OrderError::TooFew {
            signed: 1,
            threshold: 2
        })
    );
    let mut lone = ledger();
    lone.keys.clear();
    assert_eq!(
        signed(order(), &[0, 1]).verify(&lone, WALL),
        Err(OrderError::NoOperators)
    );
}

#[test]
fn a_signature_is_for_one_order_and_one_key() {
    let good = signed(order(), &[0, 1]);
    // The same signatures under another order.
    let mut moved = good.clone();
    moved.order.expires += 1;
    assert_eq!(
        moved.verify(&ledger(), WALL),
        Err(OrderError::Signature { operator: 0 })
    );
    // One operator does not stand for another.
    let mut posing = good.clone();
    posing.signatures[1].0 = 2;
    assert_eq!(
        posing.verify(&ledger(), WALL),
        Err(OrderError::Signature { operator: 2 })
    );
    let mut beyond = good;
    beyond.signatures[1].0 = 3;
    assert_eq!(beyond.verify(&ledger(), WALL), Err(OrderError::Stranger));
    assert_eq!(
        order().unsigned().sign(&[7; 32], &ledger().keys),
        Err(OrderError::Stranger)
    );
    // Signing twice is signing once.
    let twice = signed(order(), &[1, 1]);
    assert_eq!(
        twice.verify(&ledger(), WALL),
        Err(OrderError::TooFew {
            signed: 1,
            threshold: 2
        })
    );
}

#[test]
fn one_operator_twice_is_malformed() {
    let bytes = signed(order(), &[0]).emit();
    let (content, signature) = bytes.split_at(ORDER_LEN + 1);
    let mut twice = [content, signature, signature].concat();
    twice[ORDER_LEN] = 2;
    assert_eq!(SignedOrder::parse(&twice), Err(OrderError::Malformed));
}

proptest! {
    #[test]
    fn orders_survive_the_way_and_nothing_else_does(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        cut in 0_usize..230,
        place in 0_usize..230,
        flip in 1_u8..=255,
    ) {
        let good = signed(order(), &[0, 2]);
        let emitted = good.emit();
        prop_assert_eq!(SignedOrder::parse(&emitted), Ok(good));
        prop_assert_eq!(SignedOrder::parse(&emitted[..cut]), Err(OrderError::Malformed));
        let mut changed = emitted;
        changed[place] ^= flip;
        if let Ok(other) = SignedOrder::parse(&changed) {
            prop_assert_eq!(other.emit(), changed);
            prop_assert!(other.verify(&ledger(), WALL).is_err());
        }
        if let Ok(any) = SignedOrder::parse(&bytes) {
            prop_assert_eq!(any.emit(), bytes);
        }
    }
}
