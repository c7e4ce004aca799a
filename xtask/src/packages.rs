//! Debian packages the tests need: installed when root, named otherwise.
use std::process::Command;

use crate::command::{Result, output, run};

/// Installs what is missing of these, or says what to install.
pub fn ensure(why: &str, packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_root() {
        eprintln!(
            "note: {why} needs packages that are not installed; as root: apt-get install -y {list}"
        );
        return Ok(());
    }
    if output(Command::new("apt-get").arg("--version")).is_none() {
        return Err(format!(
            "{why} needs {list}, and there is no apt-get to install them: install them by hand"
        ));
    }
    // A stale or missing package list is the usual reason for a failed install, so it is fetched first.
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args([
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
    ]);
    run(install.args(&missing))
}

fn is_installed(package: &str) -> bool {
    let status =
        output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]));
    status.as_deref() == Some("installed")
}

/// Are we root?
pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
}
