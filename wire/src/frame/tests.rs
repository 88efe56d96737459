use super::*;
use alloc::vec;
use proptest::prelude::*;

fn formats() -> [Format; 4] {
    [
        Format {
            id: IdWidth::One,
            check: CheckWidth::Two,
        },
        Format {
            id: IdWidth::One,
            check: CheckWidth::Four,
        },
        Format {
            id: IdWidth::Two,
            check: CheckWidth::Two,
        },
        Format {
            id: IdWidth::Two,
            check: CheckWidth::Four,
        },
    ]
}

const SEALED: Sealed = Sealed {
    session: 0x0102_0304_0506_0708,
    batch: 3,
    number: 1_000,
    digest: 0xfeed,
};

#[test]
fn layout_is_id_check_code() {
    let repr = Repr {
        batch: 0x12,
        check: 0xa1b2_c3d4,
        code: &[9, 0, 8, 0, 0],
    };
    let expected: [&[u8]; 4] = [
        &[0x12, 0xc3, 0xd4, 9, 0, 8],
        &[0x12, 0xa1, 0xb2, 0xc3, 0xd4, 9, 0, 8],
        &[0, 0x12, 0xc3, 0xd4, 9, 0, 8],
        &[0, 0x12, 0xa1, 0xb2, 0xc3, 0xd4, 9, 0, 8],
    ];
    for (format, expected) in formats().into_iter().zip(expected) {
        let mut out = vec![];
        repr.emit(format, &mut out);
        assert_eq!(out, expected);
        assert_eq!(out.len(), repr.buffer_len(format));
    }
}

#[test]
fn only_short_buffers_are_malformed_and_the_check_is_never_taken_for_padding() {
    for format in formats() {
        for len in 0..format.header_len() {
            assert!(Frame::new_checked(format, vec![0; len]).is_err());
        }
        let zeros = vec![0; format.header_len()];
        let frame = Frame::new_checked(format, &zeros).unwrap();
        assert_eq!((frame.batch(), frame.check(), frame.code()), (0, 0, &[][..]));
    }
}

#[test]
fn check_covers_everything_and_leads_with_the_number() {
    for format in formats() {
        let good = check(format, &SEALED, b"code");
        let others = [
            Sealed {
                session: SEALED.session ^ 1,
                ..SEALED
            },
            Sealed { batch: 4, ..SEALED },
            Sealed {
                number: 1_001,
                ..SEALED
            },
            Sealed {
                digest: SEALED.digest ^ 1 << 63,
                ..SEALED
            },
        ];
        for other in others {
            assert_ne!(check(format, &other, b"code"), good);
        }
        assert_ne!(check(format, &SEALED, b"Code"), good);
        assert_eq!(check(format, &SEALED, b"code\0\0"), good);
        let mut out = vec![];
        Repr {
            batch: 3,
            check: good,
            code: b"code",
        }
        .emit(format, &mut out);
        let number = Frame::new_checked(format, out).unwrap().number_bits();
        assert_eq!(
            u64::from(number),
            SEALED.number % (1 << format.check.number_bits())
        );
    }
}

/// CRC-32 is linear, so whether a flip is seen depends on its place only. Truncation takes away the guarantee of the
/// polynomial; this shows that single and double flips within the longest frame of an Ethernet are still seen.
#[test]
fn single_and_near_double_bit_errors_in_the_code_are_always_seen() {
    for (format, reach) in [(formats()[0], 1), (formats()[1], 64)] {
        let mut code = vec![0; 1_468];
        code.push(0xff);
        let good = check(format, &SEALED, &code);
        // The last byte is left alone: without it the zeros would be stripped.
        for bit in 0..1_468 * 8 {
            code[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(check(format, &SEALED, &code), good, "bit {bit}");
            if bit % 97 == 0 {
                for second in bit + 1..(bit + reach).min(1_468 * 8) {
                    code[second / 8] ^= 1 << (second % 8);
                    assert_ne!(check(format, &SEALED, &code), good, "bits {bit} and {second}");
                    code[second / 8] ^= 1 << (second % 8);
                }
            }
            code[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

proptest! {
    /// parse and emit are inverse, up to the padding, for any bytes.
    #[test]
    fn emit_parse_is_the_identity(bytes in prop::collection::vec(any::<u8>(), 0..64), pad in 0_usize..4) {
        for format in formats() {
            let mut padded = bytes.clone();
            padded.resize(bytes.len() + pad, 0);
            let Ok(frame) = Frame::new_checked(format, &padded) else { continue };
            let repr = Repr::parse(&frame);
            let mut out = vec![];
            repr.emit(format, &mut out);
            prop_assert_eq!(out.len(), repr.buffer_len(format));
            out.resize(padded.len(), 0);
            prop_assert_eq!(&out, &padded);
        }
    }
}
