//! A disk that loses power: what was not synced may be lost, torn at any byte, or swapped for zeros.

use crate::store::{Store, StoreError};
use std::sync::{Arc, Mutex};
use std::vec::Vec;

/// What all disks hang on. It fails at a step that the test names.
#[derive(Clone, Default)]
pub(crate) struct Power(Arc<Mutex<Mains>>);

#[derive(Default)]
struct Mains {
    steps: u64,
    fails_at: Option<u64>,
    off: bool,
}

/// What becomes of bytes that were written and not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tear {
    /// Only the first so many are on the disk; the file is as long.
    Prefix(usize),
    /// The file has its new length, and zeros after the first so many.
    Zeros(usize),
    /// Only those from there on are on the disk, after whatever was there.
    Suffix(usize),
    /// All are there.
    Whole,
}

impl Power {
    pub(crate) fn steps(&self) -> u64 {
        self.0.lock().unwrap().steps
    }

    /// The step after so many more is not finished.
    pub(crate) fn fail_after(&self, steps: u64) {
        let mut mains = self.0.lock().unwrap();
        mains.fails_at = Some(mains.steps + steps);
    }

    pub(crate) fn is_off(&self) -> bool {
        self.0.lock().unwrap().off
    }

    pub(crate) fn back(&self) {
        let mut mains = self.0.lock().unwrap();
        (mains.off, mains.fails_at) = (false, None);
    }

    /// Counts a step; whether it is done.
    fn step(&self) -> Result<(), StoreError> {
        let mut mains = self.0.lock().unwrap();
        mains.off |= mains.fails_at == Some(mains.steps);
        mains.steps += 1;
        match mains.off {
            true => Err(StoreError {
                what: "find any power",
                code: 5,
            }),
            false => Ok(()),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Disk {
    power: Power,
    files: Arc<Mutex<Files>>,
}

#[derive(Clone, Default)]
struct Files {
    durable: Option<Vec<u8>>,
    /// Written and not synced, in order.
    pending: Vec<(usize, Vec<u8>)>,
    staged: Option<Vec<u8>>,
    /// A rename that the power failed in.
    undecided: Option<Vec<u8>>,
    archives: Vec<Vec<u8>>,
}

impl Disk {
    pub(crate) fn new(power: &Power) -> Self {
        Self {
            power: power.clone(),
            files: Arc::default(),
        }
    }

    /// The file as a program reads it.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.files.lock().unwrap().seen().unwrap_or_default()
    }

    /// Puts these bytes on the disk, behind everyone's back.
    pub(crate) fn put(&self, bytes: Option<Vec<u8>>) {
        self.files.lock().unwrap().durable = bytes;
    }

    /// Bytes of the longest write that is not synced.
    pub(crate) fn in_flight(&self) -> usize {
        let files = self.files.lock().unwrap();
        files
            .pending
            .iter()
            .map(|(_, bytes)| bytes.len())
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn archives(&self) -> Vec<Vec<u8>> {
        self.files.lock().unwrap().archives.clone()
    }

    /// What the power failure leaves.
    pub(crate) fn settle(&self, tear: Tear, rename_is_done: bool) {
        let mut files = self.files.lock().unwrap();
        for (at, bytes) in core::mem::take(&mut files.pending) {
            let mut durable = files.durable.take().unwrap_or_default();
            match tear {
                Tear::Prefix(kept) => overwrite(&mut durable, at, &bytes[..kept.min(bytes.len())]),
                Tear::Zeros(kept) => {
                    let mut half = bytes.clone();
                    half[kept.min(bytes.len())..].fill(0);
                    overwrite(&mut durable, at, &half);
                }
                Tear::Suffix(from) => {
                    let from = from.min(bytes.len());
                    overwrite(&mut durable, at + from, &bytes[from..]);
                }
                Tear::Whole => overwrite(&mut durable, at, &bytes),
            }
            files.durable = Some(durable);
        }
        if let Some(next) = files.undecided.take()
            && rename_is_done
        {
            files.durable = Some(next);
        }
        files.staged = None;
    }
}

impl Files {
    fn seen(&self) -> Option<Vec<u8>> {
        let mut bytes = self.durable.clone()?;
        for (at, more) in &self.pending {
            overwrite(&mut bytes, *at, more);
        }
        Some(bytes)
    }
}

impl Store for Disk {
    fn read(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.power.is_off() {
            true => self.power.step().map(|()| None),
            false => Ok(self.files.lock().unwrap().seen()),
        }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let was_off = self.power.is_off();
        let done = self.power.step();
        // Even if the power fails in this very write, a part of it may be on the disk.
        if !was_off {
            let at = usize::try_from(at).unwrap();
            self.files.lock().unwrap().pending.push((at, bytes.to_vec()));
        }
        done
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.power.step()?;
        let mut files = self.files.lock().unwrap();
        files.durable = files.seen();
        files.pending.clear();
        Ok(())
    }

    fn stage(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.power.step()?;
        self.files.lock().unwrap().staged = Some(bytes.to_vec());
        Ok(())
    }

    fn promote(&mut self, keep: Option<u64>) -> Result<(), StoreError> {
        let was_off = self.power.is_off();
        let done = self.power.step();
        let mut files = self.files.lock().unwrap();
        let next = files.staged.take();
        match done {
            Err(_) if was_off => {}
            Err(_) => files.undecided = next,
            Ok(()) => {
                if keep.is_some() {
                    let old = files.seen().unwrap();
                    files.archives.push(old);
                }
                files.pending.clear();
                files.durable = Some(next.expect("a segment was staged"));
            }
        }
        done
    }
}

fn overwrite(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}
