//! Messages of netlink: what the kernel means, and what is not whole.

#[path = "../src/netlink.rs"]
mod netlink;

use netlink::{Status, attribute, find, joining, link, messages, request};

fn stats(packets: u64, errors: u64, missed: u64) -> Vec<u8> {
    let mut all = [7_u64; 25];
    (all[0], all[4], all[15]) = (packets, errors, missed);
    attribute(libc::IFLA_STATS64, &all.map(u64::to_ne_bytes).concat())
}

fn interface(flags: i32, attributes: &[Vec<u8>]) -> Vec<u8> {
    [link(5, flags, 0), attributes.concat()].concat()
}

#[test]
fn an_interface_is_read() {
    let xdp = |attached| attribute(libc::IFLA_XDP, &attribute(2, &[attached]));
    let mtu = |mtu: u32| attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
    let named = attribute(libc::IFLA_IFNAME, b"eth1\0");
    let body = interface(
        libc::IFF_UP | libc::IFF_PROMISC,
        &[named, mtu(1500), xdp(0), stats(10, 200, 3000)],
    );
    let status = Status::parse(&body).unwrap();
    let expected = Status {
        index: 5,
        name: "eth1".to_owned(),
        is_up: true,
        received: Some(3210),
        fault: None,
    };
    assert_eq!(status, expected);
    let parsed = |attributes: &[Vec<u8>]| Status::parse(&interface(0, attributes)).unwrap();
    assert!(!parsed(&[]).is_up && parsed(&[]).received.is_none());
    assert!(parsed(&[mtu(1501)]).fault.unwrap().contains("MTU"));
    for mode in 1..=4 {
        assert!(parsed(&[xdp(mode)]).fault.unwrap().contains("XDP"));
    }
    assert_eq!(parsed(&[stats(u64::MAX, 1, 0)]).received, Some(u64::MAX));
    // Of a bridge's port.
    let mut bridge = body;
    bridge[0] = libc::AF_BRIDGE as u8;
    assert_eq!(Status::parse(&bridge), None);
}

#[test]
fn what_is_cut_off_is_no_message() {
    let attributes = [attribute(libc::IFLA_IFNAME, b"eth1\0"), stats(1, 2, 3)];
    let body = interface(libc::IFF_UP, &attributes);
    let whole = [
        request(libc::RTM_NEWLINK, 0, &body),
        request(libc::RTM_DELLINK, 0, &body),
    ];
    let all = whole.concat();
    let kinds = |bytes| Some(messages(bytes)?.iter().map(|(kind, _)| *kind).collect::<Vec<_>>());
    assert_eq!(kinds(&all), Some(vec![libc::RTM_NEWLINK, libc::RTM_DELLINK]));
    // A change that was not read must not look like none.
    for len in 1..all.len() {
        assert_eq!(messages(&all[..len]).is_some(), len == whole[0].len(), "{len}");
    }
    // 16 bytes of a header, and the name: what is there without the counters is known not to have them.
    for len in 0..body.len() {
        let status = Status::parse(&body[..len]);
        assert!(status.is_none_or(|status| status.received.is_none()), "{len}");
    }
    // Lengths that lie.
    for len in [0_u32, 15, u32::MAX] {
        let mut lie = whole[0].clone();
        lie[..4].copy_from_slice(&len.to_ne_bytes());
        assert_eq!(messages(&lie), None, "{len}");
    }
    for len in [0_u16, 3, u16::MAX] {
        assert_eq!(find(&[len.to_ne_bytes(), [1, 0]].concat(), 1), None, "{len}");
    }
}

#[test]
fn features_that_join_frames_are_found() {
    let bits = |names: &[&str]| {
        let bit = |name: &&str| {
            attribute(
                1,
                &[
                    attribute(1, &[1, 0, 0, 0]),
                    attribute(2, format!("{name}\0").as_bytes()),
                ]
                .concat(),
            )
        };
        attribute(3 | 0x8000, &names.iter().map(bit).collect::<Vec<_>>().concat())
    };
    let answer = |active: &[&str]| {
        // What could be on is of no interest.
        let hardware = attribute(2, &bits(&["rx-gro"]));
        [vec![0; 4], hardware, attribute(4, &bits(active))].concat()
    };
    assert_eq!(
        joining(&answer(&["tx-scatter-gather", "rx-checksum", "tx-gso-robust"])),
        Some(vec![])
    );
    let all = [
        "rx-gro",
        "rx-lro",
        "rx-gro-hw",
        "rx-gro-list",
        "rx-udp-gro-forwarding",
    ];
    assert_eq!(joining(&answer(&all)).unwrap(), all);
    let whole = answer(&all);
    for len in 0..whole.len() {
        assert_eq!(joining(&whole[..len]), None, "{len}");
    }
}
