//! What the manifests of the workspace promise together. Never builds anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn packages() -> Vec<Value> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let output = cargo.current_dir(workspace()).output().expect("cargo runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {error}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no `{key}` in {value}"))
}

/// Two packages once had a binary `bcp38`: what lay in target/release was whichever had been built last.
#[test]
fn every_binary_has_a_name_of_its_own() {
    let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        for target in package["targets"].as_array().unwrap() {
            let kinds = target["kind"].as_array().unwrap();
            if kinds.iter().any(|kind| kind == "bin" || kind == "example") {
                let name = text(target, "name").to_owned();
                owners
                    .entry(name)
                    .or_default()
                    .push(text(&package, "name").to_owned());
            }
        }
    }
    assert_eq!(owners["bcp38"], ["filter-daemon"], "the program users run");
    owners.retain(|_, packages| packages.len() > 1);
    assert_eq!(owners, BTreeMap::new(), "one name, one binary");
}

/// The objects call themselves "Dual MIT/GPL" (`objects.rs`), which the kernel asks for. So does the crate they are
/// built from, and the one they are shipped with; the texts lie beside them.
#[test]
fn the_licence_of_the_objects_is_that_of_their_manifests() {
    let packages = packages();
    let licence = |name: &str| {
        let package = packages.iter().find(|package| package["name"] == name);
        text(package.unwrap(), "license").to_owned()
    };
    assert_eq!(licence("filter-ebpf"), "MIT OR GPL-2.0-only");
    assert_eq!(
        licence("filter-loader"),
        format!(
            "({}) AND ({})",
            licence("filter-core"),
            licence("filter-ebpf")
        )
    );
    for directory in ["filter-ebpf", "filter-loader/bpf"] {
        for (file, first_line) in [
            ("LICENSE-MIT", "MIT License"),
            ("LICENSE-GPL-2.0", "GNU GENERAL PUBLIC LICENSE"),
        ] {
            let path = workspace().join(directory).join(file);
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert_eq!(
                text.lines().next().map(str::trim),
                Some(first_line),
                "{}",
                path.display()
            );
        }
    }
}
