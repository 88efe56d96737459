//! The interface, by the index that it had at the start: what the kernel tells of it, and the orders up and down. SPEC 9.3.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read as _, Write as _};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use crate::netlink::{self, Status, attribute, find, messages, request};
use crate::raw;

/// An interface that is watched.
pub(crate) struct Link {
    pub(crate) index: i32,
    /// As it was found.
    pub(crate) name: String,
    route: File,
    /// Tells every change of an interface since before the index was taken: for `changes`.
    pub(crate) events: File,
    /// It is the tap that has set it up.
    is_ours: Cell<bool>,
    /// Since then it was down. While it is, nothing comes.
    was_down: Cell<bool>,
    is_gone: Cell<bool>,
}

impl Link {
    /// The interface with this index, or else the one that has this name now.
    pub(crate) fn open(index: Option<i32>, name: &str) -> Result<Self> {
        let mut link = Self {
            events: raw::netlink(libc::NETLINK_ROUTE, libc::RTMGRP_LINK).context("netlink")?,
            route: raw::netlink(libc::NETLINK_ROUTE, 0).context("netlink")?,
            index: index.unwrap_or(0),
            name: name.to_owned(),
            is_ours: Cell::new(false),
            was_down: Cell::new(false),
            is_gone: Cell::new(false),
        };
        let status = link.status()?;
        (link.index, link.name) = (status.index, status.name);
        Ok(link)
    }

    /// Reads what has changed since the last call. An error if frames may have come that no socket saw, even if all
    /// is well again by now.
    pub(crate) fn changes(&self) -> Result<()> {
        let (mut fault, mut bytes) = (None, vec![0; ANSWER]);
        loop {
            let len = match (&self.events).read(&mut bytes) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("messages on changes of interfaces were lost"),
            };
            for (kind, body) in messages(&bytes[..len]).context("a message of netlink is malformed")? {
                let status = Status::parse(body).filter(|status| status.index == self.index);
                let Some(status) = status else { continue };
                self.is_gone.set(self.is_gone.get() || kind == libc::RTM_DELLINK);
                fault = self.fault(&status).or(fault);
            }
        }
        ensure!(!self.is_gone.get(), GONE);
        fault.map_or(Ok(()), |fault| bail!(fault))
    }

    /// The frames that the interface has counted in its life. An error if it is not as it must be.
    pub(crate) fn received(&self) -> Result<u64> {
        let status = self.status()?;
        self.fault(&status).map_or(Ok(()), |fault| bail!(fault))?;
        status.received.context("the interface has no counters")
    }

    /// The interface as it is, whatever that is.
    pub(crate) fn status(&self) -> Result<Status> {
        let mut body = netlink::link(self.index, 0, 0);
        if self.index == 0 {
            body.extend(attribute(
                libc::IFLA_IFNAME,
                format!("{}\0", self.name).as_bytes(),
            ));
        }
        let answer = ask(&self.route, &request(libc::RTM_GETLINK, 0, &body))?;
        Status::parse(&answer).context("no interface in the answer")
    }

    /// An error if the kernel may join frames before the tap sees them.
    pub(crate) fn joins_nothing(&self) -> Result<()> {
        let generic = raw::netlink(libc::NETLINK_GENERIC, 0).context("generic netlink")?;
        let query = |family, command, attribute: &[u8]| {
            let body = [&[command, 1, 0, 0], attribute].concat();
            ask(&generic, &request(family, 0, &body)).context("features of the interface")
        };
        let family = query(CONTROL, GET_FAMILY, &attribute(FAMILY_NAME, b"ethtool\0"))?;
        let family = family
            .get(4..)
            .and_then(|all| find(all, FAMILY_ID)?.first_chunk());
        let family = u16::from_ne_bytes(*family.context("ethtool has no number")?);
        let index = attribute(HEADER_INDEX, &self.index.to_ne_bytes());
        let answer = query(family, FEATURES_GET, &attribute(FEATURES_HEADER | NESTED, &index))?;
        let on = netlink::joining(&answer).context("the interface has no list of features")?;
        let (name, off) = (&self.name, on.join(" off "));
        ensure!(
            on.is_empty(),
            "the kernel joins frames: ethtool -K {name} {off} off"
        );
        Ok(())
    }

    /// Sets the interface up. Nobody else may do so from now on.
    pub(crate) fn up(&self) -> Result<()> {
        self.set(libc::IFF_UP)?;
        // What came before tells of an interface that was down.
        self.changes()?;
        self.is_ours.set(true);
        self.received().map(drop)
    }

    /// Takes the interface down.
    pub(crate) fn down(&self) -> Result<()> {
        // The index of one that is gone may be another's; and it may go just now.
        let is_gone = || {
            let _ = self.changes();
            self.is_gone.get()
        };
        ensure!(!is_gone(), GONE);
        // Whoever renamed it may set it up as the next step.
        for _ in 0..8 {
            self.set(0)
                .map_err(|error| if is_gone() { anyhow!(GONE) } else { error })?;
            if !self.status()?.is_up {
                return Ok(());
            }
        }
        bail!("somebody sets it up again and again")
    }

    /// Why frames of an interface with this status may not all be counted.
    fn fault(&self, status: &Status) -> Option<&'static str> {
        if self.is_ours.get() && !status.is_up {
            self.was_down.set(true);
        }
        if status.name != self.name {
            Some("the interface was renamed")
        } else if self.was_down.get() && status.is_up {
            Some("somebody else has set the interface down and up again")
        } else {
            status.fault
        }
    }

    fn set(&self, flags: i32) -> Result<()> {
        let body = netlink::link(self.index, flags, libc::IFF_UP);
        let order = request(libc::RTM_SETLINK, libc::NLM_F_ACK as u16, &body);
        ask(&self.route, &order).map(drop)
    }
}

/// The body of the one answer to a request.
fn ask(mut socket: &File, request: &[u8]) -> Result<Vec<u8>> {
    socket.write_all(request)?;
    let mut bytes = vec![0; ANSWER];
    let len = socket.read(&mut bytes)?;
    let all = messages(&bytes[..len]).unwrap_or_default();
    match all.first() {
        Some((kind, body)) if i32::from(*kind) != libc::NLMSG_ERROR => Ok(body.to_vec()),
        // The order is done.
        Some((_, [0, 0, 0, 0, ..])) => Ok(Vec::new()),
        Some((_, [a, b, c, d, ..])) => bail!(io::Error::from_raw_os_error(-i32::from_ne_bytes([
            *a, *b, *c, *d
        ]))),
        _ => bail!("an answer of netlink is malformed"),
    }
}

const GONE: &str = "the interface is gone, deleted or moved to another namespace";
/// More than any answer or message that is asked for here.
const ANSWER: usize = 1 << 16;
// Of generic netlink, and of linux/ethtool_netlink.h.
const CONTROL: u16 = libc::GENL_ID_CTRL as u16;
const GET_FAMILY: u8 = libc::CTRL_CMD_GETFAMILY as u8;
const FAMILY_NAME: u16 = libc::CTRL_ATTR_FAMILY_NAME as u16;
const FAMILY_ID: u16 = libc::CTRL_ATTR_FAMILY_ID as u16;
const FEATURES_GET: u8 = 11;
const FEATURES_HEADER: u16 = 1;
const NESTED: u16 = libc::NLA_F_NESTED as u16;
const HEADER_INDEX: u16 = 1;
