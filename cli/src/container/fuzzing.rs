//! Body of the fuzz target, which a test calls too.

use crate::container::{Header, MAGIC, VERSION, check};

/// Reads `bytes` as a file, and as the numbers and lists between the magic and the check of one. The first byte says whether
/// these are made to fit each other: hardly any random ones do. Gives whether there was a file between.
///
/// # Panics
/// If what was read is not emitted again as it was.
pub(crate) fn container(bytes: &[u8]) -> bool {
    is_file(bytes);
    let (&fit, between) = bytes.split_first().unwrap_or((&0, &[]));
    let mut file = [MAGIC.as_slice(), &[VERSION], between].concat();
    if fit & 1 == 1 {
        make_fit(&mut file);
    }
    let sum = check(&file);
    file.extend_from_slice(&sum);
    is_file(&file)
}

fn is_file(file: &[u8]) -> bool {
    let Ok((header, missing, code)) = Header::parse(file) else {
        return false;
    };
    assert_eq!(header.emit(missing, code).as_deref(), Ok(file));
    true
}

/// Orders length and tokens, window and overlap, and makes the list of missing bytes nearly as short as what is there.
fn make_fit(file: &mut Vec<u8>) {
    file.resize(file.len().max(LISTS), 0);
    let (numbers, lists) = file[NUMBERS..].split_at_mut(LISTS - NUMBERS);
    let (counts, rest) = numbers.split_at_mut(16);
    order(counts);
    let (span, rest) = rest.split_at_mut(8);
    order(span);
    let (_start, missing) = rest.split_at_mut(4);
    let last = usize::from(missing[7]) % (lists.len() + 2);
    missing.copy_from_slice(&(last as u64).to_be_bytes());
}

/// Two big-endian numbers, the larger one first.
fn order(numbers: &mut [u8]) {
    let (first, second) = numbers.split_at_mut(numbers.len() / 2);
    if *first < *second {
        first.swap_with_slice(second);
    }
}

/// Where the numbers begin: after magic, version and three hashes.
const NUMBERS: usize = MAGIC.len() + 1 + 3 * 32;
/// Where they end: length, tokens and the length of the list have 8 bytes, window, overlap and start 4.
const LISTS: usize = NUMBERS + 3 * 8 + 3 * 4;
