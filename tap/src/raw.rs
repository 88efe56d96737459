//! Sockets: the only unsafe code of this program. Every call is one of libc's, with arguments that outlive it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

use crate::count::Frame;

/// Hears every frame that comes in on one interface, whomever it is for.
pub(crate) struct Tap {
    socket: OwnedFd,
}

impl Tap {
    /// `index` is the interface's, whatever its name is or will be.
    pub(crate) fn open(index: i32, buffer: u32) -> io::Result<Self> {
        // Protocol 0 hears nothing until it is bound to the interface.
        let socket = open(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        make_room(&socket, buffer)?;
        // What this machine sends is not what came.
        set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32)?;
        // With each frame: whether a tag was taken off, and whether it was joined from several.
        set(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1_i32)?;
        set(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1_i32)?;
        // Frames for strangers count as well.
        // SAFETY: all zeros is a membership of nothing.
        let mut all: libc::packet_mreq = unsafe { zeroed() };
        (all.mr_ifindex, all.mr_type) = (index, libc::PACKET_MR_PROMISC as _);
        set(&socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &all)?;
        // SAFETY: all zeros is an address of nothing.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        (address.sll_family, address.sll_ifindex) = (libc::AF_PACKET as _, index);
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        bind(&socket, &address)?;
        Ok(Self { socket })
    }

    /// The next frame, if one waits. Its bytes are not looked at.
    pub(crate) fn next(&self) -> io::Result<Option<Frame>> {
        // A `virtio_net_hdr`, and no more of the frame than the system insists on.
        let (mut bytes, mut control) = ([0_u8; HEADER + 16], [0_u64; 8]);
        let (iov_base, iov_len) = (bytes.as_mut_ptr().cast(), bytes.len());
        let mut part = libc::iovec { iov_base, iov_len };
        // SAFETY: all zeros is a message without parts.
        let mut message: libc::msghdr = unsafe { zeroed() };
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
        // SAFETY: both buffers have the lengths that are given. MSG_TRUNC makes the answer the frame's own length.
        let len = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, flags) };
        let Ok(len) = usize::try_from(len) else {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                // None waits, a signal, or the interface was down for a moment: the link's messages say so as well.
                Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN) => Ok(None),
                // A joined frame for which the header has no name.
                Some(libc::EINVAL) => Ok(Some(Frame::UNKNOWN)),
                _ => Err(error),
            };
        };
        // SAFETY: the system has filled the message in. The one piece that it was asked for, null if it is missing, holds a
        // `tpacket_auxdata`, which may lie unaligned.
        let aux: libc::tpacket_auxdata = unsafe {
            let piece = libc::CMSG_FIRSTHDR(&raw const message);
            if piece.is_null() {
                return Err(io::Error::other("a frame without a word on its tag"));
            }
            libc::CMSG_DATA(piece)
                .cast::<libc::tpacket_auxdata>()
                .read_unaligned()
        };
        let is_joined = bytes[GSO_TYPE] != 0;
        Ok(Some(Frame {
            len: len.saturating_sub(HEADER),
            has_tag: aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0,
            joined: is_joined.then_some(u16::from_ne_bytes([bytes[GSO_SIZE], bytes[GSO_SIZE + 1]])),
        }))
    }

    /// Waits until there is a frame or something to read in `other`.
    pub(crate) fn wait(&self, other: &File, longest: Duration) {
        let wanted = [self.socket.as_fd(), other.as_fd()].map(|fd| (fd, libc::POLLIN));
        // A signal ends it as well, and so would an error: whoever reads then, hears of it.
        is_ready(wanted, longest.as_millis() as _);
    }

    /// Frames since the last call: those that the socket was offered, and of them those that it had no room for.
    pub(crate) fn offered(&self) -> io::Result<(u64, u64)> {
        // SAFETY: two integers.
        let mut stats: libc::tpacket_stats = unsafe { zeroed() };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        let (fd, to) = (self.socket.as_raw_fd(), (&raw mut stats).cast());
        // SAFETY: the buffer has the length that is given.
        check(unsafe { libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, to, &raw mut len) })?;
        Ok((u64::from(stats.tp_packets), u64::from(stats.tp_drops)))
    }
}

/// A netlink socket; with `groups` it hears messages, and a read does not wait for them.
pub(crate) fn netlink(protocol: libc::c_int, groups: libc::c_int) -> io::Result<File> {
    let flags = if groups == 0 { 0 } else { libc::SOCK_NONBLOCK };
    let socket = open(libc::AF_NETLINK, libc::SOCK_RAW | flags, protocol)?;
    make_room(&socket, 1 << 20)?;
    // SAFETY: all zeros is an address without groups.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    (address.nl_family, address.nl_groups) = (libc::AF_NETLINK as _, groups as _);
    bind(&socket, &address)?;
    Ok(File::from(socket))
}

/// Whether a short write would not wait.
pub(crate) fn takes(output: BorrowedFd<'_>) -> bool {
    is_ready([(output, libc::POLLOUT)], 0)
}

fn is_ready<const N: usize>(wanted: [(BorrowedFd<'_>, libc::c_short); N], milliseconds: libc::c_int) -> bool {
    let mut fds = wanted.map(|(fd, events)| libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    });
    // SAFETY: as many as the length says.
    unsafe { libc::poll(fds.as_mut_ptr(), N as _, milliseconds) > 0 }
}

fn open(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Beyond the system's limit if it lets us, else up to it.
fn make_room(socket: &OwnedFd, bytes: u32) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
        .or_else(|_| set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes))
}

/// `address` is of the socket's family.
fn bind<T>(socket: &OwnedFd, address: &T) -> io::Result<()> {
    let (address, len) = ((&raw const *address).cast(), size_of::<T>() as _);
    // SAFETY: the address has the length that is given.
    check(unsafe { libc::bind(socket.as_raw_fd(), address, len) }).map(drop)
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let (value, len) = ((&raw const *value).cast(), size_of::<T>() as _);
    // SAFETY: the value has the length that is given, and each option above is given its own type.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, len) }).map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    (result >= 0)
        .then_some(result)
        .ok_or_else(io::Error::last_os_error)
}

/// Length of a `virtio_net_hdr`, and what of it counts here: why and in what pieces a frame was joined.
const HEADER: usize = 10;
const GSO_TYPE: usize = 1;
const GSO_SIZE: usize = 4;
