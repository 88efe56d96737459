//! Receipts for a gate: how much has come, under a MAC. SPEC 9.4.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use weir_ledger::{Echo, Store, StoreError};
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
    /// Receipts for a gate with this ledger. `start` is a number for this start; with a `store`, it is above those of all before.
    pub(crate) fn new(
        key: [u8; 32],
        ledger: [u8; 32],
        every: Duration,
        format: Format,
        start: u32,
        mut store: Option<Box<dyn Store + Send>>,
    ) -> anyhow::Result<Self> {
        let kept = store.as_mut().map(|store| store.read()).transpose()?;
        let before = match kept.as_ref().map(Option::as_deref) {
            None | Some(Some([])) => Echo {
                ledger,
                number: 0,
                datagrams: 0,
                bits: 0,
            },
            // Not begun anew by itself: a count that is gone must be missed.
            Some(None) => bail!("not there; for a new ledger make an empty one"),
            Some(Some(bytes)) => Echo::open(bytes, &key).context("damaged, or of another key")?,
        };
        ensure!(
            before.ledger == ledger,
            "of another ledger; each has a file of its own"
        );
        let start = u64::from(start).max(before.number / Echo::START + 1);
        Ok(Self {
            key,
            every,
            format,
            number: start.saturating_mul(Echo::START),
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
    use std::os::unix::fs::PermissionsExt as _;
    use weir_ledger::FileStore;
    use weir_wire::Parameters;

    #[test]
    fn receipts_come_at_intervals_and_say_all() {
        let format = Parameters::default().format;
        let every = Duration::from_secs(1);
        let mut receipts = Receipts::new([1; 32], [2; 32], every, format, 2, None).unwrap();
        let at = Instant::from_micros;
        let mut out = vec![];
        for (now, number, datagrams) in [(5, 1, 3), (1_000_005, 2, 4)] {
            let counts = (datagrams, datagrams * 700);
            assert!(receipts.poll(at(now), counts, &mut out).unwrap());
            assert!(!receipts.poll(at(now), counts, &mut out).unwrap());
            let Body::Receipt(sealed) = Inward::parse(&out).unwrap().body else {
                panic!("a receipt")
            };
            let echo = Echo::open(sealed, &[1; 32]).unwrap();
            assert_eq!((echo.ledger, echo.number), ([2; 32], 2 * Echo::START + number));
            assert_eq!((echo.datagrams, echo.bits), (datagrams, datagrams * 700));
        }
        assert_eq!(receipts.poll_at(), at(2_000_005));
    }

    #[test]
    fn counts_outlive_a_start_and_another_ledgers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("received");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::write(&path, []).unwrap();
        std::fs::set_permissions(&path, private).unwrap();
        let open = |ledger, start| {
            let store = FileStore::lock(&path).expect("nobody else has it");
            let format = Parameters::default().format;
            Receipts::new(
                [1; 32],
                [ledger; 32],
                Duration::ZERO,
                format,
                start,
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
        assert_eq!(
            said(open(2, 10).unwrap(), (5, 3_500)),
            (10 * Echo::START + 1, 5, 3_500)
        );
        // A clock that was set back.
        assert_eq!(
            said(open(2, 7).unwrap(), (0, 0)),
            (11 * Echo::START + 1, 5, 3_500)
        );
        assert_eq!(
            said(open(2, 20).unwrap(), (1, 700)),
            (20 * Echo::START + 1, 6, 4_200)
        );
        assert!(open(3, 30).is_err(), "another ledger's");
        std::fs::write(&path, [0; 88]).unwrap();
        assert!(open(2, 30).is_err(), "damaged");
        std::fs::remove_file(&path).unwrap();
        assert!(open(2, 30).is_err(), "lost");
    }

    /// A disk that is full.
    struct Full;

    impl Store for Full {
        fn read(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(Some(vec![]))
        }

        fn write(&mut self, _: u64, _: &[u8]) -> Result<(), StoreError> {
            unreachable!("a file is replaced as a whole")
        }

        fn sync(&mut self) -> Result<(), StoreError> {
            unreachable!("a file is replaced as a whole")
        }

        fn stage(&mut self, _: &[u8]) -> Result<(), StoreError> {
            Err(StoreError {
                what: "write",
                code: 28,
            })
        }

        fn promote(&mut self, _: Option<u64>) -> Result<(), StoreError> {
            unreachable!("there is nothing to promote")
        }
    }

    #[test]
    fn what_cannot_be_kept_is_not_said() {
        let format = Parameters::default().format;
        let mut receipts =
            Receipts::new([1; 32], [2; 32], Duration::ZERO, format, 1, Some(Box::new(Full))).unwrap();
        let mut out = vec![];
        assert!(
            receipts
                .poll(Instant::from_micros(1), (5, 3_500), &mut out)
                .is_err()
        );
        assert!(out.is_empty());
    }
}
