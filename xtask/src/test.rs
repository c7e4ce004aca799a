//! The one test command, what CI runs and what a newcomer runs, and the quick one for between two edits.
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::command::{Result, run, workspace};
use crate::stages::Stages;
use crate::{build_ebpf, deny, kernel_tests, newer_daemons, packages};

/// What the network-namespace labs and the comparisons run.
pub const PACKAGES: &[&str] = &[
    "iproute2",
    "frr",
    "bird2",
    "gobgpd",
    "openbgpd",
    "exabgp",
    "nftables",
    "ipset",
    "iptables",
    "bpftool",
    "prometheus",
    "tshark",
    "chromium",
];

/// Format, lints, documentation, objects, tests: everything.
pub fn all() -> Result<()> {
    let mut stages = Stages::new("test", Duration::from_secs(40 * 60));
    stages.run("Debian packages", 120, || {
        packages::ensure("the network labs", PACKAGES)
    })?;
    if packages::is_root() {
        stages.run("newer BGP daemons", 60, newer_daemons::prepare_or_say)?;
    }
    stages.run("format", 10, format)?;
    stages.run("lints", 180, lints)?;
    stages.run("documentation", 60, documentation)?;
    stages.run("dependencies: bans, licences, sources", 120, deny::check)?;
    stages.run("eBPF objects", 180, objects)?;
    stages.run("the tests, built", 420, || {
        cargo(&["test", "--workspace", "--all-features", "--no-run"])
    })?;
    let others = other_kernels()?;
    // How both went is said, however the first went.
    let here = stages.run("tests", 1080, || {
        cargo(&["test", "--workspace", "--all-features"])
    });
    let there = stages.run("tests on other kernels, begun beside those", 600, || {
        others.map_or(Ok(()), ended)
    });
    let failed: Vec<String> = [here, there].into_iter().filter_map(Result::err).collect();
    if !failed.is_empty() {
        return Err(failed.join("\n"));
    }
    stages.print();
    Ok(())
}

/// Format, lints and unit tests: no root, under two minutes once dependencies are built.
pub fn check() -> Result<()> {
    let mut stages = Stages::new("check", Duration::from_secs(120));
    stages.run("format", 10, format)?;
    stages.run("lints", 60, lints)?;
    stages.run("unit tests", 60, || {
        cargo(&[
            "test",
            "--workspace",
            "--all-features",
            "--lib",
            "--bins",
            "--quiet",
        ])
    })?;
    stages.run("names in documents and messages", 10, || {
        cargo(&[
            "test",
            "--package",
            "tests",
            "--test",
            "documents",
            "--quiet",
        ])
    })?;
    stages.print();
    Ok(())
}

fn format() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])
}

fn lints() -> Result<()> {
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ])
}

fn documentation() -> Result<()> {
    let mut doc = Command::new("cargo");
    doc.current_dir(workspace())
        .env("RUSTDOCFLAGS", "-D warnings")
        .args(["doc", "--workspace", "--no-deps", "--quiet"]);
    run(&mut doc)
}

fn objects() -> Result<()> {
    if packages::is_root() {
        return build_ebpf::check();
    }
    eprintln!(
        "SKIPPED: comparing the committed eBPF objects with their source: needs root to install the toolchain"
    );
    Ok(())
}

/// Begins the tests on other kernels: the tests here wait for most of their time, and emulators use it. Not without root: then
/// nothing installs what they need, and they fetch a hundred megabytes.
fn other_kernels() -> Result<Option<JoinHandle<Result<()>>>> {
    if packages::is_root() {
        return kernel_tests::start().map(Some);
    }
    let skipped = "the tests on other kernels: need root to install an emulator; `cargo xtask kernel-tests` runs them \
                   without, once it is there";
    if std::env::var_os("FILTER_REQUIRE_KERNEL").is_some_and(|value| value == "1") {
        return Err(format!("FILTER_REQUIRE_KERNEL=1, and skipped: {skipped}"));
    }
    eprintln!("SKIPPED: {skipped}");
    Ok(None)
}

fn ended(tests: JoinHandle<Result<()>>) -> Result<()> {
    let said = tests.join();
    said.unwrap_or_else(|_| Err("the thread that runs them panicked".to_owned()))
}

fn cargo(args: &[&str]) -> Result<()> {
    run(Command::new("cargo").current_dir(workspace()).args(args))
}
