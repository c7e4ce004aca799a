//! The configurations of the tutorials: the filter's parse, with and without what is added later; FRR and BIRD read theirs.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::process::{Command, Output};

use filter_core::{Class, Classes, Mode};
use filter_daemon::config::Config;
use tests::lab::{Directory, Package, require};

const FRR: &str = include_str!("../../docs/tutorial-frr.md");
const BIRD: &str = include_str!("../../docs/tutorial-bird.md");

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
