// Golden vectors of a crate: a module of its unit tests, by path, as crates that have nothing in common share it.

use alloc::format;
use std::fs;

use serde_json::Value;

/// Fails unless the file says `now`; with `WEIR_BLESS` set, writes it first.
pub(crate) fn compare(path: &str, now: &Value) {
    let text = format!("{}\n", serde_json::to_string_pretty(now).unwrap());
    if std::env::var_os("WEIR_BLESS").is_some() {
        fs::write(path, &text).unwrap();
    }
    let recorded = fs::read_to_string(path).unwrap_or_default();
    assert!(
        recorded == text,
        "what {path} pins has changed; if it should, run with WEIR_BLESS=1"
    );
}
