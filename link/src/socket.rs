//! A link of the kind that its address says.

use std::io;

use mio::{Registry, Token};
use weir_meter::LinkCost;

use crate::{Address, Error, Link, Sent, Udp, Unix};

/// What the programs open.
#[derive(Debug)]
pub enum Socket {
    /// For [`Address::Udp`].
    Udp(Udp),
    /// For [`Address::Unix`].
    Unix(Unix),
}

impl Socket {
    /// Opens the link at this address.
    pub fn open(address: &Address) -> Result<Self, Error> {
        Self::open_on(address, None)
    }

    /// The same, over this network interface and no other. A link in the file system has none.
    pub fn open_on(address: &Address, device: Option<&str>) -> Result<Self, Error> {
        match address {
            Address::Udp { local, peer } => Udp::open_on(*local, *peer, device).map(Self::Udp),
            Address::Unix { local, peer } => Unix::open(local, peer).map(Self::Unix),
        }
    }

    fn link(&self) -> &dyn Link {
        match self {
            Self::Udp(link) => link,
            Self::Unix(link) => link,
        }
    }

    fn link_mut(&mut self) -> &mut dyn Link {
        match self {
            Self::Udp(link) => link,
            Self::Unix(link) => link,
        }
    }
}

impl Link for Socket {
    fn send(&mut self, datagram: &[u8]) -> Result<Sent, Error> {
        self.link_mut().send(datagram)
    }

    fn send_all(&mut self, datagrams: &[&[u8]], tell: &mut dyn FnMut(Result<Sent, Error>)) {
        self.link_mut().send_all(datagrams, tell);
    }

    fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        self.link_mut().recv(buffer)
    }

    fn mtu(&self) -> usize {
        self.link().mtu()
    }

    fn cost(&self) -> LinkCost {
        self.link().cost()
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.link_mut().register(registry, token)
    }
}
