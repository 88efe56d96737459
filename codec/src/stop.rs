//! Stop strings, found in the bytes of an answer as its tokens come.

use crate::query::Query;

/// Looks for any of a few strings in a stream of bytes (SPEC 4.9).
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    stops: Vec<Vec<u8>>,
    state: State,
    /// Of each stop: length of the longest proper border of each prefix.
    borders: Vec<Vec<usize>>,
}

/// Of each stop: how many of its bytes the stream's end matches (Knuth-Morris-Pratt).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct State([u16; Query::MAX_STOPS]);

/// Where a stop string was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// Which of the stops, by its place in the query.
    pub stop: usize,
    /// The pushed bytes up to and with the stop's last byte.
    pub consumed: usize,
}

impl Matcher {
    /// A matcher that has seen nothing. Empty strings never match, nor do those beyond [`Query::MAX_STOPS`].
    pub fn new(stops: &[Vec<u8>]) -> Self {
        let stops = stops.iter().take(Query::MAX_STOPS).cloned().collect::<Vec<_>>();
        Self {
            borders: stops.iter().map(|s| borders(s)).collect(),
            stops,
            state: State::default(),
        }
    }

    /// Takes the next bytes. Answers the stop that ends first (the first in the query of those that end together); the
    /// stream is over then.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Found> {
        for (at, &byte) in bytes.iter().enumerate() {
            let mut found = None;
            for (stop, text) in self.stops.iter().enumerate() {
                if text.is_empty() {
                    continue;
                }
                let mut n = usize::from(self.state.0[stop]);
                while n > 0 && (n == text.len() || text[n] != byte) {
                    n = self.borders[stop][n - 1];
                }
                n += usize::from(text[n] == byte);
                self.state.0[stop] = n as u16;
                if n == text.len() && found.is_none() {
                    found = Some(Found {
                        stop,
                        consumed: at + 1,
                    });
                }
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// How many of the last bytes may yet turn out to begin a stop string: a streaming reader holds these back.
    pub fn held(&self) -> usize {
        usize::from(self.state.0.into_iter().max().unwrap_or(0))
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn restore(&mut self, state: State) {
        self.state = state;
    }

    /// Length in bytes of a stop of the query.
    pub fn stop_len(&self, stop: usize) -> usize {
        self.stops[stop].len()
    }
}

fn borders(text: &[u8]) -> Vec<usize> {
    let mut table = vec![0; text.len()];
    let mut n = 0;
    for i in 1..text.len() {
        while n > 0 && text[n] != text[i] {
            n = table[n - 1];
        }
        n += usize::from(text[n] == text[i]);
        table[i] = n;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(stops: &[&str]) -> Matcher {
        Matcher::new(&stops.iter().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    #[test]
    fn finds_across_pushes() {
        let mut m = matcher(&["\n\n", "END"]);
        assert_eq!(m.push(b"a\n"), None);
        assert_eq!(m.held(), 1);
        assert_eq!(m.push(b"b EN"), None);
        assert_eq!(m.held(), 2);
        assert_eq!(m.push(b"Dx"), Some(Found { stop: 1, consumed: 1 }));
    }

    #[test]
    fn overlapping_prefixes() {
        let mut m = matcher(&["aab"]);
        assert_eq!(m.push(b"aaaab"), Some(Found { stop: 0, consumed: 5 }));
        let mut m = matcher(&["abab", "bab"]);
        assert_eq!(m.push(b"abab"), Some(Found { stop: 0, consumed: 4 }));
    }

    #[test]
    fn none_without_stops() {
        assert_eq!(Matcher::default().push(b"anything"), None);
        assert_eq!(matcher(&["zz"]).held(), 0);
    }
}
