//! Whatever ends the work, the link goes down first; words and files come afterwards.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

use anyhow::{Result, anyhow};

/// Does the `work`, takes the interface `down`, and only then says why. The exit code.
pub(crate) fn hold(
    name: &str,
    work: impl FnOnce() -> Result<()>,
    down: impl FnOnce() -> Result<()>,
    mut say: impl FnMut(&str),
) -> u8 {
    let end = caught(work);
    let down = caught(down);
    match &end {
        Ok(()) => say(&format!("asked to end: interface {name} goes down")),
        Err(error) => say(&format!("alarm: {error:#}: interface {name} goes down")),
    }
    match (down, end) {
        (Ok(()), end) => end.map_or(DOWN, |()| 0),
        (Err(error), _) => {
            say(&format!("alarm: {name} CANNOT BE TAKEN DOWN: {error:#}"));
            NOT_DOWN
        }
    }
}

/// A panic is an error like any other.
pub(crate) fn caught(work: impl FnOnce() -> Result<()>) -> Result<()> {
    let words = || PANIC.lock().map_or_else(|_| String::new(), |words| words.clone());
    let fault = |_| Err(anyhow!("a fault of this program: {}", words()));
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(fault)
}

/// A panic says nothing by itself: it would do so before the link is down.
pub(crate) fn keep_panics_quiet() {
    panic::set_hook(Box::new(|panic| {
        if let Ok(mut words) = PANIC.lock() {
            *words = panic.to_string();
        }
    }));
}

/// The words of the last panic.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Exit codes besides 0. The interface was taken down, for the reason that was said.
pub(crate) const DOWN: u8 = 3;
/// It should have been, and could not.
pub(crate) const NOT_DOWN: u8 = 4;
