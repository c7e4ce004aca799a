//! The BGP daemons of the next Debian, unpacked where the labs look for them: `lab/src/release.rs` runs them
//! beside the system's own. Never installs them.
use crate::command::{Result, workspace};
use crate::debian;

/// The suite, and where below the workspace it goes.
const SUITE: &str = "trixie";
const PLACE: &str = "target/debian13";
/// Trees by name: `bird2` and `bird3` exclude each other.
const TREES: [(&str, &[&str]); 2] = [
    ("main", &["frr", "bird2", "gobgpd", "openbgpd"]),
    ("bird3", &["bird3"]),
];

/// Unpacks them unless that is done.
pub fn prepare() -> Result<()> {
    let place = workspace().join(PLACE);
    for (name, packages) in TREES {
        debian::unpack(SUITE, packages, &place.join(name))?;
    }
    Ok(())
}

/// As [`prepare`]. Where tests may be skipped, a failure is only said loudly: the labs say again what they skip.
pub fn prepare_or_say() -> Result<()> {
    let required = std::env::var_os("FILTER_REQUIRE_KERNEL").is_some_and(|value| value == "1");
    match prepare() {
        Err(why) if !required => {
            eprintln!("SKIPPED: labs with the daemons of the next Debian: {why}");
            Ok(())
        }
        done => done,
    }
}
