//! The local control socket: one order a connection, one answer. Not reachable from any network.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// An operator's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Status,
    Cut,
    /// As `Cut`, from a program that has compared counters.
    Disagree,
    Resume,
}

/// The socket, and those who are connected and have not yet said their line.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
    callers: Vec<(UnixStream, Vec<u8>)>,
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
    pub(super) fn serve(&mut self, mut act: impl FnMut(Order) -> String) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                // Whoever has been silent longest makes room.
                if self.callers.len() == CALLERS_MAX {
                    self.callers.remove(0);
                }
                self.callers.push((stream, Vec::new()));
            }
        }
        self.callers.retain_mut(|(stream, line)| {
            let Some(result) = read_line(stream, line) else {
                return true;
            };
            let answer = match result.as_deref() {
                Ok(b"status") => act(Order::Status),
                Ok(b"cut") => act(Order::Cut),
                Ok(b"disagree") => act(Order::Disagree),
                Ok(b"resume") => act(Order::Resume),
                _ => "orders are: status, cut, disagree, resume\n".to_owned(),
            };
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

/// The line, when it is there; an error if it never will be.
fn read_line(stream: &mut UnixStream, line: &mut Vec<u8>) -> Option<io::Result<Vec<u8>>> {
    let mut buffer = [0; LINE_MAX];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Some(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(len) => line.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => return Some(Err(error)),
        }
        if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
            line.truncate(end);
            return Some(Ok(std::mem::take(line)));
        }
        if line.len() >= LINE_MAX {
            return Some(Err(io::ErrorKind::InvalidData.into()));
        }
    }
}

const CALLERS_MAX: usize = 8;
const LINE_MAX: usize = 64;
