//! The table of exit codes in docs/operations.md and that of the code are one.

use weir_ledger::Exit;

#[test]
fn the_documents_have_each_exit_code_once_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let text = std::fs::read_to_string(path).unwrap();
    let code = |line: &str| line.strip_prefix("| ")?.split_once(" | ")?.0.parse::<u8>().ok();
    let mut documented: Vec<u8> = text.lines().filter_map(code).collect();
    documented.sort_unstable();
    // 3 and 4 are the tap's, which shares no code: its own test looks for them.
    let known = Exit::ALL.map(Exit::code);
    let mut known: Vec<u8> = known.into_iter().chain([3, 4]).collect();
    known.sort_unstable();
    assert_eq!(documented, known);
}
