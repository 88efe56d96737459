//! Whether the machine around the gate lets nothing pass beside it. A gate that finds fault with it does not start, and one that
//! finds fault later, once a second, cuts for good. SPEC 9.5.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use rustix::io::Errno;
use thiserror::Error;
use weir_link::tell_drops;

use super::alarm::alarm;
use super::cables::{Cable, Cables, index_of};
use super::clock::micros;
use super::config::Config;
use super::run::Gate;
use crate::Cut;

/// Why a gate does not start: all that is wrong with its machine.
#[derive(Debug, Error)]
#[error("the kernel may speak for inner, so the gate does not start (--unprotected starts it all the same):\n  {}", .0.join("\n  "))]
pub(crate) struct Unprotected(Vec<String>);

/// The machine around a gate.
#[derive(Debug)]
pub(super) struct Machine {
    cables: Cables,
    is_guarded: bool,
    /// The first fault since the start.
    lost: Option<String>,
    at: u64,
}

impl Machine {
    /// Looks at the machine before anything is opened on it.
    pub(super) fn examine(config: &Config, is_guarded: bool) -> Result<Self, Unprotected> {
        let (cables, mut faults) = Cables::find(config);
        let are_found = faults.is_empty();
        faults.extend(cables.faults(are_found));
        if is_guarded && !faults.is_empty() {
            return Err(Unprotected(faults));
        }
        if !is_guarded {
            let found = if faults.is_empty() {
                "nothing".to_owned()
            } else {
                faults.join("; ")
            };
            alarm(format_args!(
                "UNPROTECTED, by --unprotected: the kernel may speak for inner. Found: {found}"
            ));
        }
        Ok(Self {
            cables,
            is_guarded,
            lost: None,
            at: micros(),
        })
    }

    /// What has been wrong since the start.
    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    /// For operators.
    pub(super) fn status(&self) -> String {
        match (&self.lost, self.is_guarded) {
            (Some(lost), _) => format!("lost: {lost}"),
            (None, true) => "on".to_owned(),
            (None, false) => "NONE: started with --unprotected".to_owned(),
        }
    }
}

impl Gate {
    /// Looks at the machine once a second. What a moment without its protection has let pass nobody knows: the cut stays.
    pub(super) fn watch(&mut self) {
        let (now, machine) = (micros(), &mut self.machine);
        if !machine.is_guarded || machine.lost.is_some() || now < machine.at + WATCH_EVERY {
            return;
        }
        machine.at = now;
        if let Some(fault) = machine.cables.faults(true).into_iter().next() {
            alarm(format_args!(
                "the machine does not protect the link any more: {fault}"
            ));
            machine.lost = Some(fault);
            self.valve.cut(Cut::Machine);
        }
    }
}

impl Cables {
    /// All that is wrong, each with its mend. Whether the rules are loaded, only complete cables can tell.
    fn faults(&self, are_complete: bool) -> Vec<String> {
        let mut faults = vec![];
        let cables: Vec<_> = [&self.inside, &self.outside].into_iter().flatten().collect();
        if cables.is_empty() {
            return faults;
        }
        let mut want = |setting: String, is_good: fn(u32) -> bool, good: u32| {
            let path = format!("/proc/sys/net/{setting}");
            // Where a kernel has no IPv6, it has no settings of it.
            if setting.starts_with("ipv6") && !std::path::Path::new("/proc/sys/net/ipv6").exists() {
                return;
            }
            let found = std::fs::read_to_string(&path)
                .ok()
                .and_then(|text| text.trim().parse().ok());
            match found {
                Some(found) if is_good(found) => {}
                Some(found) => faults.push(format!("{path} is {found}: echo {good} > {path}")),
                None => faults.push(format!("{path} cannot be read, must be {good}")),
            }
        };
        // The larger of the two counts: neither may be loose, and the interface's own is strict.
        want("ipv4/conf/all/rp_filter".to_owned(), |found| found <= 1, 1);
        let devices = cables
            .iter()
            .map(|cable| (cable.device.as_str(), cable.peer.is_ipv4()));
        for (device, is_ipv4) in devices.clone() {
            want(format!("ipv4/conf/{device}/rp_filter"), |found| found == 1, 1);
            if is_ipv4 {
                want(format!("ipv6/conf/{device}/disable_ipv6"), |found| found == 1, 1);
            }
        }
        for device in devices.map(|(device, _)| device).chain(["all"]) {
            for version in ["ipv4", "ipv6"] {
                want(
                    format!("{version}/conf/{device}/forwarding"),
                    |found| found == 0,
                    0,
                );
            }
        }
        faults.extend(cables.iter().filter_map(|cable| cable.fault()));
        if are_complete {
            faults.extend(self.unloaded());
        }
        faults
    }

    /// Sends nothing to nobody, over the loopback interface: the rules for these links stop it, and no others do.
    fn unloaded(&self) -> Option<String> {
        let mark = self.mark();
        let send = |port: u16, to: Ipv4Addr| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            tell_drops(&socket)?;
            socket.send_to(&[], SocketAddrV4::new(to, port))
        };
        // To itself: where that is stopped too, being stopped says nothing.
        let clear = |port| send(port, Ipv4Addr::LOCALHOST).map_err(|error| error.raw_os_error());
        if let Err(error) = [mark.port(), mark.port() | 1]
            .map(clear)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
        {
            return Some(format!(
                "nothing can be sent over lo (error {error:?}), so that nobody can tell whether the rules are loaded: ip link set lo up, and let no other firewall stop it"
            ));
        }
        let stopped = |port, by: Errno| {
            send(port, *mark.ip()).is_err_and(|error| Errno::from_io_error(&error) == Some(by))
        };
        let is_loaded = stopped(mark.port(), Errno::PERM) && stopped(mark.port() | 1, Errno::NOBUFS);
        (!is_loaded).then(|| {
            "the kernel's rules for these links and interfaces are not loaded: weir gate nft | nft -f -"
                .to_owned()
        })
    }
}

impl Cable {
    /// Whether the interface is still the one that it was, and up.
    fn fault(&self) -> Option<String> {
        let Self { device, index, .. } = self;
        match index_of(device) {
            Ok(found) if found == *index => {}
            Ok(found) => {
                return Some(format!(
                    "interface {device} is another than it was: {found}, not {index}"
                ));
            }
            Err(error) => return Some(format!("{error:#}")),
        }
        let read =
            |file| std::fs::read_to_string(format!("/sys/class/net/{device}/{file}")).unwrap_or_default();
        let flags = read("flags")
            .trim()
            .strip_prefix("0x")
            .and_then(|hex| u32::from_str_radix(hex, 16).ok());
        match flags {
            _ if read("ifindex").trim() != index.to_string() => Some(format!(
                "/sys/class/net/{device} is not of this network namespace: mount sysfs in it"
            )),
            Some(flags) if flags & IFF_UP != 0 => None,
            _ => Some(format!("interface {device} is down: ip link set {device} up")),
        }
    }
}

/// Microseconds.
const WATCH_EVERY: u64 = 1_000_000;
/// Of an interface's flags.
const IFF_UP: u32 = 1;
