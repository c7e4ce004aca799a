//! The configurations of the tutorials and of the page on routing daemons: the filter's parse, with and without what is added
//! later; each routing daemon reads its own.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use filter_core::{Class, Classes, Mode};
use filter_daemon::config::Config;
use tests::lab::{Directory, Package, require};

const FRR: &str = include_str!("../../docs/tutorial-frr.md");
const BIRD: &str = include_str!("../../docs/tutorial-bird.md");

const DAEMONS: &str = include_str!("../../docs/daemons.md");

/// The fenced blocks of this kind, in order.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<&'a str> {
    let fence = format!("```{kind}\n");
    let begun = page.split(fence.as_str()).skip(1);
    begun
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

fn parsed(text: &str) -> Config {
    match Config::parse(text, "tutorial") {
        Ok((config, _)) => config,
        Err(error) => panic!("{error}\n{text}"),
    }
}

#[test]
fn the_filter_takes_what_the_tutorials_say_at_each_step() {
    for page in [FRR, BIRD] {
        let [first] = blocks(page, "toml")[..] else {
            panic!("one whole configuration a page");
        };
        let [enforce, shadow] = blocks(page, "toml-part")[..] else {
            panic!("two additions a page");
        };
        let watching = parsed(first);
        assert_eq!(watching.spec.peers[0].mode, Mode::Observe);
        assert_eq!(watching.feeds.len(), 1);
        let limit = "max_prefixes = { ipv4 = 100 }\n";
        assert!(first.contains(limit));
        let second = first.replace(limit, &format!("{limit}{enforce}"));
        let enforcing = parsed(&second);
        let peer = &enforcing.spec.peers[0];
        assert_eq!(peer.mode, Mode::Enforce);
        assert!(peer.enforce.meets(Classes::of(Class::Sources)));
        assert!(!peer.enforce.meets(Classes::of(Class::Destinations)));
        let third = second.replace("\"sources\"]", "\"sources\", \"destinations\"]");
        let whole = parsed(&format!("{third}\n{shadow}"));
        assert!(
            whole.spec.peers[0]
                .enforce
                .meets(Classes::of(Class::Destinations))
        );
        assert_eq!(whole.feeds[1].kind(), "shadow");
    }
}

#[test]
fn the_filter_takes_the_feeds_of_every_routing_daemon() {
    let [watching] = blocks(FRR, "toml")[..] else {
        panic!("one whole configuration");
    };
    let (without_feeds, _) = watching.split_once("[[feed]]").unwrap();
    let kinds = blocks(DAEMONS, "toml-feeds").into_iter().map(|feeds| {
        let config = parsed(&format!("{without_feeds}\n{feeds}"));
        let kinds = config.feeds.iter().map(|feed| feed.kind());
        kinds.collect::<Vec<_>>().join(" ")
    });
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        ["bmp frr", "bird", "openbgpd", "bmp gobgp", "bmp shadow"]
    );
}

#[test]
fn openbgpd_takes_the_configuration_of_the_page() {
    if !require("openbgpd_takes_the_configuration", &[Package::OpenBgpd]) {
        return;
    }
    let directory = Directory::new("daemons");
    let conf = directory.write("bgpd.conf", &blocks(DAEMONS, "openbgpd").concat());
    // It refuses what others may read.
    std::fs::set_permissions(&conf, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut check = Command::new("/usr/sbin/bgpd");
    let read = check.args(["-n", "-f"]).arg(conf).output().unwrap();
    assert!(read.status.success(), "{}", said(&read));
}

#[test]
fn gobgp_takes_the_configuration_of_the_page() {
    if !require("gobgp_takes_the_configuration", &[Package::GoBgp]) {
        return;
    }
    let directory = Directory::new("daemons");
    let conf = directory.write("gobgpd.toml", &blocks(DAEMONS, "gobgp").concat());
    let mut check = Command::new("/usr/bin/gobgpd");
    let read = check.args(["--dry-run", "-f"]).arg(conf).output().unwrap();
    assert!(read.status.success(), "{}", said(&read));
}

fn said(output: &Output) -> String {
    let said = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn bird_takes_the_tutorials_configuration() {
    if !require("bird_takes_the_tutorials_configuration", &[Package::Bird]) {
        return;
    }
    let directory = Directory::new("tutorial");
    let conf = directory.write("bird.conf", &blocks(BIRD, "bird").concat());
    let read = Command::new("/usr/sbin/bird")
        .arg("-p")
        .arg("-c")
        .arg(conf)
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", said(&read));
}

#[test]
fn frr_takes_the_tutorials_configuration() {
    if !require("frr_takes_the_tutorials_configuration", &[Package::Frr]) {
        return;
    }
    let directory = Directory::new("tutorial");
    let conf = directory.write("bgpd.conf", &blocks(FRR, "frr").concat());
    let mut check = Command::new("/usr/lib/frr/bgpd");
    check.args(["-C", "-M", "bmp", "-S", "-f"]).arg(conf);
    let read = check.output().unwrap();
    assert!(read.status.success(), "{}", said(&read));
    assert!(!said(&read).contains("No such command"), "{}", said(&read));
}
