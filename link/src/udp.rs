//! UDP: a bound, connected, non-blocking socket.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use weir_meter::LinkCost;

#[cfg(target_os = "linux")]
use crate::bind_to_device;
use crate::{Error, Link, Sent};

/// A UDP socket that sends to one peer and hears nobody else.
#[derive(Debug)]
pub struct Udp {
    socket: UdpSocket,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Udp {
    /// Opens the link from `local` to `peer`, of one IP version.
    pub fn open(local: SocketAddr, peer: SocketAddr) -> Result<Self, Error> {
        Self::open_on(local, peer, None)
    }

    /// The same, over this network interface and no other: what comes in by another is not heard, whoever it says it is from.
    pub fn open_on(local: SocketAddr, peer: SocketAddr, device: Option<&str>) -> Result<Self, Error> {
        Self::bind(local, device)?.connect(peer)
    }

    /// Two ends on the loopback interface, for tests.
    pub fn pair() -> Result<(Self, Self), Error> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (one, two) = (Self::bind(any, None)?, Self::bind(any, None)?);
        let (one_local, two_local) = (one.local, two.local);
        Ok((one.connect(two_local)?, two.connect(one_local)?))
    }

    /// Own address, with the port that the system chose if 0 was asked for.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// The peer's address.
    pub const fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn bind(local: SocketAddr, device: Option<&str>) -> Result<Self, Error> {
        let fail = |action| {
            move |source| Error::Io {
                link: format!("udp {local}"),
                action,
                source,
            }
        };
        let socket = UdpSocket::bind(local).map_err(fail("bind"))?;
        if let Some(device) = device {
            bind_to_device(&socket, device).map_err(fail("bind to its interface"))?;
        }
        never_fragment(&socket, local).map_err(fail("forbid fragments"))?;
        // As far as the system lets us: what comes while a program does something else, or leaves at once on a tick, waits there.
        let _ = set_socket_recv_buffer_size(&socket, QUEUE);
        let _ = set_socket_send_buffer_size(&socket, QUEUE);
        let local = socket.local_addr().map_err(fail("local address"))?;
        Ok(Self {
            socket,
            local,
            peer: local,
        })
    }

    fn connect(mut self, peer: SocketAddr) -> Result<Self, Error> {
        if self.local.is_ipv4() != peer.is_ipv4() {
            return Err(Error::MixedVersions {
                local: self.local,
                peer,
            });
        }
        self.socket
            .connect(peer)
            .map_err(|source| self.error("connect", source))?;
        self.peer = peer;
        // What came before it was connected, and bound to its interface, may be anybody's; what comes from now on is the peer's.
        for _ in 0..BACKLOG_MAX {
            if self.recv(&mut [0; 64])?.is_none() {
                break;
            }
        }
        Ok(self)
    }

    fn error(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io {
            link: format!("udp {} -> {}", self.local, self.peer),
            action,
            source,
        }
    }
}

impl Link for Udp {
    fn send(&mut self, datagram: &[u8]) -> Result<Sent, Error> {
        let (len, mtu) = (datagram.len(), self.mtu());
        if len > mtu {
            return Err(Error::TooLong { len, mtu });
        }
        // An ICMP error about an earlier datagram, true or forged, is reported once, in place of sending, whatever it says;
        // hence what counts is the second try.
        let Err(_) = self.socket.send(datagram) else {
            return Ok(Sent::Whole);
        };
        let Err(error) = self.socket.send(datagram) else {
            return Ok(Sent::Whole);
        };
        if is_peer_away(&error) {
            return Ok(Sent::Lost);
        }
        Sent::of(error).map_err(|source| self.error("send", source))
    }

    fn send_all(&mut self, datagrams: &[&[u8]], tell: &mut dyn FnMut(Result<Sent, Error>)) {
        let (mtu, mut rest) = (self.mtu(), datagrams);
        while let Some(first) = rest.first() {
            let fit = rest.iter().take_while(|datagram| datagram.len() <= mtu);
            let bytes: Vec<_> = fit.map(|datagram| [IoSlice::new(datagram)]).collect();
            let mut controls: Vec<_> = bytes.iter().map(|_| SendAncillaryBuffer::default()).collect();
            let headers = bytes.iter().zip(&mut controls);
            let mut headers: Vec<_> = headers
                .map(|(bytes, control)| MMsgHdr::new(bytes, control))
                .collect();
            let sent = sendmmsg(&self.socket, &mut headers, SendFlags::empty()).unwrap_or(0);
            if sent == 0 {
                // What stands in the way is for `send` to judge.
                tell(self.send(first));
            }
            for _ in 0..sent {
                tell(Ok(Sent::Whole));
            }
            rest = &rest[sent.max(1)..];
        }
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        for _ in 0..ERRORS_MAX {
            match self.socket.recv(buffer) {
                Ok(len) => return Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // What ICMP said of an earlier datagram, true or forged: a matter for the session's timers.
                Err(_) => {}
            }
        }
        // More of them than datagrams. The next one that comes makes an event of its own.
        Ok(None)
    }

    fn mtu(&self) -> usize {
        self.cost().mtu()
    }

    fn cost(&self) -> LinkCost {
        if self.peer.is_ipv4() {
            LinkCost::UdpIpv4
        } else {
            LinkCost::UdpIpv6
        }
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }
}

/// A datagram leaves in one piece or not at all: pieces would carry headers that nobody charges (SPEC 7.1). What ICMP says
/// of the path is not believed either, as anybody can say it.
#[cfg(target_os = "linux")]
fn never_fragment(socket: &UdpSocket, local: SocketAddr) -> io::Result<()> {
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };
    if local.is_ipv4() {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)?;
    } else {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)?;
    }
    Ok(())
}

/// Elsewhere the operator has to see to it; SECURITY.md says so.
#[cfg(not(target_os = "linux"))]
fn never_fragment(_: &UdpSocket, _: SocketAddr) -> io::Result<()> {
    Ok(())
}

/// Elsewhere a link with an interface of its own does not open.
#[cfg(not(target_os = "linux"))]
fn bind_to_device(_: &UdpSocket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Bytes of a socket's queues; the system takes less if its limits are lower.
const QUEUE: usize = 4 << 20;
/// Errors in a row that one call of `recv` passes over.
const ERRORS_MAX: usize = 64;
/// Datagrams that a socket's queue may hold from before it was connected.
const BACKLOG_MAX: usize = 65_536;

fn is_peer_away(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Duration;

    /// Waits for the next datagram under mio.
    fn wait(link: &mut Udp, poll: &mut Poll) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let mut events = Events::with_capacity(4);
        for _ in 0..50 {
            if let Some(len) = link.recv(&mut buffer).unwrap() {
                return buffer[..len].to_vec();
            }
            poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
        }
        panic!("nothing came");
    }

    #[test]
    fn datagrams_cross_in_both_directions() {
        let (mut one, mut two) = Udp::pair().unwrap();
        let (mut poll_one, mut poll_two) = (Poll::new().unwrap(), Poll::new().unwrap());
        one.register(poll_one.registry(), Token(0)).unwrap();
        two.register(poll_two.registry(), Token(0)).unwrap();
        for len in [1, 100, one.mtu()] {
            assert_eq!(one.send(&vec![7; len]).unwrap(), Sent::Whole);
            assert_eq!(wait(&mut two, &mut poll_two), vec![7; len]);
            assert_eq!(two.send(&vec![8; len]).unwrap(), Sent::Whole);
            assert_eq!(wait(&mut one, &mut poll_one), vec![8; len]);
        }
        assert!(one.recv(&mut [0; 8]).unwrap().is_none());
        assert!(matches!(
            one.send(&vec![0; one.mtu() + 1]),
            Err(Error::TooLong { len: 1473, mtu: 1472 })
        ));
    }

    #[test]
    fn of_many_none_is_longer_than_the_link_takes() {
        let (mut one, mut two) = Udp::pair().unwrap();
        // Loopback would take the second one.
        let long = vec![9; one.mtu() + 1];
        let mut fates = vec![];
        one.send_all(&[b"a", &long, b"b"], &mut |sent| fates.push(sent.ok()));
        assert_eq!(fates, [Some(Sent::Whole), None, Some(Sent::Whole)]);
        let mut poll = Poll::new().unwrap();
        two.register(poll.registry(), Token(0)).unwrap();
        assert_eq!(
            (wait(&mut two, &mut poll), wait(&mut two, &mut poll)),
            (b"a".to_vec(), b"b".to_vec())
        );
    }

    #[test]
    fn strangers_are_not_heard() {
        let (mut one, two) = Udp::pair().unwrap();
        let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(b"hello", one.local()).unwrap();
        let mut friend = two;
        let _ = friend.send(b"friend").unwrap();
        let mut poll = Poll::new().unwrap();
        one.register(poll.registry(), Token(0)).unwrap();
        assert_eq!(wait(&mut one, &mut poll), b"friend");
        assert!(one.recv(&mut [0; 8]).unwrap().is_none());
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error_and_one_that_is_carries_the_link() {
        let [one, two] =
            ["127.0.0.1:0"; 2].map(|local| Udp::bind(local.parse().unwrap(), Some("lo")).unwrap());
        let (one_local, two_local) = (one.local, two.local);
        let (mut one, mut two) = (one.connect(two_local).unwrap(), two.connect(one_local).unwrap());
        let mut poll = Poll::new().unwrap();
        two.register(poll.registry(), Token(0)).unwrap();
        assert_eq!(one.send(b"over lo").unwrap(), Sent::Whole);
        assert_eq!(wait(&mut two, &mut poll), b"over lo");
        let error = Udp::bind("127.0.0.1:0".parse().unwrap(), Some("weir-none")).unwrap_err();
        assert!(
            error.to_string().contains("bind to its interface failed"),
            "{error}"
        );
    }

    #[test]
    fn an_absent_peer_is_no_error() {
        let (mut one, two) = Udp::pair().unwrap();
        drop(two);
        for _ in 0..5 {
            let _ = one.send(b"anyone?").unwrap();
            assert!(one.recv(&mut [0; 8]).unwrap().is_none());
        }
    }

    #[test]
    fn ipv6_where_there_is_one() {
        // Machines without IPv6 refuse to bind.
        if let Ok(link) = Udp::open("[::1]:0".parse().unwrap(), "[::1]:9".parse().unwrap()) {
            assert_eq!((link.mtu(), link.cost()), (1452, LinkCost::UdpIpv6));
        }
    }
}
