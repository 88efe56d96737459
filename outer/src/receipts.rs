//! Receipts for a gate: how much has come, under a MAC. SPEC 9.4.

use std::time::Duration;

use anyhow::Context as _;
use weir_meter::{Echo, Store, StoreError};
use weir_wire::inward::{Body, Inward};
use weir_wire::{Format, Instant};

/// Says at equal intervals what has been received: since the start, or with a file since the ledger began.
pub(crate) struct Receipts {
    key: [u8; 32],
    every: Duration,
    format: Format,
    /// Counts that earlier starts have left.
    before: Echo,
    /// Of the last one.
    number: u64,
    /// Holds the last one.
    store: Option<Box<dyn Store + Send>>,
    at: Instant,
}

impl Receipts {
    /// Receipts for a gate with this ledger. Their numbers are above `number`, and above those that `store` has known.
    pub(crate) fn new(
        key: [u8; 32],
        ledger: [u8; 32],
        every: Duration,
        format: Format,
        number: u64,
        mut store: Option<Box<dyn Store + Send>>,
    ) -> anyhow::Result<Self> {
        let kept = store.as_mut().map(|store| store.read()).transpose()?.flatten();
        let before = match kept {
            None => Echo {
                ledger,
                number: 0,
                datagrams: 0,
                bits: 0,
            },
            Some(bytes) => Echo::open(&bytes, &key)
                .filter(|echo| echo.ledger == ledger)
                .context("damaged, or of another key or ledger: for a new ledger take a new file")?,
        };
        Ok(Self {
            key,
            every,
            format,
            number: number.max(before.number.saturating_add(Echo::START)),
            before,
            store,
            at: Instant::ZERO,
        })
    }

    /// When the next one is due.
    pub(crate) const fn poll_at(&self) -> Instant {
        self.at
    }

    /// The datagram that is due, if one is, in place of what is in `out`; `datagrams` and `bits` are those of this start.
    ///
    /// # Errors
    /// It cannot be kept, and so must not be said.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        (datagrams, bits): (u64, u64),
        out: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        if now < self.at {
            return Ok(false);
        }
        self.at = now + self.every;
        let echo = Echo {
            ledger: self.before.ledger,
            number: self.number + 1,
            datagrams: self.before.datagrams.saturating_add(datagrams),
            bits: self.before.bits.saturating_add(bits),
        };
        let receipt = echo.seal(&self.key);
        if let Some(store) = &mut self.store {
            store.stage(&receipt)?;
            store.promote(None)?;
        }
        self.number = echo.number;
        out.clear();
        let inward = Inward {
            format: self.format,
            session: 0,
            body: Body::Receipt(&receipt),
        };
        inward.emit(out);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ledger::FileStore;
    use weir_wire::Parameters;

    #[test]
    fn receipts_come_at_intervals_and_say_all() {
        let format = Parameters::default().format;
        let every = Duration::from_secs(1);
        let mut receipts = Receipts::new([1; 32], [2; 32], every, format, 200_000, None).unwrap();
        let at = Instant::from_micros;
        let mut out = vec![];
        for (now, number, datagrams) in [(5, 200_001, 3), (1_000_005, 200_002, 4)] {
            let counts = (datagrams, datagrams * 700);
            assert!(receipts.poll(at(now), counts, &mut out).unwrap());
            assert!(!receipts.poll(at(now), counts, &mut out).unwrap());
            let Body::Receipt(sealed) = Inward::parse(&out).unwrap().body else {
                panic!("a receipt")
            };
            let echo = Echo::open(sealed, &[1; 32]).unwrap();
            assert_eq!((echo.ledger, echo.number), ([2; 32], number));
            assert_eq!((echo.datagrams, echo.bits), (datagrams, datagrams * 700));
        }
        assert_eq!(receipts.poll_at(), at(2_000_005));
    }
    #[test]
    fn counts_outlive_a_start_and_another_ledgers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("received");
        let open = |ledger, number| {
            let store = FileStore::lock(&path).unwrap().expect("nobody else has it");
            let format = Parameters::default().format;
            Receipts::new(
                [1; 32],
                [ledger; 32],
                Duration::ZERO,
                format,
                number,
                Some(Box::new(store)),
            )
        };
        let mut out = vec![];
        let mut said = |mut receipts: Receipts, counts| {
            assert!(receipts.poll(Instant::from_micros(1), counts, &mut out).unwrap());
            let Body::Receipt(sealed) = Inward::parse(&out).unwrap().body else {
                panic!("a receipt")
            };
            let echo = Echo::open(sealed, &[1; 32]).unwrap();
            (echo.number, echo.datagrams, echo.bits)
        };
        assert_eq!(said(open(2, 0).unwrap(), (5, 3_500)), (1 + Echo::START, 5, 3_500));
        // A clock that was set back.
        let number = 2 + 2 * Echo::START;
        assert_eq!(said(open(2, 50).unwrap(), (0, 0)), (number, 5, 3_500));
        let number = 10 * Echo::START;
        assert_eq!(said(open(2, number).unwrap(), (1, 700)), (number + 1, 6, 4_200));
        assert!(open(3, 300).is_err());
        std::fs::write(&path, [0; 88]).unwrap();
        assert!(open(2, 300).is_err());
    }
}
