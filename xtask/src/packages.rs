//! Debian packages the tests need: installed when root, named otherwise. Never starts or enables a service that comes
//! with one: the labs run the routing daemons themselves, in network namespaces.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::command::{Result, output, run};

/// Asked by Debian's maintainer scripts whether they may start a service.
const START_POLICY: &str = "/usr/sbin/policy-rc.d";

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
    refuse_unavailable(why, &missing)?;
    install(&missing)
}

/// Names the packages no source offers, and the source that does.
fn refuse_unavailable(why: &str, packages: &[&str]) -> Result<()> {
    let unavailable: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !has_candidate(package))
        .collect();
    if unavailable.is_empty() {
        return Ok(());
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    Err(missing_source(why, &unavailable, &codename(&release)))
}

/// Which of Debian's suites has what cannot be had.
fn missing_source(why: &str, unavailable: &[&str], codename: &str) -> String {
    let of_security = |package: &&&str| {
        package.contains("llvm-22")
            || package.contains("polly-22")
            || package.ends_with("-web")
            || **package == "rust-web-src"
    };
    let (security, main): (Vec<&str>, Vec<&str>) =
        unavailable.iter().partition(|package| of_security(package));
    let suites = [
        (security, format!("{codename}-security main")),
        (main, format!("{codename} main")),
    ];
    let suites = suites.iter().filter(|(packages, _)| !packages.is_empty());
    let named: Vec<String> = suites
        .map(|(packages, suite)| {
            format!("{} (Debian's suite `{suite}` has that)", packages.join(" "))
        })
        .collect();
    format!(
        "{why} needs {}, which none of this machine's package sources offers; add the suite to apt's sources",
        named.join(", and ")
    )
}

/// As apt's sources call this Debian.
fn codename(os_release: &str) -> String {
    let mut lines = os_release.lines();
    let codename = lines.find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    codename.unwrap_or("CODENAME").trim_matches('"').to_owned()
}

fn has_candidate(package: &str) -> bool {
    let policy = output(Command::new("apt-cache").args(["policy", package])).unwrap_or_default();
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate: "))
        .any(|candidate| candidate != "(none)")
}

fn install(packages: &[&str]) -> Result<()> {
    let policy = StartPolicy::forbid()?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args([
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
    ]);
    let installed = run(install.args(packages));
    drop(policy);
    installed?;
    packages.iter().try_for_each(|package| disable(package))
}

/// While it lives, no maintainer script starts a service. An administrator's own policy is left alone.
struct StartPolicy {
    ours: bool,
}

impl StartPolicy {
    fn forbid() -> Result<Self> {
        if Path::new(START_POLICY).exists() {
            return Ok(Self { ours: false });
        }
        let failed = |error| format!("cannot write {START_POLICY}: {error}");
        fs::write(START_POLICY, "#!/bin/sh\nexit 101\n").map_err(failed)?;
        let policy = Self { ours: true };
        fs::set_permissions(START_POLICY, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        Ok(policy)
    }
}

impl Drop for StartPolicy {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(START_POLICY)
        {
            eprintln!(
                "warning: cannot remove {START_POLICY}: {error}; remove it, or services will not start"
            );
        }
    }
}

/// Keeps the services of a package that was just installed from starting at the next boot.
fn disable(package: &str) -> Result<()> {
    let files = output(Command::new("dpkg-query").args(["-L", package])).unwrap_or_default();
    let units: Vec<&str> = files
        .lines()
        .filter_map(|file| Path::new(file).file_name()?.to_str())
        .filter(|name| name.ends_with(".service") && !name.contains('@'))
        .collect();
    let systemctl = output(Command::new("systemctl").arg("--version")).is_some();
    if units.is_empty() || !systemctl {
        return Ok(());
    }
    run(Command::new("systemctl")
        .args(["--quiet", "disable"])
        .args(units))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_source_that_is_missing_is_named() {
        let both = missing_source(
            "the toolchain",
            &["llvm-22", "rustc-web", "zlib1g-dev"],
            "bookworm",
        );
        assert_eq!(
            both,
            "the toolchain needs llvm-22 rustc-web (Debian's suite `bookworm-security main` has that), and zlib1g-dev \
             (Debian's suite `bookworm main` has that), which none of this machine's package sources offers; add the suite \
             to apt's sources"
        );
        let one = missing_source("the network labs", &["frr"], "trixie");
        assert!(
            !one.contains("security") && one.contains("`trixie main`"),
            "{one}"
        );
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=trixie\n"), "trixie");
        assert_eq!(codename(""), "CODENAME");
    }
}
