//! Links under mio, and the metered way out. SPEC 5.4, 7.3.
//!
//! - [`Link`]: datagrams out and in, without blocking;
//! - [`Socket`]: a link at an [`Address`] such as `udp://10.0.0.2:4000?bind=10.0.0.1:4000`: [`Udp`], a connected UDP socket, or [`Unix`], a
//!   datagram socket in the file system;
//! - [`Metered`]: owns a link and sends only against a [`Permit`] of the very length: inner holds no other way out;
//! - [`Received`], [`fault_of`], [`interrupts`]: the interface that a link has for itself, and the cores that handle its packets;
//! - [`ask`]: a word with a program on this machine;
//! - `Memory` (feature `testing`): two ends of a faulty link with a virtual clock.
//!
//! Nothing here speaks of its own accord: no name look-ups, no keep-alives, no answers. What the kernel says by
//! itself (ARP, ICMP) is for the firewall to hold back; see SECURITY.md.
//!
//! ```
//! use weir_link::{Link, Metered, Sent, Udp};
//! use weir_meter::{Governor, Instant, Limits, Purpose, Release};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (inside, mut outside) = Udp::pair()?;
//! let mut governor = Governor::new(Instant::ZERO, inside.cost(), Limits::default())?;
//! let mut inside = Metered::new(inside, &governor);
//!
//! let frame = [0, 1, 2, 3];
//! let Release::Go(permit) = governor.release(Instant::ZERO, frame.len(), Purpose::Frame) else { panic!("the burst allows it") };
//! assert_eq!(inside.send(permit, &frame)?, Sent::Whole);
//! # std::thread::sleep(std::time::Duration::from_millis(50));
//! let mut buffer = [0; 2048];
//! assert_eq!(outside.recv(&mut buffer)?, Some(4));
//! # Ok(())
//! # }
//! ```
// `device` alone has any.
#![deny(unsafe_code)]

pub use address::{Address, AddressError};
#[cfg(target_os = "linux")]
pub use device::{bind_to_device, tell_drops};
#[cfg(target_os = "linux")]
pub use interface::{Received, fault_of, index_of, is_name, setting_fault};
pub use interrupts::{interrupts, is_every_core};
#[cfg(any(test, feature = "testing"))]
pub use memory::{Clock, Memory};
pub use metered::{Metered, governed_purpose};
pub use socket::Socket;
pub use udp::Udp;
pub use unix::{Unix, ask};
pub use weir_meter::Permit;

use std::io;

use mio::{Registry, Token};
use rustix::io::Errno;
use thiserror::Error;
use weir_meter::{LinkCost, Mismatch};

mod address;
#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
mod interface;
mod interrupts;
#[cfg(any(test, feature = "testing"))]
mod memory;
mod metered;
mod socket;
mod udp;
mod unix;

/// A way for datagrams, out and in. No call blocks.
pub trait Link {
    /// Sends one datagram whole or not at all.
    fn send(&mut self, datagram: &[u8]) -> Result<Sent, Error>;

    /// Sends one after the other, and says of each in turn what became of it: for those who have many at once.
    fn send_all(&mut self, datagrams: &[&[u8]], tell: &mut dyn FnMut(Result<Sent, Error>)) {
        for datagram in datagrams {
            tell(self.send(datagram));
        }
    }

    /// Receives one datagram into `buffer` and returns its length; `None` if none is there. A datagram longer than the
    /// buffer is lost, so give it [`Link::mtu`] bytes or more.
    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error>;

    /// Longest datagram that `send` takes, in bytes.
    fn mtu(&self) -> usize;

    /// What a datagram costs on the physical link.
    fn cost(&self) -> LinkCost;

    /// Registers the link's readiness to receive with a mio poll. Edge-triggered: after an event, `recv` until `None`.
    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()>;
}

/// What became of a datagram handed to `send`.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// It is on its way.
    Whole,
    /// The link's queue is full; the datagram is lost, as if on the way.
    Lost,
    /// What lies beneath takes no datagram of this length in one piece. It is lost, and will be again.
    TooLong,
    /// The system did not take it, and said so with this error number: no route, a firewall. It is lost, as if on the
    /// way; what stands in the way may be taken out of it again.
    Refused(i32),
}

impl Sent {
    /// What it means that the system did not take a datagram; the error itself if it has no number of the system's.
    fn of(error: io::Error) -> Result<Self, io::Error> {
        match Errno::from_io_error(&error) {
            Some(Errno::AGAIN | Errno::INTR) => Ok(Self::Lost),
            Some(Errno::MSGSIZE) => Ok(Self::TooLong),
            Some(errno) => Ok(Self::Refused(errno.raw_os_error())),
            None => Err(error),
        }
    }
}

/// A link failed, or was asked for what it cannot do.
#[derive(Debug, Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{link}: {action} failed: {source}")]
    Io {
        /// Which link.
        link: String,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The datagram is longer than the link takes.
    #[error("datagram of {len} bytes on a link that takes {mtu}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The link's limit.
        mtu: usize,
    },
    /// The permit is not for this datagram; nothing was sent.
    #[error(transparent)]
    Permit(#[from] Mismatch),
    /// The two addresses of a link are of different IP versions.
    #[error("{local} and {peer} are of different IP versions")]
    MixedVersions {
        /// Own address.
        local: std::net::SocketAddr,
        /// The peer's.
        peer: std::net::SocketAddr,
    },
}
