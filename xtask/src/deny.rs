//! What dependencies may bring in: `cargo deny` checks bans, licences and sources by deny.toml.
//! Never asks for advisories: their database is a clone from a network that CI may lack. RELEASING.md does.
use std::path::PathBuf;
use std::process::Command;

use crate::command::{Result, output, run, workspace};

const VERSION: &str = "0.20.2";

/// Checks bans, licences and sources; installs cargo-deny below target/ if the machine has none.
pub fn check() -> Result<()> {
    let tool = tool()?;
    let mut deny = Command::new(tool);
    deny.current_dir(workspace()).args([
        "--workspace",
        "--all-features",
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]);
    run(&mut deny)
}

/// From the checkout's own tools, from PATH, or freshly installed into the checkout.
fn tool() -> Result<PathBuf> {
    let tools = workspace().join("target/tools");
    let local = tools.join("bin/cargo-deny");
    for candidate in [local.clone(), PathBuf::from("cargo-deny")] {
        if output(Command::new(&candidate).arg("--version")).is_some_and(|it| it.contains(VERSION))
        {
            return Ok(candidate);
        }
    }
    eprintln!(
        "cargo-deny {VERSION} is not here: installing it below target/, which takes minutes once"
    );
    let mut install = Command::new("cargo");
    install
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .args([
            "install",
            "--quiet",
            "--debug", // it runs once: to optimize it takes longer than it saves
            "--locked",
            "cargo-deny",
            "--version",
            VERSION,
            "--root",
        ])
        .arg(&tools);
    run(&mut install)?;
    Ok(local)
}
