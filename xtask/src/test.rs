//! The one test command: what CI runs and what a newcomer runs.
use std::process::Command;

use crate::command::{Result, run, workspace};
use crate::{build_ebpf, newer_daemons, packages};

/// What the network-namespace labs and the comparisons run.
pub const PACKAGES: &[&str] = &[
    "iproute2", "frr", "bird2", "gobgpd", "openbgpd", "exabgp", "nftables", "ipset", "iptables",
    "bpftool",
];

/// Format, lints, documentation, objects, tests.
pub fn all() -> Result<()> {
    packages::ensure("the network labs", PACKAGES)?;
    if packages::is_root() {
        newer_daemons::prepare_or_say()?;
    }
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ])?;
    let mut doc = Command::new("cargo");
    doc.current_dir(workspace())
        .env("RUSTDOCFLAGS", "-D warnings")
        .args(["doc", "--workspace", "--no-deps", "--quiet"]);
    run(&mut doc)?;
    if packages::is_root() {
        build_ebpf::check()?;
    } else {
        eprintln!(
            "SKIPPED: comparing the committed eBPF objects with their source: needs root to install the toolchain"
        );
    }
    cargo(&["test", "--workspace", "--all-features"])
}

fn cargo(args: &[&str]) -> Result<()> {
    run(Command::new("cargo").current_dir(workspace()).args(args))
}
