//! Bytes that the weak model's vocabulary cannot write, taken out of a content and put back. SPEC 8.2.
//!
//! A list of them has an entry for each, in order: how many bytes of the content stand between it and the one before
//! (LEB128), and the byte.

/// Parts `content` into the bytes that are `writable` and the list of the others.
pub(crate) fn take(content: &[u8], writable: impl Fn(u8) -> bool) -> (Vec<u8>, Vec<u8>) {
    let mut text = Vec::with_capacity(content.len());
    let mut list = Vec::new();
    let mut since = 0;
    for &byte in content {
        if writable(byte) {
            text.push(byte);
            since += 1;
        } else {
            emit_gap(since, &mut list);
            list.push(byte);
            since = 0;
        }
    }
    (text, list)
}

/// The content that [`take`] parted; `None` if the two do not belong together. Any bytes are safe.
pub(crate) fn put_back(mut text: &[u8], mut list: &[u8], writable: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let mut content = Vec::with_capacity(text.len() + list.len() / 2);
    while !list.is_empty() {
        let gap = usize::try_from(parse_gap(&mut list)?).ok()?;
        let (&byte, rest) = list.split_first()?;
        if writable(byte) {
            return None;
        }
        let (before, after) = text.split_at_checked(gap)?;
        content.extend_from_slice(before);
        content.push(byte);
        (text, list) = (after, rest);
    }
    content.extend_from_slice(text);
    Some(content)
}

fn emit_gap(mut gap: u64, out: &mut Vec<u8>) {
    while gap >= 0x80 {
        out.push(gap as u8 | 0x80);
        gap >>= 7;
    }
    out.push(gap as u8);
}

fn parse_gap(list: &mut &[u8]) -> Option<u64> {
    let mut gap = 0;
    // Nine groups of seven bits are more than any file has bytes.
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = list.split_first()?;
        *list = rest;
        if byte == 0 && shift > 0 {
            // The same gap has a shorter form.
            return None;
        }
        gap |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(gap);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_as_specified() {
        let mut content = vec![b'a'; 300];
        content.extend(b"\xff\xf1b\x04");
        let (text, list) = take(&content, |byte| byte.is_ascii_graphic());
        assert_eq!(text.len(), 301);
        assert_eq!(list, [0xac, 0x02, 0xff, 0x00, 0xf1, 0x01, 0x04]);
        assert_eq!(
            put_back(&text, &list, |byte| byte.is_ascii_graphic()),
            Some(content)
        );
        // A gap beyond the text, without its byte, without an end, longer than need be; a byte that is in no need of this.
        for bad in [
            [2, 0xff].as_slice(),
            &[1],
            &[0x80; 12],
            &[0x80, 0, 0xff],
            &[0, b'a'],
        ] {
            assert_eq!(
                put_back(b"a", bad, |byte| byte.is_ascii_graphic()),
                None,
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn all_content_comes_back(content: Vec<u8>, lacks: [u8; 4]) {
            let (text, list) = take(&content, |byte| !lacks.contains(&byte));
            prop_assert!(!text.iter().any(|byte| lacks.contains(byte)));
            prop_assert_eq!(put_back(&text, &list, |byte| !lacks.contains(&byte)), Some(content));
        }

        #[test]
        fn any_list_is_safe(text: Vec<u8>, list: Vec<u8>) {
            if let Some(content) = put_back(&text, &list, |_| false) {
                prop_assert!(content.len() <= text.len() + list.len());
            }
        }
    }
}
