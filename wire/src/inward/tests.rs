use super::*;
use crate::parameters::{CheckWidth, IdWidth};
use crate::shape::Shape;
use crate::sim::agreement;
use alloc::vec;
use proptest::prelude::*;

const FORMAT: Format = Format {
    id: IdWidth::Two,
    check: CheckWidth::Two,
};

fn bytes_of(inward: &Inward<'_>) -> Vec<u8> {
    let mut out = vec![];
    inward.emit(&mut out);
    out
}

fn hello() -> Inward<'static> {
    let parameters = Parameters {
        format: FORMAT,
        shape: Shape(9),
        ..Parameters::default()
    };
    Inward {
        format: FORMAT,
        session: 7,
        body: Body::Hello(Hello {
            parameters,
            agreement: agreement(),
        }),
    }
}

#[test]
fn every_kind_round_trips_with_and_without_padding() {
    let mut pieces = vec![];
    let first = Piece {
        number: 3,
        total: 500,
        offset: 0,
        bytes: &[1; 200],
    };
    let second = Piece {
        number: 4,
        total: 2,
        offset: 1,
        bytes: &[2],
    };
    first.emit(&mut pieces);
    second.emit(&mut pieces);
    let data = Data::new(65_534, u64::MAX, 5, 0x8001, &pieces);
    assert_eq!(data.pieces().collect::<Vec<_>>(), [first, second]);
    let bodies = [
        hello().body,
        Body::Ping,
        Body::Data(data),
        Body::Data(Data::new(0, 0, 0, 0, &[])),
        Body::Tick(1 << 40),
        Body::Receipt(&[9; RECEIPT_LEN]),
    ];
    let kinds = [
        Kind::Hello,
        Kind::Ping,
        Kind::Data,
        Kind::Data,
        Kind::Tick,
        Kind::Receipt,
    ];
    for (body, kind) in bodies.into_iter().zip(kinds) {
        let is_gates = matches!(kind, Kind::Tick | Kind::Receipt);
        let inward = Inward {
            format: FORMAT,
            session: if is_gates { 0 } else { u64::MAX },
            body,
        };
        let mut bytes = bytes_of(&inward);
        assert_eq!(Kind::of(&bytes), Some(kind));
        assert_eq!(Inward::parse(&bytes), Ok(inward));
        bytes.extend([0; 9]);
        assert_eq!(Inward::parse(&bytes), Ok(inward));
        bytes.push(1);
        assert_eq!(Inward::parse(&bytes), Err(Malformed));
    }
}

#[test]
fn what_has_no_kind_is_told_by_its_first_byte() {
    assert_eq!(Kind::of(&[]), None);
    for first in 0..=255_u8 {
        assert_eq!(Kind::of(&[first]).is_some(), first & 0xf < 5);
    }
}

#[test]
fn another_version_is_told_apart_by_its_opening_only() {
    let body = Body::HelloOfOtherVersion(2);
    let bytes = bytes_of(&Inward { body, ..hello() });
    assert_eq!(Inward::parse(&bytes).unwrap().body, body);
    let mut bytes = bytes_of(&Inward {
        body: Body::Ping,
        ..hello()
    });
    bytes[0] += 0x10;
    let len = bytes.len();
    let crc = crc_of(&bytes, len);
    bytes[CRC_START..CRC_END].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(Inward::parse(&bytes), Err(Malformed));
}

#[test]
fn every_bit_error_and_every_cut_is_seen() {
    let mut pieces = vec![];
    Piece {
        number: 0,
        total: 3,
        offset: 0,
        bytes: b"abc",
    }
    .emit(&mut pieces);
    let data = Inward {
        body: Body::Data(Data::new(1, 2, 3, 4, &pieces)),
        ..hello()
    };
    for bytes in [bytes_of(&hello()), bytes_of(&data)] {
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Inward::parse(&bad), Err(Malformed), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(Inward::parse(&bytes[..len]), Err(Malformed), "length {len}");
        }
    }
}

#[test]
fn pieces_out_of_bounds_are_malformed() {
    let cases = [
        (0, 10, 5, 0),                             // empty
        (0, 10, 5, 6),                             // past the end
        (0, (MESSAGE_BYTES_MAX + 1) as u32, 0, 1), // longer than any message
        (u32::MAX, 10, 0, 1),                      // the number that is never used
        (0, 10, u32::MAX, 1),                      // overflow
    ];
    for (number, total, offset, len) in cases {
        let bytes = vec![1; len];
        let mut pieces = vec![];
        Piece {
            number,
            total,
            offset,
            bytes: &bytes,
        }
        .emit(&mut pieces);
        let bytes = bytes_of(&Inward {
            body: Body::Data(Data::new(0, 0, 0, 0, &pieces)),
            ..hello()
        });
        assert_eq!(
            Inward::parse(&bytes),
            Err(Malformed),
            "{number} {total} {offset} {len}"
        );
    }
}

proptest! {
    #[test]
    fn a_piece_fills_its_room(total in 1..=MESSAGE_BYTES_MAX as u32, offset: u32, room in 8_usize..3_000) {
        let offset = offset % total;
        let len = Piece::fit(9, total, offset, room);
        let size = |len: usize| {
            let mut out = vec![];
            Piece { number: 9, total, offset, bytes: &vec![0; len] }.emit(&mut out);
            out.len()
        };
        let left = (total - offset) as usize;
        prop_assert!(len <= left);
        prop_assert!(len == 0 || size(len) <= room);
        // Nothing longer would fit, save where the length's own varint grows by a byte.
        prop_assert!(len == left || size(len + 1) > room);
    }

    #[test]
    fn any_bytes_parse_or_not_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::fuzzing::inward(&bytes);
    }
}
