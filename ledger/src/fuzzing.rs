//! Fuzz bodies for every parser of this crate; `fuzz/` has a target for each, and a test runs them here.

use alloc::vec::Vec;
use weir_meter::Instant;

use crate::echo::Echo;
use crate::moment::Moment;
use crate::order::{SignedOrder, public_key};
use crate::record::{CONTENT_LEN, Cap, Entry, Limit, RECORD_LEN, Record};
use crate::remote_witness::{Reply, Request};
use crate::replay::{Chain, replay};
use crate::segment::{self, Genesis};
use crate::witness::held;

/// Any bytes as a record, a ledger, a witness, a question to one, its answer and an echo; then the same as what happens to a good ledger, eight bytes a
/// record, with the right hashes. Whatever is read can be written again, and whatever is a ledger can be carried on.
pub fn ledger(bytes: &[u8]) {
    if let Some(content) = bytes.first_chunk::<CONTENT_LEN>()
        && let Ok(record) = Record::parse(content)
    {
        assert_eq!(record.emit(), *content);
    }
    for key in [None, Some(&[1; 32])] {
        let _any = (replay(bytes, key), held(bytes, key));
    }
    assert_eq!(Echo::open(bytes, &[1; 32]), None);
    assert_eq!(Request::open(bytes, &[1; 32]), None);
    assert_eq!(Reply::open(bytes, &[1; 32]), None);

    let mut file = first_segment();
    let mut chain = replay(&file, None).expect("a good beginning");
    for change in bytes.chunks_exact(8) {
        let mut state = chain.state;
        let [kind, which, by, more, ..] = *change else {
            return;
        };
        let by = u64::from(by);
        for (bit, field) in [
            &mut state.time,
            &mut state.spent,
            &mut state.reserved,
            &mut state.repeats,
            &mut state.order,
        ]
        .into_iter()
        .enumerate()
        {
            if which & (1 << bit) != 0 {
                *field = field.wrapping_add(by);
            }
        }
        let order = [more & 1; 16];
        let entry = match kind % 9 {
            0 => Entry::Open {
                witnesses: u16::from(more >> 2 & 3),
            },
            1 => Entry::Close,
            2 => Entry::Past,
            3 => Entry::Witness {
                index: u16::from(more >> 4 & 3),
                order,
            },
            4 => Entry::Cap {
                cap: Cap {
                    limit: if more & 2 == 0 {
                        Limit::Total
                    } else {
                        Limit::Window(1 + u32::from(more))
                    },
                    bits: 500 + by,
                },
                order,
            },
            5 => Entry::Id {
                id: [more; 32],
                witnesses: 1,
            },
            6 => Entry::Key {
                threshold: 1,
                key: [more; 32],
            },
            _ => Entry::Reserve,
        };
        state.starts = state
            .starts
            .wrapping_add(u32::from(matches!(entry, Entry::Open { .. })));
        let seq = chain.seq.wrapping_add(u64::from(which & 0x80 == 0));
        let (record, _) = Record { entry, seq, state }.seal(None, &chain.head);
        let longer = [file.as_slice(), &record].concat();
        let Ok(next) = replay(&longer, None) else { continue };
        assert_eq!(next.records.len(), chain.records.len() + 1);
        assert!(next.state.spent >= chain.state.spent && next.state.spent <= next.state.reserved);
        let cap = |chain: &Chain| chain.cap(Limit::Total);
        assert!(
            entry.order().is_some() || cap(&next) <= cap(&chain),
            "a total rose without an order"
        );
        assert!(next.witnesses >= chain.witnesses, "a witness was dropped");
        // Cut within the last record, it is what it was before.
        let cut = replay(&longer[..longer.len() - 1], None).expect("a torn record is no damage");
        assert_eq!((cut.head, cut.torn), (chain.head, RECORD_LEN - 1));
        let (carried, after) = segment::next(None, &next, next.state).expect("any ledger can be carried on");
        assert_eq!(
            (&after.caps, after.state, after.older, after.witnesses),
            (&next.caps, next.state, next.head, next.witnesses)
        );
        (file, chain) = if more & 0x80 == 0 {
            (longer, next)
        } else {
            (carried, after)
        };
    }
}

/// Any bytes as a signed order; what is one is written again as it was, and no ledger obeys it.
pub fn order(bytes: &[u8]) {
    if let Ok(order) = SignedOrder::parse(bytes) {
        assert_eq!(order.emit(), bytes);
        let chain = replay(&first_segment(), None).expect("a good beginning");
        assert!(order.verify(&chain, MOMENT.wall).is_err());
    }
}

const MOMENT: Moment = Moment {
    boot: 1,
    since_boot: Instant::from_micros(2),
    wall: 3,
};

fn first_segment() -> Vec<u8> {
    segment::first(None, MOMENT, &genesis(), 1).expect("a ledger").0
}

fn genesis() -> Genesis {
    Genesis {
        id: [1; 32],
        weights: [2; 32],
        operators: alloc::vec![public_key(&[3; 32])],
        threshold: 1,
        caps: alloc::vec![Cap {
            limit: Limit::Total,
            bits: 1_000,
        }],
        spent: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Action, Order};
    use crate::record::Hash;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn bodies_hold_on_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            ledger(&bytes);
            order(&bytes);
        }
    }

    #[test]
    fn the_ledgers_body_gets_past_the_beginning() {
        // Start, reserve more, close, lower, start and carry on.
        let life: [[u8; 8]; 5] = [
            [0, 0, 0, 0, 0, 0, 0, 0],
            [8, 5, 100, 0, 0, 0, 0, 0],
            [1, 1, 3, 0, 0, 0, 0, 0],
            [4, 1, 3, 0, 0, 0, 0, 0],
            [0, 1, 3, 0x80, 0, 0, 0, 0],
        ];
        ledger(&life.concat());
    }

    #[test]
    fn the_orders_body_sees_orders() {
        let chain: Chain = replay(&first_segment(), None).unwrap();
        let unknown: Hash = [9; 32];
        let unsigned = Order {
            action: Action::Witness(0),
            number: 1,
            expires: 3,
            ledger: chain.id,
            head: unknown,
        };
        let mut signed = unsigned.unsigned();
        signed.sign(&[3; 32], &chain.keys).unwrap();
        let bytes: Vec<u8> = signed.emit();
        assert!(SignedOrder::parse(&bytes).is_ok());
        order(&bytes);
    }
}
