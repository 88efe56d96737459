use super::*;
use crate::account::Charge;
use crate::limits::side_bits;
use proptest::prelude::*;
use std::vec::Vec;

const fn us(micros: u64) -> Instant {
    Instant::from_micros(micros)
}

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
    Governor::new(Instant::ZERO, LinkCost::UdpIpv4, limits).unwrap()
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
        assert!(goes(governor.release(us(0), 10, Purpose::Frame)));
    }
    // 672 bits at 6720 bits per second take exactly 100 ms.
    assert!(matches!(
        governor.release(us(0), 10, Purpose::Frame),
        Release::At(at) if at == us(100_000)
    ));
    assert!(matches!(
        governor.release(us(99_999), 10, Purpose::Frame),
        Release::At(at) if at == us(100_000)
    ));
    assert!(goes(governor.release(us(100_000), 10, Purpose::Frame)));
    assert!(matches!(
        governor.release(us(100_000), 10, Purpose::Frame),
        Release::At(at) if at == us(200_000)
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
        assert!(goes(governor.release(us(0), 0, Purpose::Frame)));
    }
    assert_eq!(low.iter().filter(|&&low| low).count(), 2);
    assert_eq!(
        refusal(governor.release(us(u64::MAX), 0, Purpose::Frame)),
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
            .filter(|_| goes(governor.release(us(now), 0, purpose)))
            .count()
    };
    assert_eq!(count(&mut governor, 0, Purpose::Repeat), 100);
    assert_eq!(count(&mut governor, 0, Purpose::Handshake), 20);
    // Which are also all of their shares of the total.
    assert_eq!(
        refusal(governor.release(us(u64::MAX), 0, Purpose::Repeat)),
        Refused::RepeatsSpent
    );
    assert_eq!(
        refusal(governor.release(us(u64::MAX), 0, Purpose::Handshake)),
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
        let released = (0..200).map(|_| governor.release(us(now), 0, Purpose::Repeat));
        released
            .filter(|release| matches!(release, Release::Go(_)))
            .count()
    };
    assert_eq!(count(&mut governor, 0), 100);
    assert_eq!(
        refusal(governor.release(us(0), 0, Purpose::Repeat)),
        Refused::RepeatRate
    );
    // 10 % of 6720 bits per second is one short datagram per second.
    assert_eq!(count(&mut governor, 999_999), 0);
    assert_eq!(count(&mut governor, 1_000_000), 1);
    assert_eq!(count(&mut governor, 6_000_000), 5);
    // Frames did not wait for any of this.
    assert!(goes(governor.release(us(6_000_000), 0, Purpose::Frame)));
}

#[test]
fn no_share_means_none() {
    let mut governor = governor(Limits {
        repeat_percent: 0,
        handshake_percent: 0,
        ..limits()
    });
    assert_eq!(
        refusal(governor.release(us(0), 0, Purpose::Repeat)),
        Refused::RepeatsSpent
    );
    assert_eq!(
        refusal(governor.release(us(0), 0, Purpose::Handshake)),
        Refused::HandshakesSpent
    );
}

#[test]
fn repeats_and_handshakes_have_a_rate_of_their_own() {
    let mut governor = governor(Limits {
        burst: 1_000 * SHORT,
        total: 1 << 50,
        handshake_percent: 2,
        ..limits()
    });
    for (purpose, share, refused) in [
        (Purpose::Repeat, 100, Refused::RepeatRate),
        (Purpose::Handshake, 20, Refused::HandshakeRate),
    ] {
        for _ in 0..share {
            assert!(goes(governor.release(us(0), 0, purpose)));
        }
        assert_eq!(refusal(governor.release(us(0), 0, purpose)), refused);
    }
    assert!(goes(governor.release(us(0), 0, Purpose::Frame)));
}

#[test]
fn sizes_that_can_never_leave_are_refused_by_name() {
    let mut governor = governor(limits());
    assert_eq!(
        refusal(governor.release(us(0), 1_473, Purpose::Frame)),
        Refused::TooLong { len: 1_473 }
    );
    let bits = 1_538 * 8;
    assert_eq!(
        refusal(governor.release(us(0), 1_472, Purpose::Frame)),
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
        assert!(goes(huge.release(us(now), 1_472, Purpose::Frame)));
        assert!(goes(huge.release(us(now), 1_472, Purpose::Repeat)));
    }
    let mut side = governor(Limits {
        side_bits: u64::MAX,
        ..all
    });
    assert_eq!(
        refusal(side.release(us(0), 0, Purpose::Frame)),
        Refused::TooLong { len: 0 }
    );
    assert!(matches!(
        Governor::new(Instant::ZERO, LinkCost::UdpIpv4, Limits { rate: 0, ..all }),
        Err(LimitsError::NoRate)
    ));
    assert!(matches!(
        Governor::new(
            Instant::ZERO,
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
    let mut permit = || match one.release(us(0), 10, Purpose::Frame) {
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
            let release = match governor.release(us(now), len, purpose) {
                Release::At(at) => {
                    let before = us(at.micros() - 1);
                    prop_assert!(before >= us(now) && purpose == Purpose::Frame);
                    prop_assert!(matches!(governor.release(before, len, purpose), Release::At(again) if again == at));
                    now = at.micros();
                    let release = governor.release(us(now), len, purpose);
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

fn with_spans(limits: Limits, spans: &[Span]) -> Governor {
    Governor::with_account(Memory, Instant::ZERO, LinkCost::UdpIpv4, limits, spans).unwrap()
}

fn alarms(governor: &mut Governor) -> Vec<Alarm> {
    core::iter::from_fn(|| governor.poll_alarm()).collect()
}

const SECOND: u64 = 1_000_000;
const WIDE: Limits = Limits {
    rate: 1_000_000_000,
    burst: 1_000_000_000,
    total: 1_000_000_000_000,
    repeat_percent: 10,
    handshake_percent: 100,
    soft_percent: 80,
    side_bits: 0,
    tick: 0,
    handshakes_per_hour: 10 * SHORT,
    out_per_in: 0,
    reserve: 0,
};

#[test]
fn a_window_warns_then_stops_and_opens_again_when_it_has_passed() {
    let hour = Span {
        seconds: 3_600,
        bits: 10 * SHORT,
    };
    let mut governor = with_spans(WIDE, &[hour]);
    for number in 0..10 {
        assert!(goes(governor.release(us(SECOND), 0, Purpose::Frame)), "{number}");
    }
    let low = Alarm::WindowLow {
        seconds: 3_600,
        spent: 8 * SHORT,
        cap: 10 * SHORT,
    };
    let full = Alarm::WindowFull {
        seconds: 3_600,
        spent: 10 * SHORT,
        cap: 10 * SHORT,
    };
    assert_eq!(alarms(&mut governor), [low, full]);
    let Release::At(at) = governor.release(us(2 * SECOND), 0, Purpose::Frame) else {
        panic!("the window is used up");
    };
    // An hour later, and at most a 64th more.
    assert!((us(3_600 * SECOND)..us(3_660 * SECOND)).contains(&at), "{at:?}");
    assert_eq!(
        refusal(governor.release(us(2 * SECOND), 0, Purpose::Repeat)),
        Refused::WindowSpent { seconds: 3_600 }
    );
    assert!(goes(governor.release(at, 0, Purpose::Frame)));
    assert_eq!(alarms(&mut governor), []);
    for _ in 0..9 {
        assert!(goes(governor.release(at, 0, Purpose::Frame)));
    }
    // It happened again, so it is said again.
    assert_eq!(alarms(&mut governor).len(), 2);
}

#[test]
fn of_two_windows_of_one_length_the_stricter_holds_and_all_lengths_hold() {
    let span = |seconds, shorts: u64| Span {
        seconds,
        bits: shorts * SHORT,
    };
    let mut governor = with_spans(WIDE, &[span(60, 9), span(60, 3), span(60, 5), span(3_600, 4)]);
    let count = |governor: &mut Governor, now| {
        (0..20)
            .filter(|_| goes(governor.release(us(now), 0, Purpose::Frame)))
            .count()
    };
    assert_eq!(count(&mut governor, 0), 3);
    assert_eq!(count(&mut governor, 120 * SECOND), 1);
    assert_eq!(count(&mut governor, 3_700 * SECOND), 3);
}

#[test]
fn repeats_take_a_tenth_of_a_window_and_no_more_whatever_is_configured() {
    let span = Span {
        seconds: 60,
        bits: 100 * SHORT,
    };
    for (percent, expected) in [(100, 10), (10, 10), (4, 4), (0, 0)] {
        let limits = Limits {
            repeat_percent: percent,
            ..WIDE
        };
        let mut governor = with_spans(limits, &[span]);
        let repeats = (0..50)
            .filter(|_| goes(governor.release(us(0), 0, Purpose::Repeat)))
            .count();
        assert_eq!(repeats, expected, "{percent}");
        if percent > 0 {
            let refused = refusal(governor.release(us(0), 0, Purpose::Repeat));
            assert_eq!(refused, Refused::WindowSpent { seconds: 60 });
            assert!(!refused.is_final());
        }
        assert!(goes(governor.release(us(0), 0, Purpose::Frame)));
    }
}

#[test]
fn handshakes_have_an_hour() {
    let mut governor = with_spans(WIDE, &[]);
    let count = |governor: &mut Governor, now| {
        (0..50)
            .filter(|_| goes(governor.release(us(now), 0, Purpose::Handshake)))
            .count()
    };
    assert_eq!(count(&mut governor, 0), 10);
    assert_eq!(
        refusal(governor.release(us(0), 0, Purpose::Handshake)),
        Refused::HandshakeHour
    );
    assert_eq!(count(&mut governor, 3_000 * SECOND), 0);
    assert_eq!(count(&mut governor, 3_700 * SECOND), 10);
}

#[test]
fn what_a_window_never_lets_out_is_refused_by_name_and_a_window_has_a_length() {
    let span = Span {
        seconds: 60,
        bits: SHORT - 1,
    };
    let refused = refusal(with_spans(WIDE, &[span]).release(us(0), 0, Purpose::Frame));
    assert_eq!(
        refused,
        Refused::AboveWindow {
            bits: SHORT,
            seconds: 60,
            cap: SHORT - 1
        }
    );
    assert!(refused.is_final() && !refused.is_end());
    let none = Span { seconds: 0, bits: 1 };
    let error = Governor::with_account(Memory, Instant::ZERO, LinkCost::UdpIpv4, WIDE, &[none]).unwrap_err();
    assert_eq!(error, LimitsError::NoTime);
}

#[test]
fn a_moment_is_charged_for_the_ticks_that_were_let_pass() {
    let limits = Limits {
        tick: 100_000,
        side_bits: 11,
        ..WIDE
    };
    let mut governor = with_spans(limits, &[]);
    let mut charge = |tick: u64| match governor.release(us(tick * 100_000 + 7), 0, Purpose::Frame) {
        Release::Go(permit) => permit.bits() - SHORT - 11,
        other => panic!("{other:?}"),
    };
    // Elias gamma of the gap and one: the same tick, the next, and after long silences.
    for (tick, bits) in [
        (0, 1),
        (1, 3),
        (1, 1),
        (2, 3),
        (4, 3),
        (7, 5),
        (8, 3),
        (1_008, 19),
        (1_009, 3),
    ] {
        assert_eq!(charge(tick), bits, "tick {tick}");
    }
    let dearest = limits.dearest(LinkCost::UdpIpv4, 0).unwrap();
    assert_eq!(dearest, SHORT + 11 + 127);
    assert_eq!(limits.dearest(LinkCost::UdpIpv4, 1_473), None);
}

#[test]
fn charges_for_moments_are_lengths_of_a_prefix_code() {
    // Kraft: no plan of moments can say more than it is charged.
    let sum: f64 = (0..1_u64 << 20)
        .map(|gap| 0.5_f64.powi(gap_bits(gap) as i32))
        .sum();
    assert!(sum <= 1.0 && sum > 0.999, "{sum}");
    assert_eq!(gap_bits(u64::MAX), 127);
}

#[test]
fn side_bits_are_the_logarithm_of_what_is_left_open() {
    for (choices, bits) in [
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 2),
        (5, 3),
        (1_473, 11),
        (2_048, 11),
        (2_049, 12),
    ] {
        assert_eq!(side_bits(choices), bits, "{choices}");
    }
    assert_eq!(side_bits(u64::MAX), 64);
}

#[test]
fn more_out_than_in_is_an_alarm_and_no_more() {
    let limits = Limits {
        out_per_in: 2,
        burst: 10 * SHORT,
        ..WIDE
    };
    let mut governor = with_spans(limits, &[]);
    let mut now = 0;
    let mut send = |governor: &mut Governor| {
        now += SECOND;
        assert!(goes(governor.release(us(now), 0, Purpose::Frame)));
    };
    // Twice as much is as it should be.
    for pair in 0..20 {
        governor.received(us(pair * 2 * SECOND), 0);
        send(&mut governor);
        send(&mut governor);
    }
    assert_eq!(alarms(&mut governor), []);
    send(&mut governor);
    let outward = 41 * SHORT;
    let inward = 20 * SHORT;
    assert_eq!(alarms(&mut governor), [Alarm::Ratio { outward, inward }]);
    send(&mut governor);
    assert_eq!(alarms(&mut governor), []);
}

#[test]
fn the_total_warns_once() {
    let mut governor = governor(Limits {
        total: 10 * SHORT,
        ..limits()
    });
    for _ in 0..9 {
        assert!(goes(governor.release(us(0), 0, Purpose::Frame)));
    }
    let spent = 8 * SHORT;
    let total = 10 * SHORT;
    assert_eq!(alarms(&mut governor), [Alarm::TotalLow { spent, total }]);
}

#[test]
fn what_waits_says_for_what() {
    let limits = Limits {
        rate: 672,
        burst: 4 * SHORT,
        ..WIDE
    };
    let minute = Span {
        seconds: 60,
        bits: 3 * SHORT,
    };
    let mut governor = with_spans(limits, &[minute]);
    for _ in 0..3 {
        assert!(goes(governor.release(us(0), 0, Purpose::Frame)));
        assert_eq!(governor.wait(), None);
    }
    assert!(matches!(
        governor.release(us(0), 0, Purpose::Frame),
        Release::At(_)
    ));
    assert_eq!(governor.wait().unwrap().window, Some(60));
    assert!(matches!(
        governor.release(us(0), 0, Purpose::Repeat),
        Release::Refuse(Refused::WindowSpent { .. })
    ));
    assert!(governor.wait().unwrap().until > us(60 * SECOND));
    let mut governor = with_spans(limits, &[]);
    for _ in 0..4 {
        assert!(goes(governor.release(us(0), 0, Purpose::Frame)));
    }
    assert!(matches!(
        governor.release(us(0), 0, Purpose::Frame),
        Release::At(_)
    ));
    let wait = Wait {
        until: us(SECOND),
        window: None,
    };
    assert_eq!(governor.wait(), Some(wait));
}

proptest! {
    /// A reserve adds nothing: window and total hold all the same, and whoever asks with handshakes last gets one through.
    #[test]
    fn limits_hold_with_a_reserve(
        reserve in 0_u64..20 * SHORT,
        cap in 40 * SHORT..400 * SHORT,
        asks in prop::collection::vec((0_u64..200_000_000, 0_usize..200, 0_u8..3), 1..300),
    ) {
        let span = Span { seconds: 60, bits: cap };
        let limits = Limits { reserve, total: 5 * cap, handshakes_per_hour: u64::MAX, ..WIDE };
        let mut governor = with_spans(limits, &[span]);
        let mut sent: Vec<(u64, u64)> = Vec::new();
        let mut now = 0;
        for (wait, len, purpose) in asks {
            now += wait;
            let purpose = [Purpose::Frame, Purpose::Repeat, Purpose::Handshake][usize::from(purpose)];
            if let Release::Go(permit) = governor.release(us(now), len, purpose) {
                sent.push((now, permit.bits()));
            }
        }
        prop_assert!(governor.counters().bits() <= limits.total);
        for (first, &(from, _)) in sent.iter().enumerate() {
            let within = sent[first..].iter().take_while(|&&(at, _)| at - from < 60 * SECOND);
            prop_assert!(within.map(|&(_, bits)| bits).sum::<u64>() <= cap);
        }
        // A minute later frames use up all that they may.
        now += 61 * SECOND;
        let before = governor.counters().bits();
        while goes(governor.release(us(now), 0, Purpose::Frame)) {}
        if limits.kept(cap) >= SHORT && before + 2 * cap <= limits.total {
            prop_assert!(goes(governor.release(us(now), 0, Purpose::Handshake)));
        }
    }
}

/// An account with a window of its own that began 1,000 s before the governor; it may be broken.
struct Purse {
    lifetime: Lifetime,
    breaks: bool,
    asked: Vec<(Instant, u64, Purpose)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("torn")]
struct Torn;

impl Account for Purse {
    type Error = Torn;

    fn lifetime(&self) -> Option<Lifetime> {
        Some(self.lifetime)
    }

    fn windows(&self) -> impl Iterator<Item = Span> {
        let bits = 4 * SHORT;
        core::iter::once(Span { seconds: 60, bits })
    }

    fn past(&self) -> impl Iterator<Item = Charge> {
        core::iter::once(Charge {
            time: us(1_000 * SECOND),
            bits: SHORT,
            repeats: 0,
            handshakes: 0,
        })
    }

    fn time(&self, now: Instant) -> Instant {
        us(now.micros() + 1_000 * SECOND)
    }

    fn draw(&mut self, now: Instant, bits: u64, purpose: Purpose) -> Result<(), Denied<Torn>> {
        if self.breaks {
            return Err(Denied::Broken(Torn));
        }
        if bits > 2 * SHORT {
            let block = 2 * SHORT;
            return Err(Denied::AboveBlock { bits, block });
        }
        self.asked.push((now, bits, purpose));
        self.lifetime.spent += bits;
        Ok(())
    }

    fn draw_reserved(&mut self, _: u64) -> u64 {
        1
    }

    fn prepare(&mut self, _: Instant) -> Result<(), Torn> {
        self.broken().map_or(Ok(()), Err)
    }

    fn close(self, _: Instant) -> Result<(), Torn> {
        self.broken().map_or(Ok(()), Err)
    }

    fn broken(&self) -> Option<Torn> {
        self.breaks.then_some(Torn)
    }
}

#[test]
fn a_permit_is_made_when_the_account_has_drawn_it_and_not_else() {
    let purse = |shorts: u64, breaks| {
        let lifetime = Lifetime {
            total: shorts * SHORT,
            ..Lifetime::default()
        };
        let asked = Vec::new();
        let purse = Purse {
            lifetime,
            breaks,
            asked,
        };
        Governor::with_account(purse, us(5), LinkCost::UdpIpv4, WIDE, &[]).unwrap()
    };
    // What was charged before counts in the account's window, on the account's time.
    let mut governor = purse(100, false);
    let releases = (0..4).map(|_| governor.release(us(5), 0, Purpose::Frame));
    assert_eq!(
        releases
            .filter(|release| matches!(release, Release::Go(_)))
            .count(),
        3
    );
    assert_eq!(governor.account().asked, [(us(5), SHORT, Purpose::Frame); 3]);
    assert_eq!(governor.spent(), (3 * SHORT, 100 * SHORT));
    governor.tell(us(5), &[1_000], 4);
    assert_eq!(governor.counters().told, 1);
    let Some(Wait {
        until,
        window: Some(60),
    }) = governor.wait()
    else {
        panic!("{:?}", governor.wait());
    };
    assert!((us(60 * SECOND)..us(61 * SECOND)).contains(&until), "{until:?}");
    assert_eq!(governor.close(us(6)), Ok(()));
    // A total, a block, and an account that is broken.
    let mut governor = purse(1, false);
    assert!(matches!(
        governor.release(us(5), 0, Purpose::Frame),
        Release::Go(_)
    ));
    let Release::Refuse(Refused::TotalSpent) = governor.release(us(5), 0, Purpose::Frame) else {
        panic!("the total is spent");
    };
    let mut governor = purse(100, false);
    let (bits, block) = (84 * 8 * 2 + 8, 2 * SHORT);
    let len = 18 + 84 + 1;
    let Release::Refuse(why) = governor.release(us(5), len, Purpose::Frame) else {
        panic!("above the block");
    };
    assert_eq!(why, Refused::AboveBlock { bits, block });
    assert!(why.is_final() && !why.is_end());
    let mut governor = purse(100, true);
    let Release::Refuse(why) = governor.release(us(5), 0, Purpose::Frame) else {
        panic!("broken");
    };
    assert!(why == Refused::Ledger(Torn) && why.is_final() && why.is_end());
    assert_eq!(governor.poll_alarm(), Some(Alarm::Ledger(Torn)));
    assert_eq!(governor.counters().bits(), 0);
    assert_eq!(governor.close(us(6)), Err(Torn));
}

/// Whatever frames and repeats do, one handshake can leave: of a window, of this program's total.
#[test]
fn a_reserve_is_left_when_frames_have_used_everything_up() {
    let reserve = 3 * SHORT;
    let hour = Span {
        seconds: 3_600,
        bits: 100 * SHORT,
    };
    let own = Limits {
        total: 100 * SHORT,
        reserve,
        ..WIDE
    };
    let wide = Limits { reserve, ..WIDE };
    for (mut governor, window) in [
        (with_spans(wide, &[hour]), Some(3_600)),
        (with_spans(own, &[]), None),
    ] {
        let count = |governor: &mut Governor, purpose| {
            (0..200)
                .filter(|_| goes(governor.release(us(SECOND), 0, purpose)))
                .count()
        };
        assert_eq!(count(&mut governor, Purpose::Frame), 97);
        assert_eq!(count(&mut governor, Purpose::Repeat), 0);
        match (window, governor.release(us(SECOND), 0, Purpose::Frame)) {
            (Some(_), Release::At(until)) => assert_eq!(governor.wait(), Some(Wait { until, window })),
            (None, Release::Refuse(Refused::TotalSpent)) => assert_eq!(governor.wait(), None),
            (_, other) => panic!("{other:?}"),
        }
        assert_eq!(count(&mut governor, Purpose::Handshake), 3);
        assert_eq!(governor.counters().bits(), 100 * SHORT);
    }
    // A small limit is not eaten up by what is kept of it.
    assert_eq!(
        (wide.kept(16 * SHORT), wide.kept(10), wide.kept(u64::MAX)),
        (SHORT, 0, reserve)
    );
}

#[test]
fn what_is_told_without_a_datagram_is_charged_as_far_as_the_total_goes() {
    let limits = Limits {
        total: 700,
        ..limits()
    };
    let mut governor = governor(limits);
    assert!(goes(governor.release(us(0), 0, Purpose::Frame)));
    governor.tell(us(0), &[u64::MAX; 3], 4);
    assert_eq!(governor.counters().bits(), 700);
}
