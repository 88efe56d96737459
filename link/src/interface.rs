//! The network interface that a link has for itself: whether it is still the one, and what it has received. Linux.

use std::fs::{File, read_to_string};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::net::netdevice::name_to_index;

/// The index of the interface that has this name now.
///
/// # Errors
/// There is none, or no socket to ask by.
pub fn index_of(name: &str) -> io::Result<u32> {
    let any = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(name_to_index(&any, name)?)
}

/// What has become of the interface that had this name and index, if it is not just as it was, up, and of Ethernet's MTU at most.
pub fn fault_of(name: &str, index: u32) -> Option<String> {
    match index_of(name) {
        Ok(found) if found == index => {}
        Ok(found) => return Some(format!("interface {name} is a new one, {found} and not {index}")),
        Err(error) => return Some(format!("no interface is called {name}: {error}")),
    }
    let read = |file| read_to_string(format!("/sys/class/net/{name}/{file}")).unwrap_or_default();
    if read("ifindex").trim() != index.to_string() {
        return Some(format!(
            "/sys/class/net/{name} is another namespace's: mount sysfs in this one"
        ));
    }
    let flags = read("flags");
    let flags = flags
        .trim()
        .strip_prefix("0x")
        .and_then(|hex| u32::from_str_radix(hex, 16).ok());
    if flags.is_none_or(|flags| flags & IFF_UP == 0) {
        return Some(format!("interface {name} is down: ip link set {name} up"));
    }
    let is_short = read("mtu").trim().parse().is_ok_and(|mtu: u32| mtu <= MTU);
    (!is_short).then(|| format!("interface {name} takes more than {MTU} bytes: ip link set {name} mtu {MTU}"))
}

/// Whether an interface may be called so, and rules, paths and settings can say its name as it is.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let is_plain = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_plain && (1..16).contains(&name.len()) && !["all", "default"].contains(&name)
}

/// What is wrong with a number below /proc/sys/net that must be one of these, and its mend. A kernel without IPv6 has no settings of it.
pub fn setting_fault(name: &str, good: &RangeInclusive<u32>) -> Option<String> {
    if name.starts_with("ipv6/") && !Path::new("/proc/sys/net/ipv6").exists() {
        return None;
    }
    let (path, mend) = (format!("/proc/sys/net/{name}"), good.end());
    match read_to_string(&path).map(|text| text.trim().parse::<u32>()) {
        Ok(Ok(found)) if good.contains(&found) => None,
        Ok(Ok(found)) => Some(format!("{path} is {found}: echo {mend} > {path}")),
        _ => Some(format!("{path} cannot be read; it must be {mend}")),
    }
}

/// The counters of what an interface has received, as its driver keeps them.
#[derive(Debug)]
pub struct Received {
    /// Frames that are whole, and those that are not.
    counters: [File; 2],
}

impl Received {
    /// Of the interface that has this name now.
    ///
    /// # Errors
    /// The system's: there is none, say.
    pub fn open(name: &str) -> io::Result<Self> {
        let folder = Path::new("/sys/class/net").join(name).join("statistics");
        let open = |counter| File::open(folder.join(counter));
        Ok(Self {
            counters: [open("rx_packets")?, open("rx_errors")?],
        })
    }

    /// All frames so far. It takes as long whatever came.
    ///
    /// # Errors
    /// The interface has gone.
    pub fn frames(&self) -> io::Result<u64> {
        let mut sum = 0_u64;
        for counter in &self.counters {
            let mut text = [0; 24];
            let len = counter.read_at(&mut text, 0)?;
            let number = str::from_utf8(&text[..len]).ok();
            let number = number.and_then(|text| text.trim().parse().ok());
            sum = sum.saturating_add(number.ok_or(ErrorKind::InvalidData)?);
        }
        Ok(sum)
    }
}

/// Of an interface's flags.
const IFF_UP: u32 = 1;
/// Bytes of Ethernet's longest packet, which is what a datagram is charged as (SPEC 7.1).
const MTU: u32 = 1500;
