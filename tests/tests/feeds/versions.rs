//! The newer daemons are those that docs/feeds.md names: a tree of other versions would prove something else.
use tests::lab::{Package, Release, require_from};

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
