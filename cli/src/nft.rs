//! Rules for nftables: the kernel counts what goes to outer by itself, and passes nothing beside the links, and these from the gate's user
//! alone. SPEC 9.3.
//!
//! There are two layers, as each has a gap. Chains at an interface's own hooks (table netdev) see all that passes it, raw packets and
//! other protocols too; but they go by its name, and since Linux 6.16 an interface that is renamed leaves them behind. Chains of IP and
//! of ARP (tables inet and arp) see what the kernel says, and go by the index: a link's packet passes where index *and* name are
//! those for which the rules were made, so that none passes where the interface's own chains may be gone.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use weir_gate::{Cable, Cables, Config, ConfigArgs, Rules};
use weir_ledger::Limit;
use weir_meter::LinkCost;

use crate::reconcile::counters::{Gone, ask_kernel, loaded, tap};

/// Prints the rules for nftables that count what goes to outer without the gate, and pass nothing beside the links: pipe it to `nft -f -`
///
/// They hold for the interfaces as they are now: print them on the gate's machine, and anew when one has come anew.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The interface to inner [default: inside.device]
    #[arg(long, value_name = "NAME")]
    inside: Option<String>,
    /// The interface to outer [default: outside.device]
    #[arg(long, alias = "interface", value_name = "NAME")]
    outside: Option<String>,
    /// The user that the gate runs as, by name or number: nobody else's packets pass as the link's [default: who runs this command]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// What `weir reconcile` keeps of the kernel's count (its baseline's name and `.kernel`): the rules begin there, if it is more
    #[arg(long, value_name = "FILE")]
    kept: Option<PathBuf>,
    /// The tap's state file, or a copy: the rules begin there, if it is more
    #[arg(long, value_name = "FILE")]
    tap: Option<PathBuf>,
    /// Bytes on the line after which the kernel lets nothing pass [default: the ledger's total; without a ledger meter.total]
    #[arg(long, value_name = "BYTES")]
    cap_bytes: Option<u64>,
    /// Datagrams that have left before: the counters go on from there, if no other count is more [default: as the ledger says]
    #[arg(long, value_name = "N")]
    datagrams: Option<u64>,
    /// Bytes of these on the line [default: all that the ledger has charged, which is more]
    #[arg(long, value_name = "BYTES")]
    line_bytes: Option<u64>,
}

/// Prints the table.
pub(crate) fn print(args: &Args) -> Result<()> {
    let mut config = Config::load(&args.config.config)?;
    for (link, flag) in [
        (&mut config.inside, &args.inside),
        (&mut config.outside, &args.outside),
    ] {
        if flag.is_some() {
            link.device.clone_from(flag);
        }
    }
    config.check()?;
    let mut cables = Cables::of(&config)?;
    if let Some(user) = &args.user {
        cables.user = number_of(user)?;
    }
    let cost = match &cables.outside {
        Some(cable) if cable.peer.is_ipv6() => LinkCost::UdpIpv6,
        _ => LinkCost::UdpIpv4,
    };
    let meter = &config.meter;
    let key = meter.key()?;
    let chain = meter
        .ledger
        .as_deref()
        .map(|path| weir_ledger::read(path, key.as_ref()));
    let chain = chain.transpose()?;
    let total = chain.as_ref().and_then(|chain| chain.cap(Limit::Total));
    let state = chain.map(|chain| chain.state).unwrap_or_default();
    let packets = args.datagrams.unwrap_or(state.datagrams);
    let line = args.line_bytes.unwrap_or_else(|| state.reserved.div_ceil(8));
    // What a gate may send from a start on is of less use here, where all that ever left counts.
    let cap = args.cap_bytes.unwrap_or_else(|| total.unwrap_or(meter.total) / 8);
    let rules = config.rules()?;
    let on_line = |frames, bytes| Gone {
        frames,
        bytes,
        used: quota(bytes, &rules, cost),
    };
    // The ledger is the gate's, and a gate that was taken over charges what it likes: the greatest count is where the rules begin.
    let mut gone = on_line(packets, line);
    if let Some(path) = &args.kept {
        gone = gone.or(Gone::read(path)?);
    }
    if let Some(path) = &args.tap {
        let (frames, bytes, _) = tap(path)?;
        gone = gone.or(on_line(frames, bytes));
    }
    match ask_kernel() {
        Ok(said) => gone = gone.or(loaded(&said).unwrap_or_default()),
        // Printed for another machine, or to be looked at.
        Err(error) => drop(writeln!(
            std::io::stderr(),
            "weir: no rules before these are counted: {error:#}"
        )),
    }
    let counts = Counts {
        quota: quota(cap, &rules, cost),
        used: gone.used,
        packets: gone.frames,
        bytes: gone.bytes.saturating_sub(gone.frames.saturating_mul(AROUND)),
    };
    let mut out = std::io::stdout();
    // Half of the rules must not pass for all of them.
    let all = out
        .write_all(text(&cables, &counts).as_bytes())
        .and_then(|()| out.flush());
    all.context("the rules cannot be written")
}

/// A user's number.
fn number_of(user: &str) -> Result<u32> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    let users = std::fs::read_to_string(USERS).context(USERS)?;
    let rows = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut numbers =
        rows.filter_map(|row| (row.first() == Some(&user)).then(|| row.get(2)?.parse().ok())?);
    let number = numbers.next();
    number.with_context(|| {
        format!("--user: no user is called {user} in {USERS}; where others are kept, give the number")
    })
}

/// Where the kernel's counters begin, and where its quota ends. Bytes as the kernel counts them.
#[derive(Default)]
struct Counts {
    quota: u64,
    used: u64,
    packets: u64,
    bytes: u64,
}

/// Bytes as the kernel counts them that can never be more than `line` bytes on the line, whatever the lengths of frames.
/// With frames of one length it is exact; with others the kernel stops earlier than it need.
fn quota(line: u64, rules: &Rules, cost: LinkCost) -> u64 {
    let parameters = &rules.parameters;
    let worst = (0..=usize::from(parameters.mtu))
        .filter(|&len| parameters.shape.allows(parameters, len))
        .filter_map(|len| Some((len as u64 + headers(cost), cost.bits(len)? / 8)))
        // The least bytes as the kernel counts them for each on the line.
        .min_by(|(a, a_line), (b, b_line)| (a * b_line).cmp(&(b * a_line)));
    worst.map_or(0, |(counted, on_line)| {
        (u128::from(line) * u128::from(counted) / u128::from(on_line)) as u64
    })
}

/// Bytes of MAC, IP and UDP headers.
const fn headers(cost: LinkCost) -> u64 {
    match cost {
        LinkCost::UdpIpv6 => 14 + 40 + 8,
        _ => 14 + 20 + 8,
    }
}

/// All tables. Counted in `other` is what would have gone to outer beside the link, or with a link's address anywhere else.
fn text(cables: &Cables, counts: &Counts) -> String {
    let Counts {
        quota,
        used,
        packets,
        bytes,
    } = counts;
    let (mark, user) = (cables.mark(), cables.user);
    let (at, port, above) = (mark.ip(), mark.port(), mark.port() + 1);
    let [mut hooks, mut arrives, mut leaves, mut arp_in, mut arp_out] = [const { String::new() }; 5];
    // Outer's first: what would have gone there is counted as that, whatever its addresses say.
    let sides = [
        ("outside", "other", "goto link", &cables.outside),
        ("inside", "inside_out", "accept", &cables.inside),
    ];
    let sides = || {
        sides
            .into_iter()
            .filter_map(|(side, other, pass, cable)| Some((side, other, pass, cable.as_ref()?)))
    };
    // Writing to a string cannot fail.
    for (side, other, pass, cable) in sides() {
        let Cable {
            device,
            index,
            local,
            peer,
        } = cable;
        let (ours, theirs) = (packets_of(local, peer), packets_of(peer, local));
        // Read from the frame itself: a tag is no IP.
        let frame = if peer.is_ipv4() {
            "@ll,96,16 0x0800"
        } else {
            "@ll,96,16 0x86dd"
        };
        let _ = write!(
            hooks,
            "\tchain {side}_out {{\n\
             \t\ttype filter hook egress device \"{device}\" priority 0; policy drop;\n\
             \t\tmeta skuid {user} {frame} {ours} {pass}\n\
             \t\tcounter name {other} drop\n\
             \t}}\n\
             \tchain {side}_in {{\n\
             \t\ttype filter hook ingress device \"{device}\" priority 0; policy drop;\n\
             \t\t{frame} {theirs} accept\n\
             \t\tcounter name {side}_in drop\n\
             \t}}\n"
        );
        let _ = writeln!(arrives, "\t\tiif {index} iifname \"{device}\" {theirs} accept");
        let _ = writeln!(
            leaves,
            "\t\tmeta skuid {user} oif {index} oifname \"{device}\" {ours} accept"
        );
    }
    // Whatever else has to do with an interface, or with a link's address wherever it turns up.
    for (
        _,
        other,
        _,
        Cable {
            device,
            index,
            local,
            peer,
        },
    ) in sides()
    {
        let mut stop = |what: &str, is_arp| {
            let (arrives, leaves) = if is_arp {
                (&mut arp_in, &mut arp_out)
            } else {
                (&mut arrives, &mut leaves)
            };
            let _ = writeln!(
                arrives,
                "\t\t{} counter name arriving drop",
                what.replace("DEVICE", "iif")
            );
            let _ = writeln!(
                leaves,
                "\t\t{} counter name {other} drop",
                what.replace("DEVICE", "oif")
            );
        };
        for is_arp in [false, true] {
            stop(&format!("DEVICE {index}"), is_arp);
            stop(&format!("DEVICEname \"{device}\""), is_arp);
        }
        for address in [local.ip(), peer.ip()] {
            for end in ["saddr", "daddr"] {
                if address.is_ipv4() {
                    stop(&format!("ip {end} {address}"), false);
                    stop(&format!("arp {end} ip {address}"), true);
                } else {
                    stop(&format!("ip6 {end} {address}"), false);
                }
            }
        }
    }
    let named = |names: &[&str]| {
        names
            .iter()
            .map(|name| format!("\tcounter {name} {{ packets 0 bytes 0 }}\n"))
            .collect::<String>()
    };
    let (hook_counters, counters) = (
        named(&["short", "over", "other", "inside_out", "inside_in", "outside_in"]),
        named(&["other", "inside_out", "arriving"]),
    );
    format!(
        "# Made by `weir gate nft`. On the line a packet has {AROUND} bytes more than the kernel counts (preamble 8, check\n\
         # sequence 4, gap 12), and no fewer than {LEAST}: line bytes = {LEAST} x packets of short + bytes of long + {AROUND} x packets of long.\n\
         table netdev weir_gate\n\
         delete table netdev weir_gate\n\
         table inet weir_gate\n\
         delete table inet weir_gate\n\
         table arp weir_gate\n\
         delete table arp weir_gate\n\
         table netdev weir_gate {{\n\
         {hook_counters}\
         \tcounter long {{ packets {packets} bytes {bytes} }}\n\
         \tquota cap {{ over {quota} bytes used {used} bytes }}\n\
         \tchain link {{\n\
         \t\tquota name cap counter name over drop\n\
         \t\tmeta length < {SHORT} counter name short accept\n\
         \t\tcounter name long accept\n\
         \t}}\n\
         {hooks}\
         \tchain proof {{\n\
         \t\ttype filter hook egress device \"lo\" priority 0; policy accept;\n\
         \t\tip daddr {at} udp dport {above} drop\n\
         \t}}\n\
         }}\n\
         table inet weir_gate {{\n\
         {counters}\
         \tchain arriving {{\n\
         \t\ttype filter hook prerouting priority -450; policy accept;\n\
         \t\tiif lo accept\n\
         {arrives}\
         \t}}\n\
         \tchain leaving {{\n\
         \t\ttype filter hook postrouting priority 400; policy accept;\n\
         \t\toif lo ip daddr {at} udp dport {port} drop\n\
         \t\toif lo accept\n\
         {leaves}\
         \t}}\n\
         }}\n\
         table arp weir_gate {{\n\
         {counters}\
         \tchain arriving {{\n\
         \t\ttype filter hook input priority 0; policy accept;\n\
         {arp_in}\
         \t}}\n\
         \tchain leaving {{\n\
         \t\ttype filter hook output priority 0; policy accept;\n\
         {arp_out}\
         \t}}\n\
         }}\n"
    )
}

/// What only a packet of a link is: whole, without options, of UDP, from here to there.
fn packets_of(from: &SocketAddr, to: &SocketAddr) -> String {
    let (family, whole) = match from {
        SocketAddr::V4(_) => ("ip", "ip hdrlength 5 ip frag-off & 0x3fff == 0 ip protocol udp"),
        SocketAddr::V6(_) => ("ip6", "ip6 nexthdr udp"),
    };
    let [(from, sport), (to, dport)] = [from, to].map(|end| (end.ip(), end.port()));
    format!("{whole} {family} saddr {from} {family} daddr {to} udp sport {sport} udp dport {dport}")
}

/// Where names of users are.
const USERS: &str = "/etc/passwd";
/// Bytes on the line beside those that the kernel counts.
const AROUND: u64 = 24;
/// Packets below this length are padded.
const SHORT: u64 = 60;
/// Bytes of the shortest frame on the line.
const LEAST: u64 = SHORT + AROUND;

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the rules change, the number `RULES` of `gate/src/host/cables.rs` must, and this hash with it: a gate would take the rules
    /// of before for its own.
    #[test]
    fn rules_that_change_have_another_number() {
        let cable = |index: u32, local: &str, peer: &str| Cable {
            device: format!("eth{index}"),
            index,
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
        };
        let cables = Cables {
            inside: Some(cable(2, "10.0.0.2:7003", "10.0.0.1:7001")),
            outside: Some(cable(3, "[fd00::1]:7004", "[fd00::2]:7002")),
            user: 4,
        };
        let text = text(&cables, &Counts::default());
        assert_eq!(
            blake3::hash(text.as_bytes()).to_string()[..16],
            *"86adf979a2af7db9",
            "{text}"
        );
    }
}
