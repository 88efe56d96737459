//! The local control socket: one order a connection, one answer. Not reachable from any network.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use weir_meter::Instant;

/// The socket, and those who are connected and have not yet said a word.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Each with whether it waits for the counters.
    callers: Vec<(UnixStream, bool)>,
    /// From when on counters are told again.
    next: Instant,
}

impl Control {
    /// Opens the socket for its owner alone.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = || format!("control {}", path.display());
        if let Ok(there) = std::fs::symlink_metadata(path) {
            ensure!(there.file_type().is_socket(), "{}: there is a file", shown());
            let other = UnixStream::connect(path);
            ensure!(other.is_err(), "{}: another gate is running", shown());
            std::fs::remove_file(path).with_context(shown)?;
        }
        let listener = UnixListener::bind(path).with_context(shown)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(shown)?;
        listener.set_nonblocking(true).with_context(shown)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            callers: Vec::with_capacity(CALLERS_MAX),
            next: Instant::ZERO,
        })
    }

    /// Carries out what has been said since. Counters are told once a second: who asks again has to wait.
    pub(super) fn serve(&mut self, now: Instant, mut obey: impl FnMut(&[u8]) -> String) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                // Whoever has been silent longest makes room.
                if self.callers.len() == CALLERS_MAX {
                    self.callers.remove(0);
                }
                self.callers.push((stream, false));
            }
        }
        let mut is_told = false;
        self.callers.retain_mut(|(stream, is_asking)| {
            let mut order: &[u8] = STATUS;
            let mut line = [0; LINE_MAX];
            if !*is_asking {
                let len = match stream.read(&mut line) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                    said => said.unwrap_or(0),
                };
                // Whoever gives an order writes it in one piece.
                order = line[..len].trim_ascii();
                *is_asking = order == STATUS;
            }
            if *is_asking && now < self.next {
                return true;
            }
            is_told |= *is_asking;
            // An answer is shorter than the socket's buffer; who does not read it goes without.
            let _ = stream.write_all(obey(order).as_bytes());
            false
        });
        if is_told {
            self.next = now + STATUS_EVERY;
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(super) const STATUS: &[u8] = b"status";
const STATUS_EVERY: Duration = Duration::from_secs(1);
const CALLERS_MAX: usize = 8;
const LINE_MAX: usize = 64;
