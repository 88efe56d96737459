//! Messages of netlink, as bytes. What is cut off or malformed is no message.

/// A request of `kind`.
pub(crate) fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let len = (MESSAGE + body.len()) as u32;
    let kind = [kind, flags | libc::NLM_F_REQUEST as u16]
        .map(u16::to_ne_bytes)
        .concat();
    [&len.to_ne_bytes()[..], &kind, &[0; 8], body].concat()
}

/// An `ifinfomsg`: the flags in `change` shall be as in `flags`.
pub(crate) fn link(index: i32, flags: i32, change: i32) -> Vec<u8> {
    [0, index, flags, change].map(i32::to_ne_bytes).concat()
}

pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = ATTRIBUTE + value.len();
    let mut bytes = [&(len as u16).to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(len.next_multiple_of(4), 0);
    bytes
}

/// The messages of a datagram, kind and body.
pub(crate) fn messages(mut bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let len = u32::from_ne_bytes(at(bytes, 0)?) as usize;
        all.push((u16::from_ne_bytes(at(bytes, 4)?), bytes.get(MESSAGE..len)?));
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(all)
}

/// The value of the first attribute of this kind.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut all = attributes(bytes)?.into_iter();
    all.find_map(|(one, value)| (one == kind).then_some(value))
}

/// What the kernel says of an interface.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) index: i32,
    pub(crate) name: String,
    pub(crate) is_up: bool,
    /// Frames that came: those that the machine had, those that were bad, those that the hardware had no room for.
    pub(crate) received: Option<u64>,
    /// Why its frames cannot be counted.
    pub(crate) fault: Option<&'static str>,
}

impl Status {
    /// The body of a message on an interface. One of another family speaks of bridges and the like.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut status = Self {
            index: i32::from_ne_bytes(at(body, 4)?),
            is_up: i32::from_ne_bytes(at(body, 8)?) & libc::IFF_UP != 0,
            ..Self::default()
        };
        for (kind, value) in attributes(body.get(16..)?)? {
            match kind {
                libc::IFLA_IFNAME => status.name = text(value),
                libc::IFLA_MTU if u32::from_ne_bytes(at(value, 0)?) > MTU => {
                    status.fault =
                        Some("its MTU is above 1500: what is not seen may be longer than it is counted");
                }
                libc::IFLA_XDP if find(value, XDP_ATTACHED)? != [0] => {
                    status.fault = Some("an XDP program has its frames before the tap");
                }
                libc::IFLA_STATS64 => {
                    let one = |number: usize| Some(u64::from_ne_bytes(at(value, 8 * number)?));
                    let add = |sum: u64, number| Some(sum.saturating_add(one(number)?));
                    status.received = STATS.into_iter().try_fold(0, add);
                }
                _ => {}
            }
        }
        (i32::from(body[0]) == libc::AF_UNSPEC).then_some(status)
    }
}

/// The features by which the kernel joins frames, of those that are on in an answer of ethtool.
pub(crate) fn joining(body: &[u8]) -> Option<Vec<String>> {
    let bits = find(find(body.get(4..)?, FEATURES_ACTIVE)?, BITSET_BITS)?;
    let names = attributes(bits)?
        .into_iter()
        .map(|(_, bit)| find(bit, BIT_NAME).map(text));
    let mut names = names.collect::<Option<Vec<_>>>()?;
    names.retain(|name| {
        ["rx-gro", "rx-lro", "rx-udp-gro"]
            .iter()
            .any(|joins| name.starts_with(joins))
    });
    Some(names)
}

fn attributes(mut bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let len = u16::from_ne_bytes(at(bytes, 0)?).into();
        // The two highest bits say how the value is built, not what it is.
        all.push((
            u16::from_ne_bytes(at(bytes, 2)?) & 0x3fff,
            bytes.get(ATTRIBUTE..len)?,
        ));
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(all)
}

fn at<const N: usize>(bytes: &[u8], from: usize) -> Option<[u8; N]> {
    bytes.get(from..)?.first_chunk().copied()
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

/// Lengths of heads.
const MESSAGE: usize = 16;
const ATTRIBUTE: usize = 4;
/// The largest that goes with the longest frame.
const MTU: u32 = 1500;
/// In `rtnl_link_stats64`: `rx_packets`, `rx_errors`, `rx_missed_errors`.
const STATS: [usize; 3] = [0, 4, 15];
// Of linux/if_link.h and linux/ethtool_netlink.h.
const XDP_ATTACHED: u16 = 2;
const FEATURES_ACTIVE: u16 = 4;
const BITSET_BITS: u16 = 3;
const BIT_NAME: u16 = 2;
