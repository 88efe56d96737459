//! From answer bytes to pieces of text: stop strings are cut, no character is split.

use weir_codec::stop::Matcher;

/// The text of one answer as it grows.
///
/// What could still become a stop string, or is the beginning of a character, is held back until it is decided.
#[derive(Debug)]
pub(crate) struct Text {
    /// The codec's own: what it calls the end of an answer is where the text is cut.
    stops: Matcher,
    /// Bytes that have not been given out.
    held: Vec<u8>,
    stopped: bool,
}

impl Text {
    pub(crate) fn new(stops: &[Vec<u8>]) -> Self {
        Self {
            stops: Matcher::new(stops),
            held: Vec::new(),
            stopped: false,
        }
    }

    /// Takes more bytes, gives the text that is settled. After a stop string there is none.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        if let Some(found) = self.stops.push(bytes) {
            self.stopped = true;
            self.held.extend_from_slice(&bytes[..found.consumed]);
            // What has matched was held back, so the stop string is still here as a whole.
            self.held
                .truncate(self.held.len() - self.stops.stop_len(found.stop));
            return self.finish();
        }
        self.held.extend_from_slice(bytes);
        self.give(self.held.len() - self.stops.held(), false)
    }

    /// The rest, when the answer has ended.
    pub(crate) fn finish(&mut self) -> String {
        self.give(self.held.len(), true)
    }

    /// Gives out the first `settled` bytes. Invalid UTF-8 becomes U+FFFD; an incomplete character at the end is held
    /// back unless this is the `end`.
    fn give(&mut self, settled: usize, end: bool) -> String {
        let mut text = String::new();
        let mut given = 0;
        for chunk in self.held[..settled].utf8_chunks() {
            text.push_str(chunk.valid());
            given += chunk.valid().len();
            if chunk.invalid().is_empty() {
                continue;
            }
            let last = given + chunk.invalid().len() == settled;
            if last && !end && begins_char(chunk.invalid()) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            given += chunk.invalid().len();
        }
        self.held.drain(..given);
        text
    }
}

/// Whether more bytes could complete these to a character. `utf8_chunks` yields maximal invalid prefixes, so the lead
/// byte alone decides.
fn begins_char(bytes: &[u8]) -> bool {
    let width = match bytes.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => 0,
    };
    bytes.len() < width
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(stops: &[&str]) -> Text {
        Text::new(
            &stops
                .iter()
                .map(|stop| stop.as_bytes().to_vec())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn characters_are_not_split() {
        let mut text = text(&[]);
        let bytes = "aé€😀".as_bytes();
        let mut out = String::new();
        for byte in bytes {
            let piece = text.push(&[*byte]);
            assert!(!piece.contains('\u{fffd}'));
            out += &piece;
        }
        assert_eq!(out, "aé€😀");
        assert_eq!(text.push(b"\xf0\x9f"), "");
        assert_eq!(text.finish(), "\u{fffd}");
    }

    #[test]
    fn a_stop_string_is_cut_wherever_it_is_split() {
        let mut text = text(&["\n\n", "END"]);
        assert_eq!(text.push(b"one\n"), "one");
        assert_eq!(text.push(b"two E"), "\ntwo ");
        assert_eq!(text.push(b"N"), "");
        assert_eq!(text.push(b"Dmore"), "");
        assert_eq!(text.push(b"more"), "");
        assert_eq!(text.finish(), "");
    }

    #[test]
    fn the_earliest_stop_wins_and_the_undecided_rest_comes_at_the_end() {
        let mut text = text(&["cd", "bc"]);
        // The one that ends first, as the codec has it.
        assert_eq!(text.push(b"abcd"), "a");
        let mut text = Text::new(&[b"xyz".to_vec()]);
        assert_eq!(text.push(b"axy"), "a");
        assert_eq!(text.finish(), "xy");
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_whole(bytes: Vec<u8>, cuts in proptest::collection::vec(1usize..5, 1..40)) {
            let mut text = Text::new(&[]);
            let mut out = String::new();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                out += &text.push(piece);
                rest = after;
            }
            out += &text.push(rest);
            out += &text.finish();
            prop_assert_eq!(out, String::from_utf8_lossy(&bytes));
        }
    }
}
