//! Messages of netlink, as bytes. What is cut off or malformed is no message.

/// A request of `kind`.
pub(crate) fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let len = (HEADER + body.len()) as u32;
    let flags = flags | libc::NLM_F_REQUEST as u16;
    [
        &len.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &[0; 8],
        body,
    ]
    .concat()
}

/// An `ifinfomsg`: what `change` names of the flags shall be as in `flags`.
pub(crate) fn link(index: i32, flags: i32, change: i32) -> Vec<u8> {
    [0, index, flags, change].map(i32::to_ne_bytes).concat()
}

/// One attribute, padded.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = 4 + value.len();
    let mut bytes = [&(len as u16).to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(len.next_multiple_of(4), 0);
    bytes
}

/// The messages of a datagram, kind and body.
pub(crate) fn messages(mut bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_ne_bytes(at(bytes, 0)?) as usize;
        all.push((u16::from_ne_bytes(at(bytes, 4)?), bytes.get(HEADER..len)?));
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(all)
}

/// The attributes in `bytes`, kind and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let len = usize::from(u16::from_ne_bytes(at(bytes, 0)?));
        // The two highest bits say how the value is built, not what it is.
        all.push((u16::from_ne_bytes(at(bytes, 2)?) & 0x3fff, bytes.get(4..len)?));
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(all)
}

/// What the kernel says of an interface.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) index: i32,
    pub(crate) name: String,
    pub(crate) is_up: bool,
    pub(crate) mtu: u32,
    /// A program changes or takes frames before any socket sees them.
    pub(crate) has_xdp: bool,
    /// Frames that came: those that the machine had, those that were bad, and those that the hardware had no room for.
    pub(crate) received: Option<u64>,
}

impl Status {
    /// The body of a message on an interface. One of another family speaks of bridges and the like.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut status = Self {
            index: i32::from_ne_bytes(at(body, 4)?),
            is_up: i32::from_ne_bytes(at(body, 8)?) & libc::IFF_UP != 0,
            ..Self::default()
        };
        if i32::from(body[0]) != libc::AF_UNSPEC {
            return None;
        }
        for (kind, value) in attributes(body.get(16..)?)? {
            match kind {
                libc::IFLA_IFNAME => status.name = text(value),
                libc::IFLA_MTU => status.mtu = u32::from_ne_bytes(at(value, 0)?),
                libc::IFLA_STATS64 => {
                    let sum = STATS.map(|number| Some(u64::from_ne_bytes(at(value, 8 * number)?)));
                    status.received = sum
                        .into_iter()
                        .try_fold(0_u64, |sum, one| Some(sum.saturating_add(one?)));
                }
                libc::IFLA_XDP => {
                    status.has_xdp = attributes(value)?
                        .iter()
                        .any(|(kind, value)| *kind == XDP_ATTACHED && value != &[0]);
                }
                _ => {}
            }
        }
        Some(status)
    }

    /// Why the frames of this interface, which was found under `name` and may have been down, may not all be counted.
    pub(crate) fn fault(&self, name: &str, was_down: bool) -> Option<&'static str> {
        let faults = [
            (self.name != name, "the interface was renamed"),
            (
                was_down && self.is_up,
                "somebody else has set the interface down and up again",
            ),
            (
                self.mtu > MTU,
                "its MTU is above 1500, and frames that were not seen may be longer than they are counted",
            ),
            (self.has_xdp, "an XDP program has its frames before the tap"),
        ];
        faults
            .into_iter()
            .find_map(|(is_so, words)| is_so.then_some(words))
    }
}

/// The features by which the kernel joins frames, of those that are switched on in an answer of ethtool.
pub(crate) fn joining(body: &[u8]) -> Option<Vec<String>> {
    let inner = |bytes, kind| {
        attributes(bytes)?
            .into_iter()
            .find_map(|(one, value)| (one == kind).then_some(value))
    };
    let bits = inner(inner(body.get(4..)?, FEATURES_ACTIVE)?, BITSET_BITS)?;
    let names = attributes(bits)?
        .into_iter()
        .map(|(_, bit)| Some(text(inner(bit, BIT_NAME)?)));
    let names = names.collect::<Option<Vec<_>>>()?;
    let joins =
        |name: &String| name.starts_with("rx-gro") || name == "rx-lro" || name == "rx-udp-gro-forwarding";
    Some(names.into_iter().filter(joins).collect())
}

fn at<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..)?.first_chunk().copied()
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

const HEADER: usize = 16;
/// The largest that goes with the longest frame.
const MTU: u32 = 1500;
/// In `rtnl_link_stats64`: `rx_packets`, `rx_errors`, `rx_missed_errors`.
const STATS: [usize; 3] = [0, 4, 15];
// Of linux/if_link.h and linux/ethtool_netlink.h.
const XDP_ATTACHED: u16 = 2;
const FEATURES_ACTIVE: u16 = 4;
const BITSET_BITS: u16 = 3;
const BIT_NAME: u16 = 2;
