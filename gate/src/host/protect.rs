//! Whether the machine around the gate lets nothing pass beside it. A gate that finds fault with it does not start, and one that
//! finds fault later, once a second, cuts for good. SPEC 9.5.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity};
use thiserror::Error;
use weir_link::{fault_of, interrupts, is_every_core, setting_fault, tell_drops};
use weir_meter::Instant;

use super::alarm::alarm;
use super::cables::{Cable, Cables};
use super::clock::now;
use super::config::Config;

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
    pub(super) lost: Option<String>,
    at: Instant,
}

impl Machine {
    /// Looks at the machine before anything is opened on it.
    pub(super) fn examine(config: &Config, is_guarded: bool) -> Result<Self, Unprotected> {
        let (cables, mut faults) = Cables::find(config);
        faults.extend(cables.faults());
        faults.extend(disturbances(&cables));
        if is_guarded && !faults.is_empty() {
            return Err(Unprotected(faults));
        }
        if !is_guarded {
            let found = faults.join("; ");
            alarm(format_args!(
                "UNPROTECTED, by --unprotected: the kernel may speak for inner. Found: [{found}]"
            ));
        }
        Ok(Self {
            cables,
            is_guarded,
            lost: None,
            at: now(),
        })
    }

    /// Looks once a second, until there is a fault: whether there is one now that was not there before.
    pub(super) fn watch(&mut self) -> bool {
        if !self.is_guarded || self.lost.is_some() || now() < self.at + WATCH_EVERY {
            return false;
        }
        self.at = now();
        self.lost = self.cables.faults().into_iter().next();
        if let Some(fault) = &self.lost {
            alarm(format_args!(
                "the machine does not protect the link any more: {fault}"
            ));
        }
        self.lost.is_some()
    }

    /// For operators.
    pub(super) fn status(&self) -> String {
        match (&self.lost, self.is_guarded) {
            (Some(lost), _) => format!("lost: {lost}"),
            (None, true) if self.cables.iter().next().is_none() => "none: no link over a network".to_owned(),
            (None, true) => "on".to_owned(),
            (None, false) => "NONE: started with --unprotected".to_owned(),
        }
    }
}

impl Cables {
    /// All that is wrong, each with its mend.
    fn faults(&self) -> Vec<String> {
        let cables: Vec<_> = self.iter().collect();
        if cables.is_empty() {
            return vec![];
        }
        let lost = cables
            .iter()
            .filter_map(|cable| fault_of(&cable.device, cable.index));
        // Of `rp_filter` the larger of the two counts: the interface's own is strict, and neither is loose.
        let mut wanted = vec![("ipv4/conf/all/rp_filter".to_owned(), 0..=1)];
        for version in ["ipv4", "ipv6"] {
            wanted.push((format!("{version}/conf/all/forwarding"), 0..=0));
            for Cable { device, peer, .. } in &cables {
                wanted.push((format!("{version}/conf/{device}/forwarding"), 0..=0));
                match version {
                    "ipv4" => wanted.push((format!("ipv4/conf/{device}/rp_filter"), 1..=1)),
                    _ if peer.is_ipv4() => wanted.push((format!("ipv6/conf/{device}/disable_ipv6"), 1..=1)),
                    _ => {}
                }
            }
        }
        let wrong = wanted.iter().filter_map(|(name, good)| setting_fault(name, good));
        lost.chain(wrong).chain(self.unloaded()).collect()
    }

    /// Sends nothing to nobody, over the loopback interface: the rules for these links stop it, and no others do.
    fn unloaded(&self) -> Option<String> {
        let mark = self.mark();
        let send = |port: u16, to: Ipv4Addr| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            tell_drops(&socket)?;
            socket.send_to(&[], SocketAddrV4::new(to, port))
        };
        // Where any other port is closed too, a closed one says nothing.
        let is_open = |port| send(port, Ipv4Addr::LOCALHOST).is_ok();
        if !is_open(mark.port()) || !is_open(mark.port() | 1) {
            let why = "nothing can be sent over lo, so that nobody can tell whether the rules are loaded";
            return Some(format!(
                "{why}: ip link set lo up, and let no other firewall stop it"
            ));
        }
        let stopped = |port, by: Errno| {
            send(port, *mark.ip()).is_err_and(|error| Errno::from_io_error(&error) == Some(by))
        };
        let is_loaded = stopped(mark.port(), Errno::PERM) && stopped(mark.port() | 1, Errno::NOBUFS);
        let why = "the kernel's rules for these links, these interfaces and this user are not loaded: weir gate nft";
        (!is_loaded).then(|| format!("{why} --user {} | nft -f -", self.user))
    }
}

/// Why packets of these links would shift the gate's moments: each reason with what mends it. SPEC 9.2.
fn disturbances(cables: &Cables) -> Vec<String> {
    let allowed = sched_getaffinity(None).ok();
    let is_ours = |&core: &usize| allowed.is_none_or(|allowed| allowed.is_set(core));
    let cores = (0..CpuSet::MAX_CPU).filter(is_ours).collect();
    let mut reasons: Vec<_> = cables
        .iter()
        .flat_map(|cable| interrupts(Path::new("/"), &cable.device, &cores))
        .collect();
    if cables.iter().next().is_some() && is_every_core(&cores) {
        let why = "the gate may run on every core of this machine: give it one of its own (CPUAffinity= in its unit)";
        reasons.push(why.to_owned());
    }
    reasons
}

const WATCH_EVERY: Duration = Duration::from_secs(1);
