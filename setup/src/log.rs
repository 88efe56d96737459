//! The log of a server: to stderr, filtered by `RUST_LOG`, and limited by kind.
//!
//! Whoever can write to the link, or speak HTTP, can provoke lines as fast as they send. Lines of one kind, that is, from one place
//! in the code, are therefore written a few at once and then one every ten seconds; how many were not is told instead. What is
//! asked for in detail (`RUST_LOG=debug`) comes in full.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use weir_wire::Instant;

/// How the targets of lines end that a program says by its own clock: nobody can provoke them, and they are not limited.
const BY_THE_CLOCK: &str = "::clock";

/// Begins the log, unless the caller has one already. `now` is the program's clock.
pub fn start(now: impl Fn() -> Instant + Send + Sync + 'static) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // It would be told on stderr, and without one that is a panic.
        .log_internal_errors(false)
        .event_format(Limited {
            format: Format::default(),
            now,
            limiter: Mutex::default(),
        });
    let _ = log.try_init();
}

/// Which lines may be written: of each kind `AT_ONCE`, and one more every `EVERY`.
#[derive(Debug)]
pub struct Limiter<K> {
    /// As many as there are places in the code that say something.
    kinds: Vec<Kind<K>>,
}

#[derive(Debug)]
struct Kind<K> {
    kind: K,
    name: String,
    left: u64,
    /// When the first of those that are missing in `left` went.
    since: Instant,
    /// Lines that were not written, and when that was last told, or they began.
    more: u64,
    told: Instant,
}

impl<K> Default for Limiter<K> {
    fn default() -> Self {
        Self { kinds: Vec::new() }
    }
}

impl<K: PartialEq> Limiter<K> {
    /// Whether a line of this kind may be written; if not, it is counted. `name` is what the kind is called, should that be told.
    pub fn admit(&mut self, now: Instant, kind: K, name: impl FnOnce() -> String) -> bool {
        let place = self.kinds.iter().position(|known| known.kind == kind);
        let place = place.unwrap_or_else(|| {
            self.kinds.push(Kind {
                kind,
                name: name(),
                left: AT_ONCE,
                since: now,
                more: 0,
                told: now,
            });
            self.kinds.len() - 1
        });
        let kind = &mut self.kinds[place];
        let back = now.since(kind.since).as_secs() / EVERY.as_secs();
        kind.since = kind.since + EVERY * u32::try_from(back).unwrap_or(u32::MAX);
        kind.left = kind.left.saturating_add(back).min(AT_ONCE);
        if kind.left == AT_ONCE {
            kind.since = now;
        }
        let is_admitted = kind.left > 0;
        if !is_admitted && kind.more == 0 {
            kind.told = now;
        }
        kind.left -= u64::from(is_admitted);
        kind.more += u64::from(!is_admitted);
        is_admitted
    }

    /// What was not written and is to be told now: how many lines, and of what name.
    pub fn untold(&mut self, now: Instant) -> impl Iterator<Item = (u64, &str)> {
        let due = self
            .kinds
            .iter_mut()
            .filter(move |kind| kind.more > 0 && now.since(kind.told) >= EVERY);
        due.map(|kind| (core::mem::take(&mut kind.more), kind.name.as_str()))
    }
}

/// Lines in the usual form, those that the limiter admits.
struct Limited<C> {
    format: Format,
    now: C,
    limiter: Mutex<Limiter<tracing::callsite::Identifier>>,
}

impl<S, N, C> FormatEvent<S, N> for Limited<C>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    C: Fn() -> Instant,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        if *meta.level() > Level::INFO || meta.target().ends_with(BY_THE_CLOCK) {
            return self.format.format_event(context, writer, event);
        }
        let now = (self.now)();
        // Nothing panics while it is held.
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let name = || {
            let mut name = Message(String::new());
            event.record(&mut name);
            name.0
        };
        if limiter.admit(now, meta.callsite(), name) {
            self.format.format_event(context, writer.by_ref(), event)?;
        }
        for (more, name) in limiter.untold(now) {
            writeln!(writer, "({more} more lines like {name:?})")?;
        }
        Ok(())
    }
}

/// The message of an event, without its fields.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // A `String` takes everything.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

const AT_ONCE: u64 = 5;
const EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_few_at_once_then_one_every_ten_seconds_and_all_are_counted() {
        let mut limiter = Limiter::default();
        let (mut written, mut told) = (Vec::new(), 0);
        for second in 0..100 {
            for _ in 0..1000 {
                if limiter.admit(at(second), 'a', || "refused".to_owned()) {
                    written.push(second);
                }
                for (more, name) in limiter.untold(at(second)) {
                    assert_eq!(name, "refused");
                    told += more;
                }
            }
            // One kind does not use up another's lines.
            assert!(second >= 5 || limiter.admit(at(second), 'b', String::new));
        }
        assert_eq!(written, [0, 0, 0, 0, 0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
        let rest: u64 = limiter.untold(at(100)).map(|(more, _)| more).sum();
        assert_eq!(told + rest + written.len() as u64, 100_000);
        assert_eq!(limiter.untold(at(1_000)).count(), 0);
        // After a pause it is as at first, and no more than that.
        let again = (0..20).filter(|_| limiter.admit(at(100_000), 'a', String::new));
        assert_eq!(again.count(), 5);
        // A clock that stands still or goes back gives nothing.
        assert!(!limiter.admit(at(50), 'a', String::new));
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_of_events_makes_a_short_log() {
        let (sink, seconds) = (Sink::default(), Arc::new(AtomicU64::new(0)));
        let (write, clock) = (sink.clone(), Arc::clone(&seconds));
        let log = tracing_subscriber::fmt()
            .with_writer(move || write.clone())
            .with_ansi(false)
            .with_max_level(Level::DEBUG)
            .event_format(Limited {
                format: Format::default(),
                now: move || at(clock.load(Ordering::Relaxed)),
                limiter: Mutex::default(),
            })
            .finish();
        tracing::subscriber::with_default(log, || {
            for number in 0..100_000 {
                tracing::warn!(number, "session refused");
            }
            tracing::error!("another kind");
            seconds.store(60, Ordering::Relaxed);
            tracing::error!("another kind");
            for _ in 0..10 {
                tracing::debug!("in detail");
            }
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let count = |words: &str| text.lines().filter(|line| line.contains(words)).count();
        assert_eq!(count("session refused number="), 5, "{text}");
        assert_eq!(count("(99995 more lines like \"session refused\")"), 1, "{text}");
        assert_eq!((count("another kind"), count("in detail")), (2, 10), "{text}");
    }
}
