//! A witness by its address: a file, or `weir-witness` over a socket. SPEC 7.8.

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Deserialize;
use weir_meter::Instant;

use super::clock::since_boot;
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
                let carrier = Box::new(Socket::new(socket.clone()));
                Box::new(RemoteWitness::new(carrier, read_key(key)?))
            }
        })
    }
}

/// Sends a question and hears its answer.
struct Socket {
    socket: WitnessSocket,
    open: Option<Open>,
    /// When the time of the question that was sent last is over, since boot.
    until: Instant,
}

enum Open {
    Udp(UdpSocket),
    Unix(UnixStream),
}

impl Socket {
    const fn new(socket: WitnessSocket) -> Self {
        Self {
            socket,
            open: None,
            until: Instant::ZERO,
        }
    }

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
                Open::Udp(socket)
            }
            (WitnessSocket::Unix(path), _) => {
                // Where the other end's queue is full a stream that blocks would wait for ever.
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                connect(&stream, &SocketAddrUnix::new(path)?)?;
                let stream = UnixStream::from(stream);
                stream.set_nonblocking(false)?;
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
        self.until = since_boot() + WAIT;
        let sent = self.connect().and_then(|mut open| {
            match &mut open {
                Open::Udp(socket) => socket.send(datagram).map(|_| ())?,
                Open::Unix(stream) => {
                    stream.set_write_timeout(Some(WAIT))?;
                    stream.write_all(datagram)?;
                }
            }
            Ok(open)
        });
        // What could not be sent is as good as lost: it is sent again, after the time that an answer would have had.
        self.open = sent.ok();
        Ok(())
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, StoreError> {
        let came = match &mut self.open {
            Some(Open::Udp(socket)) => receive(socket, buffer, self.until),
            Some(Open::Unix(stream)) => read_whole(stream, buffer, self.until),
            None => Err(ErrorKind::NotConnected.into()),
        };
        if let Ok(len @ 1..) = came {
            return Ok(Some(len));
        }
        // Nothing will come: a witness that is not there is given the time of one that is.
        std::thread::sleep(left(self.until).unwrap_or(Duration::ZERO));
        Ok(None)
    }
}

/// The time up to then; an error once it is over.
fn left(until: Instant) -> io::Result<Duration> {
    match until.since(since_boot()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
    socket.set_read_timeout(Some(left(until)?))?;
    socket.recv(buffer)
}

/// All that the other end says until it hangs up, fills the buffer, or the time is over.
fn read_whole(stream: &mut UnixStream, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        stream.set_read_timeout(Some(left(until)?))?;
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

    /// Whoever can send in the witness's name makes no try longer: one time for all that comes, or for each byte.
    #[test]
    fn noise_keeps_nobody_waiting() {
        let noise = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut udp = Socket::new(WitnessSocket::Udp(noise.local_addr().unwrap()));
        let mut buffer = [0; 200];
        udp.send(b"question").unwrap();
        let (_, from) = noise.recv_from(&mut buffer).unwrap();
        let begun = since_boot();
        let passed = || since_boot().since(begun);
        let mut heard = 0_u32;
        loop {
            // Before each look there is something to hear.
            noise.send_to(b"noise", from).unwrap();
            if udp.recv(&mut buffer).unwrap().is_none() {
                break;
            }
            heard += 1;
            assert!(passed() < Duration::from_secs(30), "noise keeps it for ever");
        }
        assert!(heard > 100, "{heard}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut unix = Socket::new(WitnessSocket::Unix(path));
        unix.send(b"question").unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        // A byte every fifth of a try's time, until nobody hears.
        let drops = std::thread::spawn(move || {
            let mut said = 0;
            while stream.write_all(b"x").is_ok() && said < 200 {
                said += 1;
                std::thread::sleep(WAIT / 5);
            }
            said
        });
        assert_eq!(unix.recv(&mut buffer), Ok(None));
        drop(unix);
        let said = drops.join().unwrap();
        assert!(said < 199, "{said} bytes were waited for, one by one");
    }

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
