use core::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::fuzzing::container;
use super::*;

fn header() -> Header {
    Header {
        model: [1; 32],
        tokenizer: [2; 32],
        content: [3; 32],
        length: 1000,
        tokens: 300,
        window: 256,
        overlap: 64,
        start: 0,
        missing: 2,
    }
}

#[test]
fn a_file_is_read_back() {
    let file = header().emit(b"\x07\xff", b"code").unwrap();
    assert_eq!(file.len(), OVERHEAD + 6);
    assert_eq!(
        Header::parse(&file),
        Ok((header(), b"\x07\xff".as_slice(), b"code".as_slice()))
    );
}

#[test]
fn every_flipped_bit_is_noticed() {
    let file = header().emit(b"\x07\xff", b"code").unwrap();
    for bit in 0..file.len() * 8 {
        let mut file = file.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::parse(&file).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_is_noticed() {
    let file = header().emit(b"\x07\xff", b"code").unwrap();
    for length in 0..file.len() {
        assert!(Header::parse(&file[..length]).is_err(), "{length}");
    }
    assert_eq!(Header::parse(&file[..20]), Err(Error::Short { got: 20 }));
}

#[test]
fn foreign_and_future_files_are_told_apart_from_damaged_ones() {
    assert_eq!(Header::parse(b""), Err(Error::Foreign));
    assert_eq!(Header::parse(b"WEIRZIP\n\x01"), Err(Error::Foreign));
    let mut file = header().emit(b"\x07\xff", b"").unwrap();
    file[9] = VERSION + 1;
    assert_eq!(Header::parse(&file), Err(Error::Version(VERSION + 1)));
    file[9] = VERSION;
    file[30] ^= 1;
    assert_eq!(Header::parse(&file), Err(Error::Damaged));
}

#[test]
fn what_no_compressor_says_is_not_said() {
    let cases = [
        Header {
            tokens: 1001,
            ..header()
        },
        Header {
            overlap: 256,
            ..header()
        },
        Header {
            window: 0,
            overlap: 0,
            ..header()
        },
    ];
    for case in cases {
        assert!(
            matches!(case.emit(b"\x07\xff", b""), Err(Error::Invalid(_))),
            "{case:?}"
        );
    }
}

#[test]
fn a_list_ends_before_the_file_does() {
    let long = Header {
        missing: u64::MAX,
        ..header()
    };
    let file = long.emit(b"", b"code").unwrap();
    assert!(matches!(Header::parse(&file), Err(Error::Invalid(_))));
}

#[test]
fn any_bytes_are_safe_and_what_parses_is_emitted_again() {
    let (files, others) = (Cell::new(0), Cell::new(0));
    let all = proptest::collection::vec(any::<u8>(), 0..600);
    let result = TestRunner::default().run(&all, |bytes| {
        let count = if container(&bytes) { &files } else { &others };
        count.set(count.get() + 1);
        Ok(())
    });
    result.unwrap();
    // Half of them are made to fit; of these some have a list too long.
    assert!(files.get() > 50 && others.get() > 50, "{files:?} {others:?}");
}
