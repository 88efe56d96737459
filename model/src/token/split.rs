//! The cut of a text into words, inside which merges happen: SPEC 3.2.
//!
//! The published patterns end in `\s+(?!\S)|\s+`. The look-ahead needs a backtracking matcher, whose step
//! limit would cut long runs of spaces elsewhere; here the pattern ends in `\s+` and the look-ahead is three
//! lines of code, so the matching stays linear in the text.

use regex::Regex;

/// A word splitter, named by `tokenizer.ggml.pre`.
#[derive(Debug)]
pub(super) struct Splitter {
    /// Cut before `words`: every number character is a piece of its own, the rest are runs.
    numbers: Option<Regex>,
    words: Regex,
    /// A run of white space that ends in a line break came from `\s*[\r\n]+` and is a word as it is.
    keep_line_breaks: bool,
}

impl Splitter {
    /// The splitter of that name, if it is one of [`SUPPORTED`].
    pub(super) fn new(pre: &str) -> Option<Self> {
        let (numbers, words, keep_line_breaks) = match pre {
            "gpt-2" => (None, GPT2, false),
            "smollm" => (Some(NUMBERS), GPT2, false),
            "qwen2" => (None, QWEN2, true),
            _ => return None,
        };
        let compile = |pattern: &str| {
            let dated = pattern.replace(r"\p{L}", LETTER).replace(r"\p{N}", NUMBER);
            Regex::new(&dated).expect("a constant pattern, compiled by the tests")
        };
        Some(Self {
            numbers: numbers.map(compile),
            words: compile(words),
            keep_line_breaks,
        })
    }

    /// Calls `word` for each word; together they are the text.
    pub(super) fn split<'a>(&self, text: &'a str, mut word: impl FnMut(&'a str)) {
        match &self.numbers {
            None => self.words(text, &mut word),
            Some(numbers) => numbers
                .find_iter(text)
                .for_each(|piece| self.words(piece.as_str(), &mut word)),
        }
    }

    fn words<'a>(&self, mut text: &'a str, word: &mut impl FnMut(&'a str)) {
        // Each pattern matches at every position, so a match starts where the last one ended.
        while let Some(found) = self.words.find(text) {
            let mut end = found.end();
            let last = found.as_str().chars().next_back();
            let white = found.as_str().chars().all(char::is_whitespace);
            let kept = self.keep_line_breaks && matches!(last, Some('\r' | '\n'));
            // `\s+(?!\S)`: the last space before a word belongs to what follows, unless it is the only one.
            if let Some(last) =
                last.filter(|last| white && !kept && end < text.len() && end > last.len_utf8())
            {
                end -= last.len_utf8();
            }
            word(&text[..end]);
            text = &text[end..];
        }
    }
}

/// Values of `tokenizer.ggml.pre` that are understood.
pub(super) const SUPPORTED: &str = "qwen2, smollm or gpt-2";

// llama.cpp's tables, whatever Unicode version this program was built with: newer letters are no letters.
// SPEC 3.2.
const LETTER: &str = r"[\p{L}&&\p{age:15.1}]";
const NUMBER: &str = r"[\p{N}&&\p{age:15.1}]";
const NUMBERS: &str = r"\p{N}|[^\p{N}]+";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
// Contractions fold ASCII case only: `(?i:'s)` would also take U+017F.
const QWEN2: &str = concat!(
    r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(pre: &str, text: &'static str) -> Vec<&'static str> {
        let mut out = Vec::new();
        Splitter::new(pre).unwrap().split(text, |word| out.push(word));
        out
    }

    #[test]
    fn white_space_leaves_one_space_for_the_word() {
        assert_eq!(words("gpt-2", "a  b   c  "), ["a", " ", " b", "  ", " c", "  "]);
        assert_eq!(words("gpt-2", "a\n\nb \n"), ["a", "\n", "\n", "b", " \n"]);
        assert_eq!(
            words("qwen2", "a\n\nb \n  c\t\td"),
            ["a", "\n\n", "b", " \n", " ", " c", "\t", "\td"]
        );
    }

    #[test]
    fn digits_and_contractions() {
        assert_eq!(words("gpt-2", "it's 123's"), ["it", "'s", " 123", "'s"]);
        assert_eq!(words("smollm", "it's  123"), ["it", "'s", "  ", "1", "2", "3"]);
        assert_eq!(words("qwen2", "IT'S 12"), ["IT", "'S", " ", "1", "2"]);
        // U+017F folds to s, but only ASCII contractions are cut off.
        assert_eq!(words("qwen2", "it'\u{17F} x"), ["it", "'\u{17F}", " x"]);
    }

    #[test]
    fn a_long_run_of_spaces_is_one_word() {
        let text = " ".repeat(3_000_000) + "x";
        let mut lengths = Vec::new();
        Splitter::new("qwen2")
            .unwrap()
            .split(&text, |word| lengths.push(word.len()));
        assert_eq!(lengths, [2_999_999, 2]);
    }

    proptest! {
        #[test]
        fn words_join_to_the_text(text in "(\\PC|[ \t\r\n'stre0-9]){0,60}") {
            for pre in ["gpt-2", "smollm", "qwen2"] {
                let mut joined = String::new();
                Splitter::new(pre).unwrap().split(&text, |word| {
                    assert!(!word.is_empty());
                    joined.push_str(word);
                });
                prop_assert_eq!(&joined, &text);
            }
        }
    }
}
