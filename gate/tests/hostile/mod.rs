//! A gate under rules, limits and frames that bytes choose, and everything that must hold on every tick. SPEC 7.2, 9.1.
//! The property test and the fuzz target run the same function.

use weir_gate::{Cut, Rules, Valve};
use weir_meter::{Governor, Instant, Limits, LinkCost};
use weir_wire::frame::Frame;
use weir_wire::{CheckWidth, IdWidth, Parameters, Shape};

/// Bytes as a source of choices; zeros when they are used up.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl Input<'_> {
    fn number(&mut self, bytes: usize) -> u64 {
        let (taken, rest) = self.0.split_at(self.0.len().min(bytes));
        self.0 = rest;
        taken
            .iter()
            .fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.number(4) % bound
    }
}

/// Rules and limits, of all that an operator may write.
fn setting(input: &mut Input<'_>) -> (Rules, Limits) {
    let mut parameters = Parameters {
        shape: Shape(input.below(3) as u8),
        mtu: 32 + input.below(1441) as u16,
        window: 1,
        ..Parameters::default()
    };
    if input.below(2) == 1 {
        parameters.format.id = IdWidth::Two;
    }
    if input.below(2) == 1 {
        parameters.format.check = CheckWidth::Two;
    }
    parameters.batches = 1 + input.below(250) as u16;
    let rules = Rules {
        strikes_max: if input.below(4) > 0 {
            u32::MAX
        } else {
            input.below(20) as u32
        },
        strike_ticks: 1 + input.below(10) as u32,
        absent_max: input.below(30) as u32,
        queue_bytes: usize::from(parameters.mtu) * (1 + input.below(300) as usize),
        parameters,
    };
    let limits = Limits {
        rate: 1 + input.below(1_000_000),
        burst: input.below(2_000_000),
        total: input.below(3_000_000),
        repeat_percent: input.below(101) as u8,
        handshake_percent: input.below(101) as u8,
        side_bits: rules.side_bits(),
        ..Limits::default()
    };
    (rules, limits)
}

/// What a hostile inner sends: half well-formed, so that it is worth trying.
fn frame(input: &mut Input<'_>, parameters: &Parameters) -> Vec<u8> {
    let trick = input.below(8);
    let len = input.below(u64::from(parameters.mtu) + 3) as usize;
    let least = parameters.format.header_len();
    let len = match trick {
        0 => len,
        _ => parameters
            .shape
            .padded(parameters, len.clamp(least, usize::from(parameters.mtu))),
    };
    let id = match input.below(8) {
        0 => input.number(2) as u16,
        1 => parameters.format.id.control(),
        _ => input.below(u64::from(parameters.batches)) as u16,
    };
    let mut frame = vec![trick as u8; len];
    let id = &id.to_be_bytes()[2 - parameters.format.id.bytes()..];
    let n = id.len().min(len);
    frame[..n].copy_from_slice(&id[..n]);
    frame
}

/// Runs it; stops where something does not hold.
pub(crate) fn run(mut input: Input<'_>) {
    let input = &mut input;
    let (rules, limits) = setting(input);
    let parameters = &rules.parameters;
    let mut valve = Valve::new(rules).expect("rules in range");
    let mut governor = Governor::new(Instant::ZERO, LinkCost::UdpIpv4, limits).expect("limits in range");
    let (id, mut tap, mut charged, mut now) = (governor.id(), 0, 0, 0);
    while !input.0.is_empty() {
        // Ids that ascend now and then, or a tick would hardly ever have more than two.
        let mut frames: Vec<Vec<u8>> = (0..input.below(40)).map(|_| frame(input, parameters)).collect();
        if input.below(2) == 1 {
            frames.sort();
        }
        for frame in frames {
            let _counted = valve.offer(&frame);
        }
        now += input.below(200_000);
        let was_cut = valve.is_cut();
        let mut last = None;
        let mut left = 0;
        let result = valve.tick(Instant::from_micros(now), &mut governor, |leaving| {
            for (permit, frame) in leaving {
                charged += permit.bits();
                permit
                    .redeem(id, frame.len())
                    .expect("a permit for this very frame");
                assert!(parameters.shape.allows(parameters, frame.len()));
                let batch = Frame::new_checked(parameters.format, frame)
                    .expect("id and check")
                    .batch();
                assert!(last < Some(batch), "ids ascend, one frame of each");
                assert!(batch < parameters.batches || batch == parameters.format.id.control());
                last = Some(batch);
                left += 1;
                tap += LinkCost::UdpIpv4.bits(frame.len()).expect("the link takes it");
            }
        });
        // The tap's own count of the link never passes the cap, and neither does what is charged, which is more.
        assert!(
            tap <= charged && charged <= limits.total,
            "{tap} {charged} {limits:?}"
        );
        let most = u128::from(limits.burst) + u128::from(limits.rate) * u128::from(now) / 1_000_000;
        assert!(u128::from(charged) <= most, "faster than the rate");
        assert!(was_cut.is_none() || (left == 0 && result == was_cut.map_or(Ok(()), Err)));
        assert!(matches!(result, Ok(()) | Err(Cut::Spent)) || left == 0);
        assert!(!rules.is_constant() || left <= 1);
    }
    assert_eq!(governor.counters().bits(), charged);
    let counters = valve.counters();
    let fates = counters.violations() + counters.full + counters.cut + counters.rate + counters.refused;
    let own = counters.released - counters.absent;
    assert_eq!(
        fates + own,
        counters.offered,
        "every frame has one fate: {counters:?}"
    );
}
