//! Rules for nftables: the kernel counts the link by itself, and stops it by itself. SPEC 9.3.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{bail, ensure};
use weir_gate::{Config, ConfigArgs, Rules};
use weir_link::Address;
use weir_meter::LinkCost;
use weir_meter::ledger::Limit;

/// Prints the rules for nftables that count the gate's link, and stop it, without the gate: pipe it to `nft -f -`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The interface to outer
    #[arg(short, long, value_name = "NAME")]
    interface: String,
    /// Bytes on the line after which the kernel lets nothing pass [default: the ledger's total; without a ledger meter.total]
    #[arg(long, value_name = "BYTES")]
    cap_bytes: Option<u64>,
    /// Datagrams that have left before: the counters go on from there [default: as the ledger says]
    #[arg(long, value_name = "N")]
    datagrams: Option<u64>,
    /// Bytes of these on the line [default: all that the ledger has charged, which is more]
    #[arg(long, value_name = "BYTES")]
    line_bytes: Option<u64>,
}

/// Prints the table.
pub(crate) fn print(args: &Args) -> anyhow::Result<()> {
    let config = Config::load(&args.config.config)?;
    let Address::Udp { local, peer } = config.addresses()?.1 else {
        bail!("outside: nftables sees no unix:// link; let it count where that leads")
    };
    ensure!(
        !args.interface.is_empty()
            && args
                .interface
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"'),
        "--interface: {:?} is no name of an interface",
        args.interface
    );
    let cost = if peer.is_ipv4() {
        LinkCost::UdpIpv4
    } else {
        LinkCost::UdpIpv6
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
    let table = Table {
        interface: &args.interface,
        local,
        peer,
        quota: quota(cap, &config.rules()?, cost),
        used: quota(line, &config.rules()?, cost),
        packets,
        bytes: line.saturating_sub(packets.saturating_mul(AROUND)),
    };
    print!("{}", table.text());
    Ok(())
}

struct Table<'a> {
    interface: &'a str,
    local: SocketAddr,
    peer: SocketAddr,
    /// Bytes as the kernel counts them.
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

impl Table<'_> {
    fn text(&self) -> String {
        let Self {
            interface,
            local,
            peer,
            quota,
            used,
            packets,
            bytes,
        } = self;
        let (ethertype, family) = if peer.is_ipv4() {
            ("ip", "ip")
        } else {
            ("ip6", "ip6")
        };
        let (source, destination) = (local.ip(), peer.ip());
        let (sport, dport) = (local.port(), peer.port());
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "# Made by `weir gate nft`. On the line a packet has {AROUND} bytes more than the kernel counts (preamble 8, check\n\
             # sequence 4, gap 12), and no fewer than {LEAST}: line bytes = {LEAST} x packets of short + bytes of long + {AROUND} x packets of long.\n\
             table netdev weir_gate\n\
             delete table netdev weir_gate\n\
             table netdev weir_gate {{\n\
             \tcounter short {{ packets 0 bytes 0 }}\n\
             \tcounter long {{ packets {packets} bytes {bytes} }}\n\
             \tcounter over {{ packets 0 bytes 0 }}\n\
             \tcounter other {{ packets 0 bytes 0 }}\n\
             \tquota cap {{ over {quota} bytes used {used} bytes }}\n\
             \tchain link {{\n\
             \t\tquota name cap counter name over drop\n\
             \t\tmeta length < {SHORT} counter name short accept\n\
             \t\tcounter name long accept\n\
             \t}}\n\
             \tchain egress {{\n\
             \t\ttype filter hook egress device \"{interface}\" priority 0; policy drop;\n\
             \t\tether type {ethertype} {family} saddr {source} {family} daddr {destination} udp sport {sport} udp dport {dport} goto link\n\
             \t\tcounter name other drop\n\
             \t}}\n\
             }}\n"
        );
        text
    }
}

/// Bytes on the line beside those that the kernel counts.
const AROUND: u64 = 24;
/// Packets below this length are padded.
const SHORT: u64 = 60;
/// Bytes of the shortest frame on the line.
const LEAST: u64 = SHORT + AROUND;
