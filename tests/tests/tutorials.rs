//! The tutorials, run as they stand from the first packet to the first that is dropped, with FRR and with BIRD; and the
//! configurations of the page on routing daemons: the filter's parse, each routing daemon reads its own.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;

use filter_core::{Class, Classes, Mode};
use filter_daemon::config::Config;
use serde_json::Value;
use tests::lab::one_peer::{DEVICE, OnePeer};
use tests::lab::{Bcp38, Directory, Package, Site, Traffic, require};

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
        let [watching, enforcing, whole] = steps(page).map(|step| parsed(&step));
        assert_eq!(watching.spec.peers[0].mode, Mode::Observe);
        assert_eq!(watching.feeds.len(), 1);
        let peer = &enforcing.spec.peers[0];
        assert_eq!(peer.mode, Mode::Enforce);
        assert!(peer.enforce.meets(Classes::of(Class::Sources)));
        assert!(!peer.enforce.meets(Classes::of(Class::Destinations)));
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

/// How long the lab's daemons may take.
const WITHIN: Duration = Duration::from_secs(60);
/// What the peer announces, and an address in it; one that it does not; one that we announce to it; one that is not ours.
const ANNOUNCED: &str = "45.146.194.0/23";
const GOOD: &str = "45.146.194.7";
const SPOOFED: &str = "8.8.8.8";
const OURS: &str = "198.51.100.10";
const ELSEWHERE: &str = "9.9.9.9";

/// The filter's configuration at each step of a page: watching, `sources` in force, `destinations` too by a shadow.
fn steps(page: &str) -> [String; 3] {
    let [watching] = blocks(page, "toml")[..] else {
        panic!("one whole configuration a page");
    };
    let [enforce, shadow] = blocks(page, "toml-part")[..] else {
        panic!("two additions a page");
    };
    let limit = "max_prefixes = { ipv4 = 100 }\n";
    let enforcing = watching.replace(limit, &format!("{limit}{enforce}"));
    let whole = enforcing.replace("\"sources\"]", "\"sources\", \"destinations\"]");
    [watching.to_owned(), enforcing, format!("{whole}\n{shadow}")]
}

fn until_in_force(daemon: &Bcp38, class: &str) {
    daemon.until(&format!("`{class}` to be in force"), "icrc", |peer| {
        let mut classes = peer["classes"].as_array().unwrap().iter();
        classes.any(|it: &Value| it["class"] == class && it["in_force"] == true)
    });
}

/// What a reader does with the filter, page in hand; `shadow` configures the routing daemon for its last step.
fn follow(network: &OnePeer, steps: [String; 3], shadow: impl FnOnce()) {
    let [watching, enforcing, whole] = steps;
    let site = Site::new(&network.router);
    let peers = [("icrc", network.peer.namespace())];
    let mut traffic = Traffic::behind(&network.router, DEVICE, &peers);
    let daemon = site.start(&watching);
    // 2. Nothing is dropped.
    let spoofed = ("icrc", SPOOFED, OURS);
    let known = ("unjudged", "source-unannounced");
    traffic.until(&daemon, spoofed, known, WITHIN);
    let mut expect = |source, destination, reason, dropped| {
        let packet = ("icrc", source, destination);
        traffic.expect(&daemon, packet, reason, dropped);
    };
    expect(SPOOFED, OURS, "source-unannounced", false);
    // 3. What the peer does not announce is dropped, and only that.
    daemon.rewrite(&site, &enforcing);
    daemon.until_reloaded();
    until_in_force(&daemon, "sources");
    expect(SPOOFED, OURS, "source-unannounced", true);
    // 4. What is not announced to it is dropped as well.
    shadow();
    daemon.rewrite(&site, &whole);
    daemon.until_reloaded();
    until_in_force(&daemon, "destinations");
    expect(GOOD, OURS, "permitted", false);
    expect(GOOD, ELSEWHERE, "destination-unannounced", true);
    expect(SPOOFED, OURS, "source-unannounced", true);
    daemon.stop();
}

#[test]
fn the_tutorial_with_frr_runs_from_the_first_packet_to_the_first_drop() {
    if !require("the_tutorial_with_frr", &[Package::Frr, Package::Bird]) {
        return;
    }
    let network = OnePeer::new(&[ANNOUNCED]);
    let [first, shadow] = blocks(FRR, "frr")[..] else {
        panic!("two configurations");
    };
    let frr = network.frr(first);
    follow(&network, steps(FRR), || {
        let commands = blocks(FRR, "sh").concat();
        for line in commands.lines().filter(|line| line.starts_with("ip ")) {
            let command = line.split('#').next().unwrap();
            let words: Vec<&str> = command.split_whitespace().skip(1).collect();
            network.router.ip(&words);
        }
        frr.configure(&shadow.lines().map(str::trim).collect::<Vec<_>>());
    });
}

#[test]
fn the_tutorial_with_bird_runs_from_the_first_packet_to_the_first_drop() {
    if !require("the_tutorial_with_bird", &[Package::Bird]) {
        return;
    }
    let network = OnePeer::new(&[ANNOUNCED]);
    let [first, shadow] = blocks(BIRD, "bird")[..] else {
        panic!("two configurations");
    };
    let bird = network.bird(first);
    let socket = bird.socket();
    let steps = steps(BIRD).map(|step| {
        let here = step.replace("/run/bird/bird.ctl", socket.to_str().unwrap());
        assert_ne!(here, step);
        here
    });
    follow(&network, steps, || {
        bird.reconfigure_to(&format!("{first}{shadow}"));
    });
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
