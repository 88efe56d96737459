//! What frames take on the line, and when it is too much.

#[path = "../src/count.rs"]
mod count;

use count::{Compare, Count, Frame, Total};

fn plain(len: usize) -> Frame {
    Frame {
        len,
        ..Frame::default()
    }
}

fn joined(len: usize, payload: u16) -> Frame {
    Frame {
        joined: Some(payload),
        ..plain(len)
    }
}

#[test]
fn frames_take_what_the_line_takes() {
    let mut count = Count::new(Total::default(), 10_000, 0);
    for (len, bytes, tagged) in [
        (42, 84, 84),
        (56, 84, 84),
        (57, 84, 85),
        (60, 84, 88),
        (61, 85, 89),
        (1514, 1538, 1542),
    ] {
        for (has_tag, bytes) in [(false, bytes), (true, tagged)] {
            let before = count.total().bytes;
            count.frame(&Frame {
                has_tag,
                ..plain(len)
            });
            assert_eq!(count.total().bytes - before, bytes);
        }
    }
    assert_eq!((count.total().frames, count.verdict()), (12, Ok(())));
}

#[test]
fn each_limit_has_its_verdict() {
    let said = |count: &Count| count.verdict().unwrap_err();
    let mut cap = Count::new(Total::default(), 200, 1);
    cap.frame(&plain(60));
    cap.frame(&plain(60));
    assert_eq!(cap.verdict(), Ok(()));
    cap.frame(&plain(60));
    assert!(said(&cap).contains("cap"));
    let mut drops = Count::new(Total::default(), 1 << 20, 1);
    drops.drops(1);
    assert_eq!((drops.verdict(), drops.total().bytes), (Ok(()), 1542));
    drops.drops(1);
    assert!(said(&drops).contains("not seen"));
    // Longer than one with a tag can be, or joined as the kernel says, however short it is.
    let tagged = Frame {
        has_tag: true,
        ..plain(1515)
    };
    for frame in [plain(1519), tagged, joined(106, 1), Frame::UNKNOWN] {
        let mut count = Count::new(Total::default(), 1 << 40, 1);
        count.frame(&frame);
        assert!(said(&count).contains("joined"), "{frame:?}");
    }
}

#[test]
fn a_joined_frame_counts_for_at_least_those_that_were_sent() {
    // UDP datagrams of so many bytes, joined: one header of 42 bytes, then all payloads.
    for payload in 1..=1472_u16 {
        for number in [2, 3, 64] {
            let mut count = Count::new(Total::default(), u64::MAX, 0);
            count.frame(&joined(42 + number * usize::from(payload), payload));
            let line = number as u64 * ((42 + u64::from(payload)).max(60) + 24);
            let total = count.total();
            assert!(
                total.bytes >= line && total.frames >= number as u64,
                "{number} of {payload}"
            );
        }
    }
}

#[test]
fn counts_go_on_and_never_wrap() {
    let before = Total {
        frames: u64::MAX - 1,
        bytes: u64::MAX - 1,
        drops: 3,
        joined: 0,
    };
    let mut count = Count::new(before, u64::MAX, 1);
    count.frame(&plain(60));
    assert_eq!(count.total().frames, u64::MAX);
    assert!(count.verdict().unwrap_err().contains("cap"));
    count.drops(u64::MAX);
    count.frame(&joined(1 << 16, 1));
    assert_eq!((count.total().frames, count.total().bytes), (u64::MAX, u64::MAX));
}

#[test]
fn what_the_interface_has_and_the_socket_has_not_is_said_once_it_is_settled() {
    let mut compare = Compare::new(1000);
    // Under way at one look, there at the next.
    assert_eq!(compare.look(0, 1001), Some(0));
    assert_eq!(compare.look(1, 1001), Some(0));
    // Steady traffic, of which the socket has a little less at each look.
    for look in 1..100 {
        assert_eq!(compare.look(9 + u64::from(look > 1), 1001 + 10 * look), Some(0));
    }
    assert_eq!(compare.look(1, 1991), Some(0));
    // Three are lost: once, and not again.
    assert_eq!(compare.look(0, 1994), Some(0));
    assert_eq!(compare.look(0, 1994), Some(0));
    assert_eq!(compare.look(0, 1994), Some(3));
    assert_eq!(compare.look(0, 1994), Some(0));
    // A counter that goes back tells nothing any more.
    assert_eq!(compare.look(0, 1993), None);
    assert_eq!(compare.look(0, 5), None);
    assert_eq!(compare.look(0, 5), Some(0));
}
