//! The byte-level alphabet of GPT-2: every byte as one printable character, so that BPE can work on strings.
//!
//! Printable bytes stand for themselves (as Latin-1 characters); the other 68 are U+0100, U+0101, … in
//! ascending order. SPEC 3.2.

/// The character that stands for a byte.
pub(super) const fn byte_to_char(byte: u8) -> char {
    TO_CHAR[byte as usize]
}

/// The byte that a character stands for, if it is in the alphabet.
pub(super) fn char_to_byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    match u8::try_from(code) {
        Ok(byte) if is_itself(byte) => Some(byte),
        Ok(_) => None,
        Err(_) => MOVED.get(code as usize - 256).copied(),
    }
}

const fn is_itself(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// The bytes that stand for U+0100 onwards.
const MOVED: [u8; 68] = {
    let (mut moved, mut at, mut byte) = ([0; 68], 0, 0);
    while byte < 256 {
        if !is_itself(byte as u8) {
            moved[at] = byte as u8;
            at += 1;
        }
        byte += 1;
    }
    assert!(at == 68);
    moved
};

const TO_CHAR: [char; 256] = {
    let mut table = ['\0'; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte as u8 as char;
        byte += 1;
    }
    let mut at = 0;
    while at < MOVED.len() {
        // Every u8 is a char; 256 + 67 is below the surrogates.
        table[MOVED[at] as usize] = match char::from_u32(256 + at as u32) {
            Some(c) => c,
            None => panic!("below the surrogates"),
        };
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        for byte in 0..=255 {
            assert_eq!(char_to_byte(byte_to_char(byte)), Some(byte));
        }
        assert_eq!(
            (byte_to_char(b' '), byte_to_char(b'\n'), byte_to_char(0xAD)),
            ('Ġ', 'Ċ', 'Ń')
        );
    }

    #[test]
    fn other_characters_stand_for_nothing() {
        assert_eq!(
            (0..0x11_0000)
                .filter_map(char::from_u32)
                .filter_map(char_to_byte)
                .count(),
            256
        );
        assert_eq!(
            [' ', '\n', '\u{AD}', '\u{144}', '語'].map(char_to_byte),
            [None; 5]
        );
    }
}
