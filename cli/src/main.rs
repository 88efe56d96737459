//! The `weir` tool.
fn main() {}
