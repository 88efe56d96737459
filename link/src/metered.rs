//! The metered way out: it owns the transport, so nothing else can send. SPEC 7.3.

use std::io;

use mio::{Registry, Token};
use weir_meter::{Account, Governor, LinkCost, Permit, Purpose};

use crate::{Error, Link, Sent};

/// A link that sends only against permits of one governor. It is not a [`Link`] itself, and gives its inside to nobody.
#[derive(Debug)]
pub struct Metered<L> {
    link: L,
    governor: u64,
}

impl<L: Link> Metered<L> {
    /// Takes the link; from now on every datagram needs a permit of this governor.
    pub const fn new<A: Account>(link: L, governor: &Governor<A>) -> Self {
        Self {
            link,
            governor: governor.id(),
        }
    }

    /// Sends the datagram that the permit is for. Whatever happens the permit is used up and its charge stays: the
    /// budget may count too much, never too little.
    pub fn send(&mut self, permit: Permit, datagram: &[u8]) -> Result<Sent, Error> {
        permit.redeem(self.governor, datagram.len())?;
        self.link.send(datagram)
    }

    /// The same for many that leave at once: says of each in turn what became of it.
    pub fn send_all(
        &mut self,
        leaving: &mut dyn Iterator<Item = (Permit, &[u8])>,
        mut tell: impl FnMut(&[u8], Result<Sent, Error>),
    ) {
        let mut batch: [&[u8]; BATCH] = [&[]; BATCH];
        loop {
            let (mut taken, mut count) = (0, 0);
            for (permit, datagram) in leaving.take(BATCH) {
                taken += 1;
                match permit.redeem(self.governor, datagram.len()) {
                    Ok(()) => {
                        batch[count] = datagram;
                        count += 1;
                    }
                    Err(mismatch) => tell(datagram, Err(mismatch.into())),
                }
            }
            let mut told = batch[..count].iter();
            self.link.send_all(&batch[..count], &mut |sent| {
                if let Some(datagram) = told.next() {
                    tell(datagram, sent);
                }
            });
            if taken < BATCH {
                return;
            }
        }
    }

    /// See [`Link::recv`].
    pub fn recv(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        self.link.recv(buffer)
    }

    /// See [`Link::register`].
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.link.register(registry, token)
    }

    /// See [`Link::mtu`].
    pub fn mtu(&self) -> usize {
        self.link.mtu()
    }

    /// See [`Link::cost`].
    pub fn cost(&self) -> LinkCost {
        self.link.cost()
    }
}

/// The budget that a datagram of inner's session is charged to. SPEC 7.2.
pub const fn governed_purpose(purpose: weir_wire::Purpose) -> Purpose {
    match purpose {
        weir_wire::Purpose::Frame | weir_wire::Purpose::Idle => Purpose::Frame,
        weir_wire::Purpose::Repeat => Purpose::Repeat,
        weir_wire::Purpose::Control => Purpose::Handshake,
    }
}

/// Datagrams handed to the link at a time.
const BATCH: usize = 64;

#[cfg(test)]
mod tests;
