//! Entry point of `bcp38`.
fn main() {}
