//! The newer daemons are those that docs/feeds.md names, for a tree of other versions would prove something else;
//! and they leave the system's files in their places.
use tests::lab::{Package, Peering, Release, require_from};

#[test]
fn the_newer_daemons_are_those_of_the_table() {
    for (release, package, version) in [
        (Release::Debian13, Package::Frr, "10.3"),
        (Release::Debian13, Package::Bird, "2.17"),
        (Release::Debian13Bird3, Package::Bird, "3.1"),
        (Release::Debian13, Package::GoBgp, "3.36"),
        (Release::Debian13, Package::OpenBgpd, "8.8"),
    ] {
        let test = "the_newer_daemons_are_those_of_the_table";
        if !require_from(test, release, &[package], &[]) {
            return;
        }
        let said = release.version(package);
        let found = said.split_whitespace().any(|word| {
            let rest = word.strip_prefix(version);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        assert!(
            found,
            "{package:?} of {release:?} is {said:?}, not {version}"
        );
    }
}

/// The tree's `/usr` is mounted for the daemon only, and gone with it.
#[test]
fn what_a_newer_daemon_mounts_nobody_else_sees() {
    let test = "what_a_newer_daemon_mounts_nobody_else_sees";
    if !require_from(test, Release::Debian13, &[Package::Bird], &[Package::Bird]) {
        return;
    }
    let lab = Peering::of(Release::Debian13);
    let mut router = lab.bird();
    let mounts = |process: &str| std::fs::read_to_string(format!("/proc/{process}/mountinfo"));
    let is_ours = |mounts: &str| {
        mounts
            .lines()
            .any(|mount| mount.contains("/debian13/main/usr "))
    };
    let inside = mounts(&router.daemon().pid().to_string()).unwrap_or_default();
    assert!(is_ours(&inside), "{inside}");
    let outside = mounts("self").unwrap_or_default();
    assert!(!outside.is_empty() && !is_ours(&outside), "{outside}");
}
