//! The raw socket: the only unsafe code of this program. Every call is one of libc's, with arguments that outlive it.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

/// Hears every frame that comes in on one interface, whomever it is for.
pub(crate) struct Tap {
    socket: OwnedFd,
    name: CString,
}

/// What has come.
pub(crate) enum Event {
    /// A frame of so many bytes, from MAC header to payload.
    Frame(usize),
    Nothing,
}

impl Tap {
    /// `wait` is the longest that `next` waits for a frame.
    pub(crate) fn open(interface: &str, buffer: u32, wait: Duration) -> io::Result<Self> {
        let name = CString::new(interface)?;
        // SAFETY: no pointers. Protocol 0 hears nothing until it is bound to the interface.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let tap = Self { socket, name };
        // SAFETY: the name ends in a zero byte.
        let index = unsafe { libc::if_nametoindex(tap.name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let index = i32::try_from(index).map_err(io::Error::other)?;
        // Beyond the system's limit if it lets us, else up to it.
        if tap.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &buffer).is_err() {
            tap.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &buffer)?;
        }
        let wait = libc::timeval {
            tv_sec: wait.as_secs() as _,
            tv_usec: wait.subsec_micros() as _,
        };
        tap.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &wait)?;
        // What this machine sends is not what came.
        tap.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32)?;
        // Frames for strangers count as well.
        let all = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as _,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        tap.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &all)?;
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as _,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the address is a sockaddr_ll of the length that is given.
        check(unsafe {
            libc::bind(
                tap.socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as _,
            )
        })?;
        Ok(tap)
    }

    /// The next frame, if one comes in time. Its bytes are not looked at.
    pub(crate) fn next(&self) -> io::Result<Event> {
        let mut first = [0_u8; 16];
        // SAFETY: the buffer has the length that is given. MSG_TRUNC makes the answer the frame's own length.
        let len = unsafe {
            libc::recv(
                self.socket.as_raw_fd(),
                first.as_mut_ptr().cast(),
                first.len(),
                libc::MSG_TRUNC,
            )
        };
        // None in time, a signal, or the interface is down and may come up again.
        let quiet = [libc::EAGAIN, libc::EINTR, libc::ENETDOWN].map(Some);
        match usize::try_from(len) {
            Ok(len) => Ok(Event::Frame(len)),
            Err(_) => match io::Error::last_os_error() {
                error if quiet.contains(&error.raw_os_error()) => Ok(Event::Nothing),
                error => Err(error),
            },
        }
    }

    /// Frames since the last call that the socket had no room for.
    pub(crate) fn drops(&self) -> io::Result<u64> {
        let mut stats = MaybeUninit::<libc::tpacket_stats>::zeroed();
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the buffer has the length that is given.
        check(unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                stats.as_mut_ptr().cast(),
                &raw mut len,
            )
        })?;
        // SAFETY: two integers, zero before the system wrote them.
        Ok(u64::from(unsafe { stats.assume_init() }.tp_drops))
    }

    /// Takes the interface down.
    pub(crate) fn down(&self) -> io::Result<()> {
        let mut request = MaybeUninit::<libc::ifreq>::zeroed();
        // SAFETY: all zeros is a request with an empty name.
        let request = unsafe { request.assume_init_mut() };
        for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1]
            .iter_mut()
            .zip(self.name.as_bytes())
        {
            *to = *from as libc::c_char;
        }
        let fd = self.socket.as_raw_fd();
        // SAFETY: the request has a name that ends in a zero byte; the system writes the flags.
        check(unsafe { libc::ioctl(fd, libc::SIOCGIFFLAGS, &raw mut *request) })?;
        // SAFETY: the system has just written this member of the union.
        unsafe { request.ifr_ifru.ifru_flags &= !(libc::IFF_UP as libc::c_short) };
        // SAFETY: as before; the system reads the flags.
        check(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, &raw mut *request) })?;
        Ok(())
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: the value is a T of the length that is given, and each option above is given its own type.
        check(unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                option,
                (&raw const *value).cast(),
                size_of::<T>() as _,
            )
        })?;
        Ok(())
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
