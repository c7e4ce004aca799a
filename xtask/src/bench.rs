//! The benchmarks: builds them optimised and runs them. What they measure is in `benches/`.
use std::process::Command;

use crate::command::{Result, run, workspace};
use crate::packages;

/// What the product is compared with on the wire, and what switches a device's offloads.
const PACKAGES: &[&str] = &["iproute2", "nftables", "ipset", "iptables", "ethtool"];

/// Runs them with these arguments. A file named there is relative to where the command was given.
pub fn run_all(args: &[&str]) -> Result<()> {
    packages::ensure("the comparison with other filters", PACKAGES)?;
    run(Command::new("cargo")
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "benches",
            "--bin",
            "bars",
            "--manifest-path",
        ])
        .arg(workspace().join("Cargo.toml"))
        .arg("--")
        .args(args))
}
