//! The one test command: what CI runs and what a newcomer runs.
use std::process::Command;

use crate::command::{Result, run, workspace};
use crate::{build_ebpf, kernel_tests, newer_daemons, packages};

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
    cargo(&["test", "--workspace", "--all-features"])?;
    other_kernels()
}

/// Not without root: then nothing installs what they need, and they fetch a hundred megabytes.
fn other_kernels() -> Result<()> {
    if packages::is_root() {
        return kernel_tests::all();
    }
    let skipped = "the tests on other kernels: need root to install an emulator; `cargo xtask kernel-tests` runs them \
                   without, once it is there";
    if std::env::var_os("FILTER_REQUIRE_KERNEL").is_some_and(|value| value == "1") {
        return Err(format!("FILTER_REQUIRE_KERNEL=1, and skipped: {skipped}"));
    }
    eprintln!("SKIPPED: {skipped}");
    Ok(())
}

fn cargo(args: &[&str]) -> Result<()> {
    run(Command::new("cargo").current_dir(workspace()).args(args))
}
