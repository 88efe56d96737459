//! Whatever ends the work, the link goes down before a word is said.

use std::cell::RefCell;

use anyhow::{Result, bail, ensure};

#[path = "../src/hold.rs"]
mod hold;

use hold::{DOWN, NOT_DOWN};

type Work = fn() -> Result<()>;

/// What happened, in its order, and the exit code.
fn happened(work: impl FnOnce() -> Result<()>, down: impl FnOnce() -> Result<()>) -> (Vec<String>, u8) {
    let all = RefCell::new(Vec::new());
    let down = || {
        all.borrow_mut().push("down".to_owned());
        down()
    };
    let code = hold::hold("eth1", work, down, |words| {
        all.borrow_mut().push(words.to_owned())
    });
    (all.into_inner(), code)
}

#[test]
fn the_link_goes_down_first() {
    hold::keep_panics_quiet();
    let ends: [(Work, u8, &str); 4] = [
        (|| Ok(()), 0, "asked to end: interface eth1 goes down"),
        (|| bail!("full"), DOWN, "alarm: full: interface eth1 goes down"),
        (|| panic!("a bug"), DOWN, "a bug"),
        (|| ensure_index(&[], 3), DOWN, "index out of bounds"),
    ];
    for (work, expected, words) in ends {
        let (all, code) = happened(work, || Ok(()));
        assert_eq!(
            (all[0].as_str(), all.len(), code),
            ("down", 2, expected),
            "{all:?}"
        );
        assert!(all[1].contains(words), "{all:?}");
        // And if it stays up, that is the exit code.
        for down in [|| bail!("no right"), || panic!("no right")] as [Work; 2] {
            let (all, code) = happened(work, down);
            assert_eq!(
                (all[0].as_str(), all.len(), code),
                ("down", 3, NOT_DOWN),
                "{all:?}"
            );
            assert!(
                all[2].contains("eth1 CANNOT BE TAKEN DOWN") && all[2].contains("no right"),
                "{all:?}"
            );
        }
    }
    assert!(hold::caught(|| Ok(())).is_ok());
}

fn ensure_index(of: &[u8], at: usize) -> Result<()> {
    ensure!(of[at] == 0);
    Ok(())
}
