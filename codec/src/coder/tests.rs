use proptest::prelude::*;

use super::*;

fn sealed(symbols: &[(u32, u32)]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    for &(start, width) in symbols {
        encoder.code(start, width);
    }
    let mut code = vec![9];
    let tail = encoder.tail();
    assert_eq!(encoder.seal(&mut code), tail);
    code.split_off(1)
}

fn check(symbols: &[(u32, u32)]) -> Vec<u8> {
    let code = sealed(symbols);
    assert_ne!(code.last(), Some(&0));
    for zeros in [0, 3] {
        let mut padded = code.clone();
        padded.resize(code.len() + zeros, 0);
        let mut decoder = Decoder::new(&padded);
        for &(start, width) in symbols {
            let at = decoder.peek();
            assert!(at >= start && at - start < width, "{at} in {start} + {width}");
            decoder.take(start, width);
        }
        assert!(decoder.is_canonical());
    }
    code
}

/// Any `(start, width)` with `width > 0` inside 2^32, small and large ones alike.
fn symbol() -> impl Strategy<Value = (u32, u32)> {
    (any::<u32>(), 0..32u32, any::<u32>()).prop_map(|(start, shift, width)| {
        let room = (1u64 << 32) - u64::from(start);
        let width = u64::from(width >> shift).clamp(1, room.min(u64::from(u32::MAX)));
        (start, width as u32)
    })
}

proptest! {
    /// SPEC 4.15: who reads counts the same bytes that stand as who writes, after every symbol.
    #[test]
    fn both_ends_know_what_stands(
        tail in prop::collection::vec(symbol(), 0..60),
        // Narrow and in the middle: long runs of 0xff, with and without a carry through them.
        run in 0..40usize,
        up in any::<bool>(),
    ) {
        let middle = ((1u32 << 31) - 1, 2);
        let mut symbols = vec![middle; run];
        if run > 0 {
            symbols.push(if up { (1 << 31, 1 << 31) } else { (0, 1 << 31) });
        }
        symbols.extend(tail);
        let mut encoder = Encoder::default();
        let mut stood = Vec::new();
        for &(start, width) in &symbols {
            encoder.code(start, width);
            stood.push(encoder.settled.len() as u64);
        }
        let mut code = Vec::new();
        encoder.end(&mut code);
        code.extend([0; WINDOW]);
        let mut decoder = Decoder::in_parts();
        decoder.push(&code);
        for (&(start, width), &stood) in symbols.iter().zip(&stood) {
            decoder.take(start, width);
            prop_assert!(!decoder.is_dry());
            prop_assert_eq!(decoder.standing(), stood);
            // One that is not determined leaves it as it is, whatever it would have put out.
            let mut short = Decoder::in_parts();
            short.take(start, width);
            prop_assert_eq!(short.standing(), 0);
        }
    }
}

#[test]
fn nothing_is_no_bytes() {
    assert!(check(&[]).is_empty());
    assert!(check(&[(0, u32::MAX)]).is_empty());
    assert!(check(&[(0, 1); 1]).is_empty());
}

#[test]
fn certain_symbols_are_free() {
    assert!(check(&vec![(0, u32::MAX); 100_000]).len() <= 1);
    assert!(check(&vec![(1, u32::MAX); 100_000]).len() <= 2);
}

#[test]
fn carries_through_long_runs() {
    // The middle of the unit interval narrowed from below and then left upwards: 0x7fffff... becomes 0x8000...
    for n in 1..40 {
        let mut symbols = vec![((1 << 31) - 1, 2)];
        symbols.extend(vec![((1 << 31) - 1, 2); n]);
        check(&symbols);
        symbols.push((u32::MAX, 1));
        check(&symbols);
        symbols.extend([(u32::MAX - 1, 2); 9]);
        check(&symbols);
    }
    check(&[(u32::MAX, 1); 50]);
    check(&[(u32::MAX - 1, 1); 50]);
}

/// The last unit of [0, 1) belongs to no symbol; that must not be forgotten, however long such a code is.
#[test]
fn a_code_of_ones_is_no_encoders() {
    for len in 8..60 {
        let mut decoder = Decoder::new(&vec![0xff; len]);
        for _ in 0..len {
            assert!(!decoder.is_canonical());
            decoder.take(u32::MAX - 8, 9);
        }
        assert!(decoder.is_lost() && !decoder.is_canonical());
        let mut decoder = Decoder::in_parts();
        decoder.push(&vec![0xff; len]);
        decoder.take(u32::MAX - 8, 9);
        assert!(decoder.is_lost() && decoder.is_dry());
    }
}

#[test]
fn restore_forgets() {
    let mut encoder = Encoder::default();
    for i in 0..1000u32 {
        encoder.code(i * 7919, 1 << (i % 30));
        let mark = encoder.mark();
        let before = encoder.tail();
        for _ in 0..=i % 20 {
            encoder.code(u32::MAX - i, 1 + i % 7 % (i + 1));
        }
        encoder.restore(&mark);
        assert_eq!((encoder.mark(), encoder.tail()), (mark, before));
    }
    let kept: Vec<_> = (0..1000u32).map(|i| (i * 7919, 1 << (i % 30))).collect();
    let mut code = Vec::new();
    encoder.seal(&mut code);
    assert_eq!(code, sealed(&kept));
    encoder.reset();
    assert_eq!(encoder.tail(), 0);
}

proptest! {
    #[test]
    fn roundtrip(symbols in prop::collection::vec(symbol(), 0..300)) {
        let code = check(&symbols);
        let bits: f64 = symbols.iter().map(|s| 32.0 - f64::from(s.1).log2()).sum();
        // A sealed code costs at most one byte more than its content.
        prop_assert!(code.len() as f64 <= (bits / 8.0).ceil() + 1.0, "{} bytes for {bits} bits", code.len());
    }

    #[test]
    fn any_bytes_decode(code in prop::collection::vec(any::<u8>(), 0..40), widths in prop::collection::vec(1..u32::MAX, 40)) {
        let mut decoder = Decoder::new(&code);
        let mut symbols = Vec::new();
        for width in widths {
            // Two symbols: below `width` and the rest.
            let (start, width) = if decoder.peek() < width { (0, width) } else { (width, width.wrapping_neg()) };
            decoder.take(start, width);
            symbols.push((start, width));
        }
        let again = sealed(&symbols);
        let len = code.iter().rposition(|&b| b != 0).map_or(0, |n| n + 1);
        prop_assert_eq!(decoder.is_canonical(), again == code[..len]);
    }

    #[test]
    fn no_shorter_code(symbols in prop::collection::vec(symbol(), 1..6)) {
        let code = sealed(&symbols);
        if let Some(len) = code.len().checked_sub(1) {
            // Neither the prefix nor its successor leads to the same symbols.
            for up in [0u64, 1] {
                let mut short = code[..len].to_vec();
                let mut carry = up;
                for byte in short.iter_mut().rev() {
                    let sum = u64::from(*byte) + carry;
                    (*byte, carry) = (sum as u8, sum >> 8);
                }
                let mut decoder = Decoder::new(&short);
                let same = carry == 0 && symbols.iter().all(|&(start, width)| {
                    let at = decoder.peek();
                    let hit = at >= start && at - start < width;
                    if hit {
                        decoder.take(start, width);
                    }
                    hit
                });
                prop_assert!(!same);
            }
        }
    }

    /// Whatever the parts, each symbol comes as soon as all codes that begin alike lie in it, and never another one; what follows
    /// the end changes none of them, and is noticed.
    #[test]
    fn parts_bring_what_they_determine(
        symbols in prop::collection::vec(symbol(), 0..60),
        lens in prop::collection::vec(1..12usize, 1..8),
        more in prop::collection::vec(any::<u8>(), 1..12),
    ) {
        let (mut encoder, mut code) = (Encoder::default(), Vec::new());
        for &(start, width) in &symbols {
            encoder.code(start, width);
            if width % 3 == 0 {
                encoder.take(&mut code);
            }
        }
        encoder.end(&mut code);
        let whole = code.len();
        code.extend(&more);
        let mut decoder = Decoder::in_parts();
        let (mut come, mut lens) = (0, lens.iter().cycle());
        for &(start, width) in &symbols {
            loop {
                let (place, at) = (decoder.place(), decoder.peek());
                decoder.take(start, width);
                if !decoder.is_dry() {
                    prop_assert!(at >= start && at - start < width);
                    break;
                }
                prop_assert!(!decoder.is_lost() && come < whole);
                decoder.restore(&place);
                let next = code.len().min(come + lens.next().unwrap());
                decoder.push(&code[come..next]);
                come = next;
            }
            prop_assert!(decoder.position() <= come as u64);
        }
        decoder.push(&code[come.min(whole)..whole]);
        let clean = code[whole..come.max(whole)].iter().all(|&byte| byte == 0);
        prop_assert_eq!(decoder.interval(), encoder.interval());
        prop_assert_eq!(decoder.is_canonical(), clean);
        decoder.push(&[0, 0, 0]);
        prop_assert_eq!(decoder.is_canonical(), clean);
        decoder.push(&[1]);
        prop_assert!(!decoder.is_canonical());
    }
}
