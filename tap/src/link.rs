//! The interface, by the index that it had at the start: what the kernel tells of it, and the orders up and down. SPEC 9.3.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read as _, Write as _};

use anyhow::{Context as _, Result, bail, ensure};

use crate::netlink::{self, Status, attribute, attributes, messages, request};
use crate::raw;

/// An interface that is watched.
pub(crate) struct Link {
    index: i32,
    name: String,
    route: File,
    /// Tells every change of an interface since before the index was taken.
    events: File,
    /// It is the tap that has set it up.
    is_ours: Cell<bool>,
    /// Since then it was down. While it is, nothing comes.
    was_down: Cell<bool>,
    is_gone: Cell<bool>,
}

impl Link {
    /// The interface with this index, or else the one that has this name now.
    pub(crate) fn open(index: Option<i32>, name: &str) -> Result<Self> {
        let events = raw::netlink(libc::NETLINK_ROUTE, libc::RTMGRP_LINK).context("netlink")?;
        let route = raw::netlink(libc::NETLINK_ROUTE, 0).context("netlink")?;
        let mut body = netlink::link(index.unwrap_or(0), 0, 0);
        if index.is_none() {
            body.extend(attribute(libc::IFLA_IFNAME, format!("{name}\0").as_bytes()));
        }
        let answer = ask(&route, &request(libc::RTM_GETLINK, 0, &body))?;
        let status = Status::parse(&answer).context("no interface in the answer")?;
        Ok(Self {
            index: status.index,
            name: status.name,
            route,
            events,
            is_ours: Cell::new(false),
            was_down: Cell::new(false),
            is_gone: Cell::new(false),
        })
    }

    pub(crate) const fn index(&self) -> i32 {
        self.index
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What may be waited for: something that `changes` will read.
    pub(crate) const fn events(&self) -> &File {
        &self.events
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
                if kind == libc::RTM_DELLINK {
                    self.is_gone.set(true);
                    fault = fault.or(Some(GONE));
                } else {
                    fault = self.fault(&status).or(fault);
                }
            }
        }
        fault.map_or(Ok(()), |fault| bail!("{fault}"))
    }

    /// The frames that the interface has counted in its life. An error if it is not as it must be.
    pub(crate) fn received(&self) -> Result<u64> {
        let status = self.status()?;
        self.fault(&status).map_or(Ok(()), |fault| bail!("{fault}"))?;
        status.received.context("the interface has no counters")
    }

    /// The interface as it is, whatever that is.
    pub(crate) fn status(&self) -> Result<Status> {
        let answer = ask(
            &self.route,
            &request(libc::RTM_GETLINK, 0, &netlink::link(self.index, 0, 0)),
        )?;
        Status::parse(&answer).context("no interface in the answer")
    }

    /// An error if the kernel may join frames before the tap sees them.
    pub(crate) fn joins_nothing(&self) -> Result<()> {
        let generic = raw::netlink(libc::NETLINK_GENERIC, 0).context("generic netlink")?;
        let query = |family: u16, command, attribute: &[u8]| {
            let body = [&[command, 1, 0, 0], attribute].concat();
            ask(&generic, &request(family, 0, &body))
        };
        let name = attribute(libc::CTRL_ATTR_FAMILY_NAME as u16, b"ethtool\0");
        let family =
            query(libc::GENL_ID_CTRL as u16, libc::CTRL_CMD_GETFAMILY as u8, &name).context("ethtool")?;
        let all = family.get(4..).and_then(attributes).unwrap_or_default();
        let id = all
            .iter()
            .find(|(kind, _)| i32::from(*kind) == libc::CTRL_ATTR_FAMILY_ID);
        let id = id
            .and_then(|(_, id)| (*id).try_into().ok())
            .context("ethtool has no number")?;
        let header = attribute(
            FEATURES_HEADER | NESTED,
            &attribute(HEADER_INDEX, &self.index.to_ne_bytes()),
        );
        let answer =
            query(u16::from_ne_bytes(id), FEATURES_GET, &header).context("features of the interface")?;
        let joining = netlink::joining(&answer).context("features of the interface: no list")?;
        let off = joining.join(" off ");
        ensure!(
            joining.is_empty(),
            "the kernel joins frames: ethtool -K {} {off} off",
            self.name
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
        if let Err(error) = self.set(0) {
            ensure!(!is_gone(), GONE);
            return Err(error);
        }
        ensure!(!self.status()?.is_up, "somebody has set it up again");
        Ok(())
    }

    fn fault(&self, status: &Status) -> Option<&'static str> {
        if self.is_ours.get() && !status.is_up {
            self.was_down.set(true);
        }
        status.fault(&self.name, self.was_down.get())
    }

    fn set(&self, flags: i32) -> Result<()> {
        let body = netlink::link(self.index, flags, libc::IFF_UP);
        ask(
            &self.route,
            &request(libc::RTM_SETLINK, libc::NLM_F_ACK as u16, &body),
        )
        .map(drop)
    }
}

/// The body of the one answer to a request.
fn ask(mut socket: &File, request: &[u8]) -> Result<Vec<u8>> {
    socket.write_all(request)?;
    let mut bytes = vec![0; ANSWER];
    let len = socket.read(&mut bytes)?;
    let all = messages(&bytes[..len]).unwrap_or_default();
    let (kind, body) = all.first().context("an answer of netlink is malformed")?;
    if i32::from(*kind) == libc::NLMSG_ERROR {
        let number = body.first_chunk().context("an answer of netlink is malformed")?;
        let number = i32::from_ne_bytes(*number);
        ensure!(number == 0, io::Error::from_raw_os_error(-number));
    }
    Ok(body.to_vec())
}

const GONE: &str = "the interface is gone, deleted or moved to another namespace";
/// More than any answer or message that is asked for here.
const ANSWER: usize = 1 << 16;
// Of linux/ethtool_netlink.h.
const FEATURES_GET: u8 = 11;
const FEATURES_HEADER: u16 = 1;
const NESTED: u16 = libc::NLA_F_NESTED as u16;
const HEADER_INDEX: u16 = 1;
