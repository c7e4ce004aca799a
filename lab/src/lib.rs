//! A laboratory of network namespaces with frames on their wires and real BGP daemons in them.
//!
//! [`Namespace`] and [`Lan`] are what everything here is built in, [`Wire`] puts frames on it, [`bmp`] stands in for a
//! router, and [`Peering`] is a router R and two peers on one LAN, both families, with daemons of their own. `bcp38
//! demo`, the tests and the benches share them. Everything a lab makes is named after the process that made it and
//! removed when it is dropped, also by a panic; what a killed process left behind is removed by the next one.
//! Conditions are waited for ([`wait_for`]), never slept for. Never touches a namespace, a device or a process that
//! was there before.

#![expect(
    clippy::unwrap_used,
    reason = "a lab that cannot be built ends the test: the panic is the report"
)]

pub mod bmp;
mod daemon;
mod exabgp;
pub mod exchange;
mod lan;
mod link;
mod namespace;
pub mod one_peer;
pub mod packets;
mod peer;
mod release;
mod route_server;
mod router;
mod topology;
pub mod wire;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub use daemon::Daemon;
pub use exabgp::ExaBgp;
pub use exchange::{Exchange, Member, Neighbour, Speaker};
pub use lan::Lan;
pub use link::Link;
pub use namespace::{BPFFS, Namespace, NetError, enter, ip, spawn_in, unique};
pub use peer::{Peer, PeerConfig};
pub use release::Release;
pub use route_server::{RS, RouteServer};
pub use router::{BirdRouter, FrrOptions, FrrRouter, GoBgpRouter, OpenBgpdRouter};
pub use topology::{Accepted, Advertised, P1, P2, Peering, R_ADDRESSES, R_ASN};
pub use wire::Wire;

/// Set in CI: what a test needs must be there.
pub const REQUIRE: &str = "FILTER_REQUIRE_KERNEL";
/// How often a condition is looked at.
pub const LOOK: Duration = Duration::from_millis(20);

/// A program a test needs, and the Debian package it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// FRR's zebra and bgpd.
    Frr,
    /// BIRD 2.
    Bird,
    /// GoBGP, daemon and client.
    GoBgp,
    /// OpenBGPD and bgpctl.
    OpenBgpd,
    /// ExaBGP.
    ExaBgp,
}

impl Package {
    const fn programs(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Frr => ("frr", &["/usr/lib/frr/zebra", "/usr/lib/frr/bgpd"]),
            Self::Bird => ("bird2", &["/usr/sbin/bird", "/usr/sbin/birdc"]),
            Self::GoBgp => ("gobgpd", &["/usr/bin/gobgpd", "/usr/bin/gobgp"]),
            Self::OpenBgpd => ("openbgpd", &["/usr/sbin/bgpd", "/usr/sbin/bgpctl"]),
            Self::ExaBgp => ("exabgp", &["/usr/sbin/exabgp"]),
        }
    }
}

/// May `test` run here? It needs root, `ip`, and these packages. If not, says so loudly; with
/// [`REQUIRE`] set it panics, so that CI cannot skip a test silently.
#[must_use = "a test that may not run must return"]
pub fn require(test: &str, packages: &[Package]) -> bool {
    require_from(test, Release::System, &[], packages)
}

/// As [`require`]: the packages of R from this release, and further ones of the system's.
#[must_use = "a test that may not run must return"]
pub fn require_from(test: &str, release: Release, router: &[Package], others: &[Package]) -> bool {
    let router = router.iter().map(|package| (release, *package));
    let others = others.iter().map(|package| (Release::System, *package));
    let Err(why) = check(router.chain(others)) else {
        namespace::sweep();
        return true;
    };
    let required = std::env::var_os(REQUIRE).is_some_and(|value| value == "1");
    assert!(!required, "{test} cannot run although {REQUIRE}=1: {why}");
    // Not a print macro: the test harness would keep that for itself.
    let _nowhere_to_complain = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
    false
}

fn check(packages: impl Iterator<Item = (Release, Package)>) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("it makes network namespaces: run it as root".to_owned());
    }
    if !["/usr/sbin/ip", "/sbin/ip", "/bin/ip"]
        .iter()
        .any(|path| Path::new(path).exists())
    {
        return Err("no `ip` here: install the package iproute2".to_owned());
    }
    for (release, package) in packages {
        let (name, programs) = package.programs();
        for program in programs {
            release.has(program, name)?;
        }
    }
    namespace::probe()
}

/// Looks until `condition` gives something; panics with `what` after `within`.
///
/// # Panics
/// If it never does.
pub fn wait_for<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < end, "waited {within:?} in vain for {what}");
        std::thread::sleep(LOOK);
    }
}

/// Runs a command to its end and gives what it printed, or what it complained of.
///
/// # Errors
/// If it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    Err(format!("{command:?}: {}: {stderr}{stdout}", output.status))
}

/// A directory of the lab, removed with it.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// A new one, readable by the daemons' own users.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new(role: &str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(namespace::unique(role));
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, open)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    ///
    /// # Panics
    /// If that fails.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing else can be done about it while dropping.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// The examples of the README, which are compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
