//! What a datagram costs on the physical link. SPEC 7.1.

/// How a datagram of ours travels, and so what surrounds it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LinkCost {
    /// UDP over IPv4 over Ethernet.
    UdpIpv4,
    /// UDP over IPv6 over Ethernet.
    UdpIpv6,
    /// The datagram is the payload of an Ethernet frame.
    Ethernet,
    /// COBS on an 8N1 serial line: 10 bits on the line for each byte.
    Serial,
    /// A Unix socket on this machine: the bytes alone, as what lies behind it is not known.
    Unix,
}

impl LinkCost {
    /// Bits on the physical link of a datagram of `len` bytes: all headers, padding, preamble and gap included.
    /// `None` if the link cannot carry it in one piece.
    pub fn bits(self, len: usize) -> Option<u64> {
        if len > self.mtu() {
            return None;
        }
        let len = u64::try_from(len).ok()?;
        let headers = match self {
            Self::UdpIpv4 => IPV4 + UDP,
            Self::UdpIpv6 => IPV6 + UDP,
            Self::Ethernet => 0,
            // COBS adds a byte for every 254 begun, and the delimiter. SPEC 7.1.
            Self::Serial => return (len + len.div_ceil(254).max(1) + 1).checked_mul(10),
            Self::Unix => return len.checked_mul(8),
        };
        let payload = (headers + len).max(ETHERNET_PAYLOAD_MIN);
        (PREAMBLE + MAC + payload + FCS + GAP).checked_mul(8)
    }

    /// Longest datagram that the link carries in one piece, with an Ethernet MTU of 1500 bytes.
    pub const fn mtu(self) -> usize {
        match self {
            Self::UdpIpv4 => ETHERNET_PAYLOAD_MAX - (IPV4 + UDP) as usize,
            Self::UdpIpv6 => ETHERNET_PAYLOAD_MAX - (IPV6 + UDP) as usize,
            Self::Ethernet => ETHERNET_PAYLOAD_MAX,
            Self::Serial | Self::Unix => 65_507,
        }
    }
}

const PREAMBLE: u64 = 8;
const MAC: u64 = 14;
const FCS: u64 = 4;
const GAP: u64 = 12;
/// A frame has at least 64 bytes from MAC header to FCS.
const ETHERNET_PAYLOAD_MIN: u64 = 64 - MAC - FCS;
const ETHERNET_PAYLOAD_MAX: usize = 1500;
const IPV4: u64 = 20;
const IPV6: u64 = 40;
const UDP: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_ethernet_frame_takes_84_bytes() {
        for len in [0, 1, 18] {
            assert_eq!(LinkCost::UdpIpv4.bits(len), Some(84 * 8));
        }
        assert_eq!(LinkCost::UdpIpv4.bits(19), Some(85 * 8));
        assert_eq!(LinkCost::UdpIpv6.bits(0), Some((48 + 38) * 8));
        assert_eq!(LinkCost::Ethernet.bits(46), Some(84 * 8));
        assert_eq!(LinkCost::Ethernet.bits(47), Some(85 * 8));
    }

    #[test]
    fn the_largest_ethernet_frame_takes_1538_bytes() {
        for cost in [LinkCost::UdpIpv4, LinkCost::UdpIpv6, LinkCost::Ethernet] {
            assert_eq!(cost.bits(cost.mtu()), Some(1538 * 8));
            assert_eq!(cost.bits(cost.mtu() + 1), None);
        }
    }

    #[test]
    fn serial_counts_cobs_and_start_and_stop_bits() {
        assert_eq!(LinkCost::Serial.bits(0), Some(2 * 10));
        assert_eq!(LinkCost::Serial.bits(254), Some(256 * 10));
        assert_eq!(LinkCost::Serial.bits(255), Some(258 * 10));
        assert_eq!(LinkCost::Serial.bits(usize::MAX), None);
    }
}
