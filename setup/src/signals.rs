//! Which signals a program should leave alone.

use std::fs;

/// Whether whoever started this process had it ignore a signal, as `nohup` does with SIGHUP: then it must go on ignoring it.
/// Where the system does not say, it is not ignored.
pub fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in_mask(&status, signal)
}

fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal 1 is the lowest bit.
    let bit = u32::try_from(signal)
        .ok()
        .and_then(|signal| 1_u64.checked_shl(signal.wrapping_sub(1)));
    mask.zip(bit).is_some_and(|(mask, bit)| mask & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_the_kernel_is_read() {
        let status =
            "Name:\tweir\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t00000001a0004002\n";
        let ignored: Vec<i32> = (-1..70).filter(|&signal| is_in_mask(status, signal)).collect();
        assert_eq!(ignored, [1, 13]);
        assert!(!is_in_mask("", 1) && !is_in_mask("SigIgn:\tx", 1));
        // Rust's runtime ignores SIGPIPE, so this process does.
        assert!(is_ignored(13) && !is_ignored(9));
    }
}
