//! What comes along with each library crate: whoever embeds one must not get an async runtime, a command line parser,
//! a TOML parser or a web server with it, and the pure crates nothing that reaches outside.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Never in the tree of a library crate.
const FOREIGN: [&str; 17] = [
    "tokio",
    "async-std",
    "smol",
    "futures-executor",
    "mio",
    "clap",
    "lexopt",
    "argh",
    "toml",
    "toml_edit",
    "serde_yaml",
    "hyper",
    "axum",
    "actix-web",
    "tiny_http",
    "rouille",
    "reqwest",
];
/// Never in the tree of a pure crate: sockets, files, the kernel, threads.
const OUTSIDE: [&str; 6] = ["nix", "rustix", "libc", "aya", "crossbeam-channel", "rayon"];

/// Only what this needs was downloaded by the time a test runs.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The crates a package is built with, itself among them; what only builds (procedural macros too) and tests need left out.
fn tree(package: &str) -> BTreeSet<String> {
    let crates = crates(package, "normal,no-proc-macro").into_iter();
    let names = crates.filter_map(|line| Some(line.split_once(' ')?.0.to_owned()));
    names.collect()
}

/// The crates that `cargo tree` shows for a package, itself among them, each with its version.
fn crates(package: &str, edges: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", edges, "--prefix", "none"])
        .args(["--target", TARGET, "--format", "{p}", "--package", package])
        .current_dir(root)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree -p {package}: {said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().filter(|line| !line.is_empty());
    let versioned = lines.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
    versioned.collect()
}

fn found(package: &str, unwanted: &[&str]) -> Vec<String> {
    let tree = tree(package);
    assert!(tree.contains(package), "{tree:?}");
    let unwanted = unwanted.iter().filter(|name| tree.contains(**name));
    unwanted.map(|name| (*name).to_owned()).collect()
}

#[test]
fn embedding_brings_no_runtime_parser_or_server() {
    for package in [
        "filter-core",
        "filter-loader",
        "filter-lifecycle",
        "filter-feeds",
        "filter-engine",
    ] {
        assert_eq!(found(package, &FOREIGN), [""; 0], "{package}");
    }
}

#[test]
fn pure_crates_reach_nothing_outside() {
    for package in ["filter-core", "filter-lifecycle"] {
        assert_eq!(found(package, &OUTSIDE), [""; 0], "{package}");
    }
    let lifecycle = tree("filter-lifecycle");
    assert!(lifecycle.len() <= 11, "{lifecycle:?}");
}

/// The list above is looked for at all: the daemon has some of it.
#[test]
fn the_daemon_has_what_libraries_must_not() {
    assert_eq!(found("filter-daemon", &["clap", "toml"]), ["clap", "toml"]);
}

#[test]
fn dependencies_point_one_way() {
    let above = |package, others: &[&str]| assert_eq!(found(package, others), [""; 0], "{package}");
    above(
        "filter-lifecycle",
        &["filter-loader", "filter-feeds", "filter-engine"],
    );
    above(
        "filter-feeds",
        &["filter-loader", "filter-engine", "filter-daemon"],
    );
    above(
        "filter-loader",
        &["filter-lifecycle", "filter-feeds", "filter-engine"],
    );
    above("filter-engine", &["filter-feeds", "filter-daemon"]);
}

/// ARCHITECTURE.md counts what comes along with each crate.
#[test]
fn the_trees_are_as_large_as_documented() {
    let text = include_str!("../../ARCHITECTURE.md");
    let mut documented = 0;
    for line in text.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells
            .next()
            .and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        let count = cells.next().and_then(|cell| cell.parse::<usize>().ok());
        let (Some(name), Some(count)) = (name, count) else {
            continue;
        };
        documented += 1;
        let host = crates(name, "normal");
        assert_eq!(host.len(), count, "{name}: {host:?}");
    }
    assert_eq!(documented, 7, "the crates of the table");
}
