//! Unix datagrams: to a program on the same machine, such as the sender of a data diode.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{UnixDatagram as Probe, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::UnixDatagram;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use weir_meter::LinkCost;

use crate::{Error, Link, Sent};

/// A socket in the file system that sends to one other, and hears nobody else. Who may write to it, the permissions of its folder say.
#[derive(Debug)]
pub struct Unix {
    socket: UnixDatagram,
    local: PathBuf,
    peer: PathBuf,
}

impl Unix {
    /// Opens the link from `local`, which is made, to `peer`, which need not be there yet. Both ends must name both alike.
    pub fn open(local: &Path, peer: &Path) -> Result<Self, Error> {
        let fail = |action| {
            move |source| Error::Io {
                link: format!("unix {}", local.display()),
                action,
                source,
            }
        };
        // What a program has left that is gone; anything else that is there makes the binding fail.
        let is_socket = fs::symlink_metadata(local).is_ok_and(|there| there.file_type().is_socket());
        let is_heard = || Probe::unbound().and_then(|probe| probe.connect(local));
        if is_socket && is_heard().is_err() {
            fs::remove_file(local).map_err(fail("remove the old socket"))?;
        }
        Ok(Self {
            socket: UnixDatagram::bind(local).map_err(fail("bind"))?,
            local: local.to_owned(),
            peer: peer.to_owned(),
        })
    }
}

impl Link for Unix {
    fn send(&mut self, datagram: &[u8]) -> Result<Sent, Error> {
        let (len, mtu) = (datagram.len(), self.mtu());
        if len > mtu {
            return Err(Error::TooLong { len, mtu });
        }
        let Err(error) = self.socket.send_to(datagram, &self.peer) else {
            return Ok(Sent::Whole);
        };
        // The peer is away, or has no room.
        if let Some(Errno::NOENT | Errno::CONNREFUSED | Errno::NOBUFS) = Errno::from_io_error(&error) {
            return Ok(Sent::Lost);
        }
        Sent::of(error).map_err(|source| Error::Io {
            link: format!("unix {}", self.local.display()),
            action: "send",
            source,
        })
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        for _ in 0..STRANGERS_MAX {
            match self.socket.recv_from(buffer) {
                Ok((len, from)) if from.as_pathname() == Some(&self.peer) => return Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // A stranger's, or interrupted.
                _ => {}
            }
        }
        Ok(None)
    }

    fn mtu(&self) -> usize {
        self.cost().mtu()
    }

    fn cost(&self) -> LinkCost {
        LinkCost::Unix
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }
}

impl Drop for Unix {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.local);
    }
}

/// What the program at this stream socket answers to a line.
///
/// # Errors
/// None does, within some seconds.
pub fn ask(path: &Path, line: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// Time that an answer has.
const ANSWER: Duration = Duration::from_secs(5);
/// Datagrams of others in a row that one call of `recv` passes over.
const STRANGERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_cross_and_strangers_are_not_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (one, two) = (path("one"), path("two"));
        let mut near = Unix::open(&one, &two).unwrap();
        assert_eq!(near.send(b"early").unwrap(), Sent::Lost, "nobody is there");
        let mut far = Unix::open(&two, &one).unwrap();
        let mut buffer = vec![0; near.mtu()];
        for len in [1, 100, 1_472] {
            assert_eq!(near.send(&vec![7; len]).unwrap(), Sent::Whole);
            assert_eq!(far.recv(&mut buffer).unwrap(), Some(len));
            assert_eq!(&buffer[..len], vec![7; len]);
        }
        assert_eq!(far.send(b"back").unwrap(), Sent::Whole);
        assert_eq!(near.recv(&mut buffer).unwrap(), Some(4));
        for stranger in [Probe::unbound().unwrap(), Probe::bind(path("three")).unwrap()] {
            stranger.send_to(b"hello", &one).unwrap();
            assert_eq!(near.recv(&mut buffer).unwrap(), None);
        }
        let mtu = near.mtu();
        assert!(near.send(&vec![0; mtu + 1]).is_err());
        drop(far);
        assert!(!two.exists());
        assert_eq!(near.send(b"late").unwrap(), Sent::Lost);
    }

    #[test]
    fn what_the_dead_left_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        drop(Probe::bind(path("dead")).unwrap());
        assert!(path("dead").exists());
        let living = Unix::open(&path("dead"), &path("peer")).unwrap();
        assert!(Unix::open(&path("dead"), &path("peer")).is_err(), "it is in use");
        drop(living);
        fs::write(path("file"), b"precious").unwrap();
        assert!(Unix::open(&path("file"), &path("peer")).is_err());
        assert_eq!(fs::read(path("file")).unwrap(), b"precious");
    }

    #[test]
    fn a_full_queue_loses_and_never_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut near = Unix::open(&path("one"), &path("two")).unwrap();
        let _far = Unix::open(&path("two"), &path("one")).unwrap();
        let lost = (0..100_000).any(|_| near.send(&[0; 1_000]).unwrap() == Sent::Lost);
        assert!(lost);
    }
}
