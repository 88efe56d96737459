//! Power losses under load: at every step, and in every write at every byte. SPEC 7.5.

use super::disk::Tear;
use super::*;

/// What is known outside of what was sent.
struct Truth {
    sent: u64,
    /// Bits that the ledger may count too much: a block for each crash.
    surplus: u64,
}

impl World {
    /// Opens, sends until the power fails or `charges` are through, and says what was sent.
    fn load(&mut self, truth: &mut Truth, charges: u64) {
        self.pass(1_000_000);
        let Ok(mut ledger) = self.open() else {
            assert!(
                self.power.is_off(),
                "only the power may be at fault: {:?}",
                self.open()
            );
            return;
        };
        for number in 0..charges {
            self.pass(100_000);
            let bits = 1 + (number * 389) % BLOCK;
            let purpose = [Purpose::Frame, Purpose::Repeat, Purpose::Handshake][number as usize % 3];
            match ledger.draw(self.moment.since_boot, bits, purpose) {
                Ok(()) => truth.sent += bits,
                Err(_) => {
                    assert!(self.power.is_off());
                    return;
                }
            }
        }
        let closed = ledger.close(self.moment.since_boot);
        assert_eq!(closed.is_err(), self.power.is_off());
    }

    /// Bytes of the longest write that was neither synced nor forgotten.
    fn in_flight(&self) -> usize {
        let disks = [&self.ledger].into_iter().chain(&self.witnesses);
        disks.map(Disk::in_flight).max().unwrap_or(0)
    }

    /// The power comes back; the ledger must be there, and its count between what was sent and a block more per crash.
    fn recover(&mut self, truth: &mut Truth, tear: Tear, rename_is_done: bool) {
        for disk in [&self.ledger].into_iter().chain(&self.witnesses) {
            disk.settle(tear, rename_is_done);
        }
        self.power.back();
        self.pass(1_000_000);
        truth.surplus += BLOCK;
        let ledger = self.open().unwrap_or_else(|why| panic!("{why} after {tear:?}"));
        let count = ledger.state().spent;
        assert!(
            count >= truth.sent,
            "{count} counted, {} sent, {tear:?}",
            truth.sent
        );
        assert!(
            count <= truth.sent + truth.surplus,
            "{count} counted, {} sent, {tear:?}",
            truth.sent
        );
        truth.surplus = count - truth.sent;
        ledger.close(self.moment.since_boot).unwrap();
        let chain = replay(&self.ledger.bytes(), Some(&KEY)).unwrap();
        assert_eq!((chain.torn, chain.open, chain.state.spent), (0, false, count));
    }
}

/// A crash at each step of a life of several segments and three programs, and for each a tear at every byte of what was in
/// flight.
#[test]
fn no_power_loss_makes_the_count_lower_than_what_was_sent_or_higher_by_more_than_a_block() {
    let life = |world: &mut World, truth: &mut Truth| {
        for _ in 0..3 {
            world.load(truth, 12);
        }
    };
    let steps = {
        let (mut world, mut truth) = (World::new(), Truth { sent: 0, surplus: 0 });
        let before = world.power.steps();
        life(&mut world, &mut truth);
        assert!(
            !world.ledger.archives().is_empty(),
            "the life must see a rotation"
        );
        world.power.steps() - before
    };
    let mut losses = 0;
    for step in 0..steps {
        let mut lose = |tear, rename_is_done| {
            let (mut world, mut truth) = (World::new(), Truth { sent: 0, surplus: 0 });
            world.power.fail_after(step);
            life(&mut world, &mut truth);
            assert!(world.power.is_off());
            let in_flight = world.in_flight();
            world.recover(&mut truth, tear, rename_is_done);
            losses += 1;
            in_flight
        };
        // Where no write was in flight all tears are one.
        lose(Tear::Whole, false);
        for byte in 0..lose(Tear::Whole, true) {
            // Every kind of tear comes to every byte, at one step or another.
            let tears = [Tear::Prefix(byte), Tear::Zeros(byte), Tear::Suffix(byte)];
            lose(tears[(byte + step as usize) % 3], false);
        }
    }
    std::println!("{losses} power losses at {steps} steps");
    assert!(losses >= 2_000, "{losses}");
}

/// Many crashes of one ledger, at random. `WEIR_POWER_LOSSES` sets how many.
#[test]
fn a_ledger_survives_crash_after_crash() {
    let losses = std::env::var("WEIR_POWER_LOSSES").map_or(300, |losses| losses.parse().unwrap());
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let (mut world, mut truth) = (World::new(), Truth { sent: 0, surplus: 0 });
    world.settings.starts_per_hour = u32::MAX;
    for loss in 0..losses {
        // A total that lasts: a new ledger now and then, with new disks.
        if loss % 100 == 99 {
            (world, truth) = (World::new(), Truth { sent: 0, surplus: 0 });
            world.settings.starts_per_hour = u32::MAX;
        }
        world.power.fail_after(next(60));
        while !world.power.is_off() {
            world.load(&mut truth, 1 + next(40));
        }
        let byte = next(1 + RECORD_LEN as u64) as usize;
        let tear = match next(4) {
            0 => Tear::Prefix(byte),
            1 => Tear::Zeros(byte),
            2 => Tear::Suffix(byte),
            _ => Tear::Whole,
        };
        world.recover(&mut truth, tear, next(2) == 0);
    }
}
