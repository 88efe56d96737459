//! Bytes of tokens to text, piece by piece: a token may end in the middle of a character.

/// Turns a stream of bytes into a stream of strings, holding back a character until it is whole.
///
/// Bytes that cannot become a character are replaced by U+FFFD, exactly as `String::from_utf8_lossy` would do
/// on the whole stream.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    /// The start of a character: at most three bytes between calls.
    held: Vec<u8>,
}

impl Utf8Stream {
    /// An empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes and gives the text that is settled by now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.held.len());
        let mut from = 0;
        loop {
            match str::from_utf8(&self.held[from..]) {
                Ok(rest) => {
                    text.push_str(rest);
                    self.held.clear();
                    return text;
                }
                Err(error) => {
                    let valid = from + error.valid_up_to();
                    // The part before `valid` was found to be UTF-8, so nothing in it is replaced.
                    text.push_str(&String::from_utf8_lossy(&self.held[from..valid]));
                    from = valid;
                    let Some(bad) = error.error_len() else {
                        self.held.drain(..from);
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    from += bad;
                }
            }
        }
    }

    /// Ends the stream: a character that never became whole is one U+FFFD.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }

    /// Number of bytes held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_character_waits_for_its_last_byte() {
        let mut stream = Utf8Stream::new();
        let parts: Vec<String> = "a😀".as_bytes().chunks(1).map(|part| stream.push(part)).collect();
        assert_eq!(parts, ["a", "", "", "", "😀"]);
        assert_eq!((stream.held(), stream.finish().as_str()), (0, ""));
    }

    #[test]
    fn bad_bytes_are_replaced_at_once_and_unfinished_ones_at_the_end() {
        let mut stream = Utf8Stream::new();
        assert_eq!(stream.push(b"\xFFx\xE2\x82"), "\u{FFFD}x");
        assert_eq!(stream.push(b"y\xF0\x9F"), "\u{FFFD}y");
        assert_eq!(stream.finish(), "\u{FFFD}");
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_lossy_whole(
            parts in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..4),
                "\\PC{0,3}".prop_map(String::into_bytes),
                prop::sample::select(vec![vec![0xF0], vec![0x9F, 0x98], vec![0x80], vec![0xED, 0xA0]]),
            ], 0..12)
        ) {
            let mut stream = Utf8Stream::new();
            let mut text = String::new();
            for part in &parts {
                text.push_str(&stream.push(part));
                prop_assert!(stream.held() <= 3);
            }
            text.push_str(&stream.finish());
            let whole = parts.concat();
            prop_assert_eq!(text, String::from_utf8_lossy(&whole));
        }
    }
}
