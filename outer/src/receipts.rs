//! Receipts for a gate: how much has come, under a MAC. SPEC 9.4.

use std::time::Duration;

use weir_meter::Echo;
use weir_wire::inward::{Body, Inward};
use weir_wire::{Format, Instant};

/// Says at equal intervals what has been received since the start.
pub(crate) struct Receipts {
    key: [u8; 32],
    ledger: [u8; 32],
    every: Duration,
    format: Format,
    /// Of the next one; those of a later start are higher.
    number: u64,
    at: Instant,
}

impl Receipts {
    /// `number` is above that of any receipt of an earlier start.
    pub(crate) const fn new(
        key: [u8; 32],
        ledger: [u8; 32],
        every: Duration,
        format: Format,
        number: u64,
    ) -> Self {
        Self {
            key,
            ledger,
            every,
            format,
            number,
            at: Instant::ZERO,
        }
    }

    /// When the next one is due.
    pub(crate) const fn poll_at(&self) -> Instant {
        self.at
    }

    /// The datagram that is due, if one is, in place of what is in `out`.
    pub(crate) fn poll(&mut self, now: Instant, datagrams: u64, bits: u64, out: &mut Vec<u8>) -> bool {
        if now < self.at {
            return false;
        }
        self.at = now + self.every;
        let echo = Echo {
            ledger: self.ledger,
            number: self.number,
            datagrams,
            bits,
        };
        self.number += 1;
        let receipt = echo.seal(&self.key);
        out.clear();
        let inward = Inward {
            format: self.format,
            session: 0,
            body: Body::Receipt(&receipt),
        };
        inward.emit(out);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::Parameters;

    #[test]
    fn receipts_come_at_intervals_and_say_all() {
        let format = Parameters::default().format;
        let mut receipts = Receipts::new([1; 32], [2; 32], Duration::from_secs(1), format, 70);
        let at = Instant::from_micros;
        let mut out = vec![];
        for (now, number, datagrams) in [(5, 70, 3), (1_000_005, 71, 4)] {
            assert!(receipts.poll(at(now), datagrams, datagrams * 700, &mut out));
            assert!(!receipts.poll(at(now), datagrams, 0, &mut out));
            let Body::Receipt(sealed) = Inward::parse(&out).unwrap().body else {
                panic!("a receipt")
            };
            let echo = Echo::open(sealed, &[1; 32]).unwrap();
            assert_eq!((echo.ledger, echo.number), ([2; 32], number));
            assert_eq!((echo.datagrams, echo.bits), (datagrams, datagrams * 700));
        }
        assert_eq!(receipts.poll_at(), at(2_000_005));
    }
}
