use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use weir_codec::{Query, Sampling};
use weir_wire::{Agreement, Budget, InnerConfig, InnerSession, OuterConfig, Parameters};

use super::*;
use crate::reader::Read;

/// A pump, and inner's session at the other end of a perfect link.
struct World {
    now: Instant,
    pump: Pump,
    inner: InnerSession,
    orders: Orders,
    next: u64,
    health: Arc<Health>,
}

const PARAMETERS: fn() -> Parameters = Parameters::default;
const AGREEMENT: Agreement = Agreement {
    model: [1; 32],
    tokenizer: [2; 32],
    codec: [3; 32],
    service: [0; 32],
};

impl World {
    /// An open session with `slots` slots and a queue of two.
    fn new(slots: u8) -> Self {
        let session = OuterSession::new(OuterConfig::new(PARAMETERS(), AGREEMENT)).unwrap();
        let health = Arc::new(Health::new("not yet"));
        let admission = Admission::new(1, slots, 4096, 2);
        let patience = Duration::from_secs(60);
        let pump = Pump::new(
            session,
            admission,
            patience,
            Arc::clone(&health),
            Metrics::default(),
        );
        let now = Instant::from_micros(5_000_000);
        let mut world = Self {
            now,
            pump,
            inner: inner(),
            orders: Vec::new(),
            next: 0,
            health,
        };
        assert!(world.health.get().is_err());
        world.run(3);
        assert_eq!(world.health.get(), Ok(()));
        world.orders.clear();
        world
    }

    /// Lets `seconds` pass, each datagram arriving at once.
    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        let mut datagram = Vec::new();
        loop {
            let session = self.next;
            self.pump.tick(self.now, || session + 77, &mut self.orders);
            self.next += 1;
            while self.pump.poll_transmit(self.now, &mut datagram, &mut self.orders) {
                let _ = self.inner.recv(self.now, &datagram);
            }
            while self.inner.poll_transmit(self.now, &mut datagram).is_some() {
                let _ = self.pump.recv(self.now, &datagram, &mut self.orders);
            }
            let times = [self.pump.poll_at(), self.inner.poll_at(), Some(end)];
            let next = times.into_iter().flatten().min().unwrap();
            if self.now >= end {
                return;
            }
            self.now = next.max(self.now + Duration::from_millis(1)).min(end);
        }
    }

    fn ask(&mut self, id: u64) -> UnboundedReceiver<Event> {
        let (events, inbox) = unbounded_channel();
        let query = Query {
            seed: [7; 16],
            sampling: Sampling::GREEDY,
            max_tokens: 20,
            stop: Vec::new(),
            prompt: vec![1, 2, 3],
        };
        self.pump.command(
            self.now,
            Command::Ask(Ask {
                id,
                query,
                source: weir_wire::Source::Tokens,
                events,
                _seat: None,
            }),
            &mut self.orders,
        );
        inbox
    }

    fn cancel(&mut self, id: u64) {
        self.pump.command(self.now, Command::Cancel(id), &mut self.orders);
    }

    /// The next message at inner: `Some(slot)` of a query, or of a cancel as `Err`.
    fn taken(&mut self) -> Option<Result<u8, u8>> {
        self.inner.take_in(0).map(|message| match message {
            Message::Query(query) => Ok(query.slot),
            Message::Cancel { slot } => Err(slot),
        })
    }

    /// Inner sends a frame; the reader says of it what `read` says.
    fn frame(&mut self, taken_in: u32, ended: Vec<(u8, u64)>, live: bool) {
        self.inner
            .submit(self.now, 0, b"code", u64::from(taken_in))
            .unwrap();
        self.run(1);
        let frame = self
            .orders
            .iter()
            .position(|(_, order)| matches!(order, Order::Frame(_)));
        assert!(matches!(self.orders.remove(frame.unwrap()), (0, Order::Frame(code)) if code == b"code"));
        let session = self.pump.session.session();
        let read = Ok(Read {
            taken_in,
            digest: u64::from(taken_in),
            live,
            ended,
        });
        self.pump.report(
            self.now,
            Report {
                batch: 0,
                session,
                read,
            },
            &mut self.orders,
        );
    }
}

fn inner() -> InnerSession {
    InnerSession::new(Instant::ZERO, InnerConfig::new(PARAMETERS(), AGREEMENT)).unwrap()
}

fn failure(inbox: &mut UnboundedReceiver<Event>) -> Failure {
    loop {
        if let Event::Failed(failure) = inbox.try_recv().unwrap() {
            return failure;
        }
    }
}

#[test]
fn a_slot_is_used_again_when_its_answer_has_ended() {
    let mut world = World::new(1);
    let mut first = world.ask(1);
    let mut second = world.ask(2);
    assert_eq!(first.try_recv(), Ok(Event::Admitted));
    assert!(second.try_recv().is_err());
    world.run(1);
    assert_eq!(world.taken(), Some(Ok(0)));
    assert_eq!(world.taken(), None);
    assert!(matches!(&world.orders[..], [(0, Order::Open(0, ask))] if ask.id == 1));
    world.frame(1, Vec::new(), true);
    assert!(second.try_recv().is_err());
    world.frame(1, vec![(0, 1)], false);
    assert_eq!(second.try_recv(), Ok(Event::Admitted));
    world.run(1);
    assert_eq!(world.taken(), Some(Ok(0)));
}

#[test]
fn a_cancel_frees_its_slot_and_goes_before_the_next_query() {
    let mut world = World::new(1);
    let _first = world.ask(1);
    let mut second = world.ask(2);
    world.cancel(1);
    assert_eq!(second.try_recv(), Ok(Event::Admitted));
    world.run(1);
    let messages: Vec<_> = std::iter::from_fn(|| world.taken()).collect();
    assert_eq!(messages, [Ok(0), Err(0), Ok(0)]);
    assert!(matches!(&world.orders[..], [
        (0, Order::Open(0, first)), (0, Order::Cancel(0)), (0, Order::Open(0, second)),
    ] if first.id == 1 && second.id == 2));
    // The first answer's end comes late, and does not free the second's slot.
    world.frame(1, vec![(0, 1)], true);
    assert_eq!(
        world.pump.admission.place_of(2),
        Some(Place { batch: 0, slot: 0 })
    );
    // One that waits is just forgotten, one that is unknown too.
    let _third = world.ask(3);
    world.cancel(3);
    world.cancel(99);
    assert_eq!(world.pump.admission.queued(), 0);
}

#[test]
fn the_queue_is_bounded_and_patience_ends() {
    let mut world = World::new(1);
    let _live = world.ask(0);
    let mut late = world.ask(1);
    let _other = world.ask(2);
    let mut many = world.ask(3);
    assert_eq!(failure(&mut many), Failure::Busy { limit: 2 });
    // Inner must say something, or it would count as lost.
    for _ in 0..61 {
        world.run(1);
        world.frame(1, Vec::new(), true);
    }
    assert_eq!(failure(&mut late), Failure::Waited { seconds: 60 });
}

#[test]
fn a_lost_session_fails_everything_and_comes_back() {
    let mut world = World::new(1);
    let _live = world.ask(1);
    let mut waiting = world.ask(2);
    world.run(1);
    // Inner restarts: it knows no session.
    world.inner = inner();
    world.run(30);
    assert!(matches!(failure(&mut waiting), Failure::Away(_)));
    let ends: Vec<_> = world
        .orders
        .iter()
        .filter(|(_, order)| matches!(order, Order::Session(..)))
        .collect();
    assert!(
        matches!(ends[0], (0, Order::Session(_, Failure::Lost(_)))),
        "{ends:?}"
    );
    assert_eq!(world.pump.session.state(), State::Open, "a new session");
    assert_eq!(world.health.get(), Ok(()));
    let mut again = world.ask(3);
    assert_eq!(again.try_recv(), Ok(Event::Admitted));
}

#[test]
fn silence_is_reported_to_users() {
    let mut world = World::new(1);
    let _live = world.ask(1);
    // Nothing comes back.
    let (mut datagram, end) = (Vec::new(), world.now + Duration::from_secs(40));
    while world.now < end && world.health.get().is_ok() {
        world.pump.tick(world.now, || 5, &mut world.orders);
        while world
            .pump
            .poll_transmit(world.now, &mut datagram, &mut world.orders)
        {}
        world.now = world
            .pump
            .poll_at()
            .unwrap()
            .max(world.now + Duration::from_millis(1));
    }
    assert!(world.health.get().unwrap_err().to_string().contains("silent"));
    let mut refused = world.ask(2);
    assert!(matches!(failure(&mut refused), Failure::Away(reason) if reason.contains("silent")));
}

#[test]
fn a_frame_that_cannot_be_read_ends_the_session() {
    let mut world = World::new(1);
    let _live = world.ask(1);
    world.run(1);
    let report = |session| Report {
        batch: 0,
        session,
        read: Err("not canonical".to_owned()),
    };
    world.pump.report(world.now, report(12345), &mut world.orders);
    assert_eq!(world.health.get(), Ok(()), "a report on another session");
    let session = world.pump.session.session();
    world.pump.report(world.now, report(session), &mut world.orders);
    assert!(world.health.get().is_err());
    world.run(5);
    assert_eq!(world.health.get(), Ok(()));
    assert_ne!(world.pump.session.session(), session);
}

#[test]
fn other_settings_are_refused_by_name_and_tried_again() {
    let mut world = World::new(1);
    let other = Parameters {
        tick: 50_000,
        ..PARAMETERS()
    };
    world.inner = InnerSession::new(Instant::ZERO, InnerConfig::new(other, AGREEMENT)).unwrap();
    let _live = world.ask(1);
    world.run(40);
    let reason = world.health.get().unwrap_err().to_string();
    assert!(
        reason.contains("session.tick_ms differs; it is 100 here"),
        "{reason}"
    );
    world.inner = inner();
    world.run(70);
    assert_eq!(world.health.get(), Ok(()));
}

#[test]
fn a_stop_cancels_and_waits_for_inner_to_know() {
    let mut world = World::new(1);
    let _live = world.ask(1);
    let mut waiting = world.ask(2);
    world.run(1);
    world.pump.command(world.now, Command::Stop, &mut world.orders);
    assert_eq!(failure(&mut waiting), Failure::Stopping);
    assert!(
        world
            .orders
            .iter()
            .any(|(_, order)| matches!(order, Order::Fail(Failure::Stopping)))
    );
    assert!(!world.pump.is_finished());
    world.run(1);
    world.frame(2, Vec::new(), false);
    assert!(world.pump.is_finished());
    let mut refused = world.ask(3);
    assert_eq!(failure(&mut refused), Failure::Stopping);
}

#[test]
fn a_budget_that_is_used_up_is_told_within_a_second_to_all_who_wait() {
    let mut world = World::new(1);
    let (mut live, mut waiting) = (world.ask(1), world.ask(2));
    world.run(1);
    assert_eq!(world.taken(), Some(Ok(0)));
    let (now, minutes) = (world.now, Duration::from_secs(20 * 60));
    world.inner.hold(now, Budget::Window, Some(now + minutes));
    world.orders.clear();
    world.run(1);
    let is_held = |failure: &Failure| {
        matches!(
            failure,
            Failure::Held {
                seconds: Some(1_200..1_450),
                ..
            }
        )
    };
    assert!(is_held(&failure(&mut waiting)));
    let told = |order: &(u16, Order)| matches!(order, (0, Order::Session(_, failure)) if is_held(failure));
    assert!(world.orders.iter().any(told), "{:?}", world.orders);
    assert!(is_held(&failure(&mut world.ask(3))) && is_held(&world.health.get().unwrap_err()));
    assert_eq!(world.pump.metrics.held.get(), 1);
    // While it lasts, inner is hardly asked, and users hear of it all the same.
    let before = world.inner.counters().sent;
    world.run(15 * 60);
    assert!(
        world.inner.counters().sent - before <= 3,
        "{:?}",
        world.inner.counters()
    );
    let later = failure(&mut world.ask(4));
    assert!(
        matches!(
            later,
            Failure::Held {
                seconds: Some(100..550),
                ..
            }
        ),
        "{later:?}"
    );
    // Then it is over.
    world.run(15 * 60);
    assert_eq!((world.health.get(), world.pump.metrics.held.get()), (Ok(()), 0));
    assert!(live.try_recv().is_ok());
}

#[test]
fn an_opening_hears_of_a_spent_total_and_of_a_failed_ledger() {
    for (budget, words) in [(Budget::Total, "budget is spent"), (Budget::Ledger, "ledger")] {
        let mut world = World::new(1);
        world.inner = inner();
        world.inner.hold(world.now, budget, None);
        let _live = world.ask(1);
        // Inner does not know the session.
        world.run(30);
        let failure = failure(&mut world.ask(2));
        assert!(
            matches!(&failure, Failure::Held { seconds: None, why } if why.contains(words)),
            "{failure:?}"
        );
        // Somebody raises the total, or frees the disk, and starts inner anew.
        world.inner = inner();
        world.run(120);
        assert_eq!(world.health.get(), Ok(()));
    }
}
