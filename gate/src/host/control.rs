//! The local control socket: one order a connection, one answer. Not reachable from any network.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The socket, and those who are connected and have not yet said a word.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
    callers: Vec<UnixStream>,
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
        })
    }

    /// Carries out what has been said since.
    pub(super) fn serve(&mut self, mut obey: impl FnMut(&[u8]) -> String) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                // Whoever has been silent longest makes room.
                if self.callers.len() == CALLERS_MAX {
                    self.callers.remove(0);
                }
                self.callers.push(stream);
            }
        }
        self.callers.retain_mut(|stream| {
            let mut line = [0; LINE_MAX];
            let len = match stream.read(&mut line) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                said => said.unwrap_or(0),
            };
            // Whoever gives an order writes it in one piece.
            let answer = obey(line[..len].trim_ascii());
            // An answer is shorter than the socket's buffer; who does not read it goes without.
            let _ = stream.write_all(answer.as_bytes());
            false
        });
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

const CALLERS_MAX: usize = 8;
const LINE_MAX: usize = 64;
