//! Two options of sockets that nobody else has a safe name for: the only unsafe code of this crate. Linux.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// From now on the socket sends over this interface alone, and hears what comes in by it and nothing else, whatever
/// addresses say.
pub fn bind_to_device(socket: &impl AsFd, device: &str) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device.as_bytes())
}

/// From now on sending says, as an error, that a datagram was dropped below the IP layer, where the system keeps it to itself.
pub fn tell_drops(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, &1_i32.to_ne_bytes())
}

fn set(socket: &impl AsFd, level: libc::c_int, option: libc::c_int, value: &[u8]) -> io::Result<()> {
    // SAFETY: the socket is open and the value readable for so many bytes, both for as long as the call takes.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
