use super::*;
use proptest::prelude::*;
use std::vec::Vec;

/// 84 bytes on the wire and no side bits: 672 bits for any short datagram.
const SHORT: u64 = 672;

fn limits() -> Limits {
    Limits {
        rate: 6_720,
        burst: 10 * SHORT,
        total: 1_000 * SHORT,
        side_bits: 0,
        ..Limits::default()
    }
}

fn governor(limits: Limits) -> Governor {
    Governor::new(0, LinkCost::UdpIpv4, limits).unwrap()
}

fn goes(release: Release) -> bool {
    matches!(release, Release::Go(_))
}

fn refusal(release: Release) -> Refused {
    match release {
        Release::Refuse(refused) => refused,
        other => panic!("{other:?}"),
    }
}

#[test]
fn burst_then_rate() {
    let mut governor = governor(limits());
    for _ in 0..10 {
        assert!(goes(governor.release(0, 10, Purpose::Frame)));
    }
    // 672 bits at 6720 bits per second take exactly 100 ms.
    assert!(matches!(
        governor.release(0, 10, Purpose::Frame),
        Release::At(100_000)
    ));
    assert!(matches!(
        governor.release(99_999, 10, Purpose::Frame),
        Release::At(100_000)
    ));
    assert!(goes(governor.release(100_000, 10, Purpose::Frame)));
    assert!(matches!(
        governor.release(100_000, 10, Purpose::Frame),
        Release::At(200_000)
    ));
    assert_eq!(
        governor.counters().frames,
        Spent {
            datagrams: 11,
            bytes: 110,
            bits: 11 * SHORT
        }
    );
}

#[test]
fn total_is_a_hard_limit_and_soft_warns_before() {
    let mut governor = governor(Limits {
        total: 10 * SHORT,
        ..limits()
    });
    let mut low = Vec::new();
    for _ in 0..10 {
        low.push(governor.is_low());
        assert!(goes(governor.release(0, 0, Purpose::Frame)));
    }
    assert_eq!(low.iter().filter(|&&low| low).count(), 2);
    assert_eq!(
        refusal(governor.release(u64::MAX, 0, Purpose::Frame)),
        Refused::TotalSpent
    );
    assert_eq!(governor.left(), 0);
    assert_eq!(governor.counters().refused, 1);
}

#[test]
fn repeats_and_handshakes_stay_within_their_shares() {
    let limits = Limits {
        burst: 1_000 * SHORT,
        handshake_percent: 2,
        ..limits()
    };
    let mut governor = governor(limits);
    // Shares of the burst: 10 % and 2 %.
    let count = |governor: &mut Governor, now, purpose| {
        (0..1_000)
            .filter(|_| goes(governor.release(now, 0, purpose)))
            .count()
    };
    assert_eq!(count(&mut governor, 0, Purpose::Repeat), 100);
    assert_eq!(count(&mut governor, 0, Purpose::Handshake), 20);
    // Which are also all of their shares of the total.
    assert_eq!(
        refusal(governor.release(u64::MAX, 0, Purpose::Repeat)),
        Refused::RepeatsSpent
    );
    assert_eq!(
        refusal(governor.release(u64::MAX, 0, Purpose::Handshake)),
        Refused::HandshakesSpent
    );
    // Frames still have the rest.
    assert_eq!(count(&mut governor, u64::MAX, Purpose::Frame), 880);
}

#[test]
fn a_share_that_is_empty_for_now_refuses_at_once_and_refills_at_its_rate() {
    let mut governor = governor(Limits {
        burst: 1_000 * SHORT,
        total: 100_000 * SHORT,
        ..limits()
    });
    let count = |governor: &mut Governor, now| {
        let released = (0..200).map(|_| governor.release(now, 0, Purpose::Repeat));
        released
            .filter(|release| matches!(release, Release::Go(_)))
            .count()
    };
    assert_eq!(count(&mut governor, 0), 100);
    assert_eq!(
        refusal(governor.release(0, 0, Purpose::Repeat)),
        Refused::RepeatRate
    );
    // 10 % of 6720 bits per second is one short datagram per second.
    assert_eq!(count(&mut governor, 999_999), 0);
    assert_eq!(count(&mut governor, 1_000_000), 1);
    assert_eq!(count(&mut governor, 6_000_000), 5);
    // Frames did not wait for any of this.
    assert!(goes(governor.release(6_000_000, 0, Purpose::Frame)));
}

#[test]
fn no_share_means_none() {
    let mut governor = governor(Limits {
        repeat_percent: 0,
        handshake_percent: 0,
        ..limits()
    });
    assert_eq!(
        refusal(governor.release(0, 0, Purpose::Repeat)),
        Refused::RepeatsSpent
    );
    assert_eq!(
        refusal(governor.release(0, 0, Purpose::Handshake)),
        Refused::HandshakesSpent
    );
}

#[test]
fn sizes_that_can_never_leave_are_refused_by_name() {
    let mut governor = governor(limits());
    assert_eq!(
        refusal(governor.release(0, 1_473, Purpose::Frame)),
        Refused::TooLong { len: 1_473 }
    );
    let bits = 1_538 * 8;
    assert_eq!(
        refusal(governor.release(0, 1_472, Purpose::Frame)),
        Refused::AboveBurst { bits, burst: 6_720 }
    );
}

#[test]
fn extremes_do_not_overflow() {
    let all = Limits {
        rate: u64::MAX,
        burst: u64::MAX,
        total: u64::MAX,
        side_bits: 0,
        ..Limits::default()
    };
    let mut huge = governor(all);
    for now in [0, 1, u64::MAX, u64::MAX, 0] {
        assert!(goes(huge.release(now, 1_472, Purpose::Frame)));
        assert!(goes(huge.release(now, 1_472, Purpose::Repeat)));
    }
    let mut side = governor(Limits {
        side_bits: u64::MAX,
        ..all
    });
    assert_eq!(
        refusal(side.release(0, 0, Purpose::Frame)),
        Refused::TooLong { len: 0 }
    );
    assert!(matches!(
        Governor::new(0, LinkCost::UdpIpv4, Limits { rate: 0, ..all }),
        Err(LimitsError::NoRate)
    ));
    assert!(matches!(
        Governor::new(
            0,
            LinkCost::UdpIpv4,
            Limits {
                soft_percent: 101,
                ..all
            }
        ),
        Err(LimitsError::Percent {
            name: "soft_percent",
            percent: 101
        })
    ));
}

#[test]
fn a_permit_is_for_one_length_and_one_governor() {
    use crate::permit::Mismatch;
    let (mut one, other) = (governor(limits()), governor(limits()));
    let mut permit = || match one.release(0, 10, Purpose::Frame) {
        Release::Go(permit) => permit,
        other => panic!("{other:?}"),
    };
    let (first, second, third) = (permit(), permit(), permit());
    assert_eq!(
        first.redeem(one.id(), 11),
        Err(Mismatch::Length {
            permitted: 10,
            len: 11
        })
    );
    assert_eq!(second.redeem(other.id(), 10), Err(Mismatch::Governor));
    assert_eq!(third.redeem(one.id(), 10), Ok(()));
}

proptest! {
    /// Whatever is asked when: in no stretch of time more than burst + rate * time leaves, never more than the
    /// total, nor more than a share; and a frame that waits until the time it is told may leave then.
    #[test]
    fn limits_hold_for_all_traffic(
        rate in 1_u64..100_000,
        burst in 1_000_u64..100_000,
        total in 1_000_u64..3_000_000,
        asks in prop::collection::vec((0_u64..2_000_000, 0_usize..1_500, 0_u8..3), 1..200),
    ) {
        let limits = Limits { rate, burst, total, ..Limits::default() };
        let mut governor = governor(limits);
        let mut now = 0;
        let mut sent: Vec<(u64, u64)> = Vec::new();
        for (wait, len, purpose) in asks {
            now += wait;
            let purpose = [Purpose::Frame, Purpose::Repeat, Purpose::Handshake][usize::from(purpose)];
            let release = match governor.release(now, len, purpose) {
                Release::At(at) => {
                    prop_assert!(at > now && purpose == Purpose::Frame);
                    prop_assert!(matches!(governor.release(at - 1, len, purpose), Release::At(again) if again == at));
                    now = at;
                    let release = governor.release(now, len, purpose);
                    prop_assert!(matches!(release, Release::Go(_)));
                    release
                }
                release => release,
            };
            if let Release::Go(permit) = release {
                sent.push((now, permit.bits()));
            }
        }
        let counters = governor.counters();
        prop_assert!(counters.bits() <= total);
        prop_assert_eq!(counters.bits(), sent.iter().map(|&(_, bits)| bits).sum::<u64>());
        prop_assert!(counters.repeats.bits <= total / 10);
        prop_assert!(counters.handshakes.bits <= total / 100);
        for (first, &(from, _)) in sent.iter().enumerate() {
            let mut bits = 0;
            for &(at, more) in &sent[first..] {
                bits += u128::from(more);
                let allowed = u128::from(burst) * 1_000_000 + u128::from(rate) * u128::from(at - from);
                prop_assert!(bits * 1_000_000 <= allowed);
            }
        }
    }
}
