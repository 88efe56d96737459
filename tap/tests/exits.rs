//! The tap's exit codes stand in the table of all programs, though it shares no code with them.

#[allow(dead_code)]
#[path = "../src/hold.rs"]
mod hold;

#[test]
fn the_table_of_exit_codes_has_the_taps() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    for code in [hold::DOWN, hold::NOT_DOWN] {
        let row = format!("| {code} | weir-tap: ");
        assert_eq!(text.matches(&row).count(), 1, "{row}");
    }
}
