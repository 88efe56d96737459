//! What a command does not leave half done when a signal ends it.
//!
//! The servers have loops that signals end; other commands end at once, but for what is done here.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::signals::is_ignored;
use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};

const ENDS: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Does a short piece of work whole: a signal that would end the program meanwhile ends it afterwards.
pub fn whole<T>(work: impl FnOnce() -> T) -> T {
    let _held = HELD.hold();
    work()
}

/// At a signal that ends the program: does `last`, and ends it.
///
/// # Errors
/// No pipe, or a signal that cannot be caught.
pub fn at_the_end(last: impl FnOnce() + Send + 'static) -> Result<()> {
    let (mut hear, say) = UnixStream::pair().context("no pipe for signals")?;
    for signal in caught() {
        low_level::pipe::register(signal, say.try_clone()?).context("signals")?;
    }
    std::thread::spawn(move || {
        // Whoever holds the other end holds it as long as the program runs.
        if matches!(hear.read(&mut [0]), Ok(1)) {
            last();
            std::process::exit(1);
        }
    });
    Ok(())
}

/// A signal that whoever started us ignores, as `nohup` does, stays ignored.
fn caught() -> impl Iterator<Item = i32> {
    ENDS.into_iter().filter(|&signal| !is_ignored(signal))
}

/// Signals that are put off.
struct Held {
    /// Whether one ends the program at once.
    at_once: Arc<AtomicBool>,
    /// The last one that did not.
    came: Arc<AtomicUsize>,
}

static HELD: LazyLock<Held> = LazyLock::new(|| {
    let held = Held {
        at_once: Arc::new(AtomicBool::new(true)),
        came: Arc::default(),
    };
    for signal in caught() {
        // What cannot be caught is not put off, and the work is done all the same. These two run in this order.
        let _ = flag::register_conditional_default(signal, Arc::clone(&held.at_once));
        let _ = flag::register_usize(signal, Arc::clone(&held.came), signal as usize);
    }
    held
});

impl Held {
    fn hold(&'static self) -> Hold {
        self.at_once.store(false, Ordering::SeqCst);
        Hold(self)
    }
}

struct Hold(&'static Held);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.at_once.store(true, Ordering::SeqCst);
        let came = self.0.came.load(Ordering::SeqCst);
        if came != 0 {
            // It ends the program; if it does not, the program goes on.
            let _ = low_level::emulate_default_handler(came as i32);
        }
    }
}
