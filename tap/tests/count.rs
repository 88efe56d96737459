//! What frames take on the line, and when it is too much.

#[path = "../src/count.rs"]
mod count;

use count::{Count, Total, Verdict};

#[test]
fn frames_take_what_the_line_takes() {
    let mut count = Count::new(Total::default(), 10_000, 0);
    for (len, bytes) in [(42, 84), (60, 84), (61, 85), (1514, 1538)] {
        let before = count.total().bytes;
        count.frame(len);
        assert_eq!(count.total().bytes - before, bytes);
    }
    assert_eq!((count.total().frames, count.verdict()), (4, Verdict::Go));
}

#[test]
fn each_limit_has_its_verdict() {
    let fresh = || Count::new(Total::default(), 200, 1);
    let mut cap = fresh();
    cap.frame(60);
    cap.frame(60);
    assert_eq!(cap.verdict(), Verdict::Go);
    cap.frame(60);
    assert_eq!(cap.verdict(), Verdict::Cap);
    let mut drops = Count::new(Total::default(), 1 << 20, 1);
    drops.drops(1);
    assert_eq!((drops.verdict(), drops.total().bytes), (Verdict::Go, 1538));
    drops.drops(1);
    assert_eq!(drops.verdict(), Verdict::Drops);
    let mut joined = fresh();
    joined.frame(1515);
    assert_eq!(joined.verdict(), Verdict::Joined);
    for verdict in [Verdict::Cap, Verdict::Drops, Verdict::Joined] {
        assert!(!verdict.to_string().is_empty());
    }
}

#[test]
fn counts_go_on_and_never_wrap() {
    let before = Total {
        frames: 7,
        bytes: u64::MAX - 1,
        drops: 3,
        joined: 0,
    };
    let mut count = Count::new(before, u64::MAX, 1);
    count.frame(60);
    assert_eq!((count.total().frames, count.verdict()), (8, Verdict::Cap));
}
