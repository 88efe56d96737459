//! A witness by its address: a file, or `weir-witness` over a socket. SPEC 7.8.

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use serde::Deserialize;

use super::error::Error;
use super::keys::read_key;
use super::store::locked;
use crate::remote_witness::{Carrier, RemoteWitness};
use crate::store::StoreError;
use crate::witness::{SlotWitness, Witness};

/// Where a witness is: `PATH`, `udp://ADDRESS:PORT?key=FILE` or `unix://PATH?key=FILE`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum WitnessAt {
    /// A file, best on another device.
    File(PathBuf),
    /// `weir-witness`, on another machine.
    Program {
        /// Where it listens.
        socket: WitnessSocket,
        /// A file with the key that it has, too.
        key: PathBuf,
    },
}

/// Where `weir-witness` listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WitnessSocket {
    /// A UDP socket.
    Udp(SocketAddr),
    /// A stream socket in the file system, one question a connection.
    Unix(PathBuf),
}

impl FromStr for WitnessSocket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Self::Unix(path.into()));
        }
        let address = text
            .strip_prefix("udp://")
            .and_then(|address| address.parse().ok());
        address
            .map(Self::Udp)
            .ok_or_else(|| format!("{text:?}: udp://ADDRESS:PORT with numbers, or unix://PATH"))
    }
}

impl FromStr for WitnessAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let (socket, key) = text
            .split_once("?key=")
            .ok_or_else(|| format!("{text:?}: behind a witness's address comes its key, as ?key=FILE"))?;
        let (socket, key) = (socket.parse()?, key.into());
        Ok(Self::Program { socket, key })
    }
}

impl TryFrom<String> for WitnessAt {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for WitnessAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Program { socket, .. } => socket.fmt(f),
        }
    }
}

impl fmt::Display for WitnessSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl WitnessAt {
    /// The witness, for the one who writes the ledger; `key` is that of the ledger's hashes.
    ///
    /// # Errors
    /// Another process has the file, or it or the witness's key cannot be used.
    pub fn open(&self, key: Option<[u8; 32]>) -> Result<Box<dyn Witness + Send>, Error> {
        Ok(match self {
            Self::File(path) => Box::new(SlotWitness::new(locked(path)?, key)),
            Self::Program { socket, key } => {
                let (socket, open) = (socket.clone(), None);
                let carrier = Box::new(Socket { socket, open });
                Box::new(RemoteWitness::new(carrier, read_key(key)?))
            }
        })
    }
}

/// Sends a question and hears its answer.
struct Socket {
    socket: WitnessSocket,
    open: Option<Open>,
}

enum Open {
    Udp(UdpSocket),
    Unix(UnixStream),
}

impl Socket {
    fn connect(&mut self) -> io::Result<Open> {
        Ok(match (&self.socket, self.open.take()) {
            // A connected one hears the witness alone.
            (WitnessSocket::Udp(_), Some(open)) => open,
            (WitnessSocket::Udp(witness), None) => {
                let any = match witness {
                    SocketAddr::V4(_) => "0.0.0.0:0",
                    SocketAddr::V6(_) => "[::]:0",
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(witness)?;
                socket.set_read_timeout(Some(WAIT))?;
                Open::Udp(socket)
            }
            (WitnessSocket::Unix(path), _) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(WAIT))?;
                stream.set_write_timeout(Some(WAIT))?;
                Open::Unix(stream)
            }
        })
    }
}

impl Carrier for Socket {
    fn nonce(&mut self) -> Result<[u8; 16], StoreError> {
        let mut nonce = [0; 16];
        let len = getrandom(&mut nonce, GetRandomFlags::empty());
        match len {
            Ok(16) => Ok(nonce),
            _ => Err(StoreError {
                what: "draw random bytes",
                code: len.map_or_else(rustix::io::Errno::raw_os_error, |_| 0),
            }),
        }
    }

    fn pause(&mut self, micros: u64) {
        std::thread::sleep(Duration::from_micros(micros));
    }

    fn send(&mut self, datagram: &[u8]) -> Result<(), StoreError> {
        let sent = self.connect().and_then(|mut open| {
            match &mut open {
                Open::Udp(socket) => socket.send(datagram).map(|_| ())?,
                Open::Unix(stream) => stream.write_all(datagram)?,
            }
            Ok(open)
        });
        match sent {
            Ok(open) => self.open = Some(open),
            // As good as lost: it is sent again, after the time that an answer would have had.
            Err(_) => std::thread::sleep(WAIT),
        }
        Ok(())
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, StoreError> {
        let came = match &mut self.open {
            Some(Open::Udp(socket)) => socket.recv(buffer),
            Some(Open::Unix(stream)) => read_whole(stream, buffer),
            None => return Ok(None),
        };
        match came {
            Ok(0) => Ok(None),
            Ok(len) => Ok(Some(len)),
            Err(_) => Ok(None),
        }
    }
}

/// All that the other end says until it hangs up, or fills the buffer.
fn read_whole(stream: &mut UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match stream.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// An answer takes a way there and back, and a sync of the witness's disk.
const WAIT: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_is_a_file_or_a_program_with_a_key() {
        let parse = |text: &str| text.parse::<WitnessAt>();
        assert_eq!(parse("/mnt/other/w"), Ok(WitnessAt::File("/mnt/other/w".into())));
        let udp = parse("udp://10.0.0.9:7010?key=/etc/weir/w.key").unwrap();
        assert_eq!(udp.to_string(), "udp://10.0.0.9:7010");
        assert!(matches!(udp, WitnessAt::Program { key, .. } if key == *"/etc/weir/w.key"));
        assert!(parse("unix:///run/w.sock?key=k").is_ok());
        for (bad, word) in [
            ("udp://10.0.0.9:7010", "?key="),
            ("udp://witness:7010?key=k", "numbers"),
            ("tcp://10.0.0.9:1?key=k", "udp://"),
        ] {
            assert!(parse(bad).unwrap_err().contains(word), "{bad}");
        }
    }
}
