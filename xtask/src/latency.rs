//! How fast each feed is: builds the measurement of `tests/tests/latency.rs` optimised and runs it.
use std::process::Command;

use crate::command::{Result, run, workspace};
use crate::{newer_daemons, packages};

/// Prints the table of docs/feeds.md.
pub fn measure() -> Result<()> {
    packages::ensure("the network labs", crate::test::PACKAGES)?;
    newer_daemons::prepare()?;
    println!("| feed | announced: median / p90 / max, ms | withdrawn, hold 0 |\n|---|---|---|");
    run(Command::new("cargo")
        .current_dir(workspace())
        .env("FILTER_REQUIRE_KERNEL", "1")
        .args(["test", "--quiet", "--release", "--package", "tests"])
        .args(["--test", "latency", "--", "--ignored", "--nocapture"])
        // One after the other, not to disturb each other's figures.
        .args(["--test-threads", "1"]))
}
