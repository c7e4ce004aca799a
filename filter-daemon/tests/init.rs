//! `bcp38 init` as a command, and what it makes of what was found: always a configuration that parses and only observes.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]
mod common;

use std::net::IpAddr;
use std::process::Command;

use common::Scratch;
use filter_core::{Asn, Mode};
use filter_daemon::config::{Config, Feed};
use filter_daemon::init::exchange::Exchange;
use filter_daemon::init::{Device, Found, Router, text};
use filter_feeds::discover::Neighbour;
use filter_lifecycle::spec::InterfaceKind;

fn device(name: &str, vlan: Option<u16>, addresses: &[&str]) -> Device {
    let split = |text: &&str| {
        text.split_once('/')
            .unwrap()
            .0
            .parse::<IpAddr>()
            .unwrap()
            .into()
    };
    Device {
        name: name.to_owned(),
        vlan,
        addresses: addresses.iter().map(split).collect(),
        subnets: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn neighbour(address: &str, asn: u32, description: &str) -> Neighbour {
    Neighbour {
        address: address.parse().unwrap(),
        asn: Asn::new(asn),
        local_asn: Some(Asn::new(64500)),
        description: Some(description.to_owned()),
        max_prefixes: [None; 2],
    }
}

fn parsed(found: &Found) -> (Config, String) {
    let text = text(found);
    match Config::parse(&text, "new.toml") {
        Ok((config, _)) => (config, text),
        Err(error) => panic!("{error}\n{text}"),
    }
}

/// An exchange's LAN, a private link with two VLANs of one trunk, iBGP, multihop, a route server, a rude description.
fn everything() -> Found {
    let mut exchange = Exchange {
        lans: vec!["203.0.113.0/24".parse().unwrap()],
        route_servers: vec![Asn::new(64511)],
        ..Exchange::default()
    };
    exchange.limits.insert(Asn::new(57965), [Some(20), None]);
    let limited = Neighbour {
        max_prefixes: [Some(7), Some(9)],
        ..neighbour("192.0.2.2", 64502, "two")
    };
    Found {
        devices: vec![
            device("ixp0", None, &["203.0.113.1/24", "fe80::1/64"]),
            device("eth1", Some(100), &["192.0.2.1/30"]),
            device("eth1", Some(200), &["192.0.2.5/30"]),
            device("unused", None, &["10.0.0.1/8"]),
        ],
        routers: vec![Router {
            kind: "frr",
            socket: "/run/frr/bgpd.vty".into(),
            neighbours: vec![
                neighbour("203.0.113.10", 57965, "icrc \"x\"\n[[peer]]\u{1b}[31m"),
                neighbour("203.0.113.250", 64511, "route server"),
                limited,
                neighbour("192.0.2.6", 57965, "icrc, private"),
                neighbour("10.0.0.2", 64500, "ibgp"),
                neighbour("198.51.100.77", 64503, "multihop"),
            ],
        }],
        exchange,
    }
}

#[test]
fn what_was_found_becomes_a_configuration_that_only_observes() {
    let (config, text) = parsed(&everything());
    let spec = &config.spec;
    let interfaces: Vec<(&str, InterfaceKind)> = spec
        .interfaces
        .iter()
        .map(|it| (it.name.as_str(), it.kind))
        .collect();
    assert_eq!(
        interfaces,
        [("ixp0", InterfaceKind::Lan), ("eth1", InterfaceKind::Port)],
        "{text}"
    );
    let peers: Vec<(u32, usize, Option<u32>)> = spec
        .peers
        .iter()
        .map(|peer| {
            (
                peer.asn.get(),
                peer.attachments.len(),
                peer.max_prefixes.ipv4,
            )
        })
        .collect();
    assert_eq!(peers, [(57965, 2, Some(20)), (64502, 1, Some(7))], "{text}");
    assert_eq!(spec.peers[0].attachments[1].vlans.outer, 200);
    assert_eq!(spec.peers[1].attachments[0].vlans.outer, 100);
    assert_eq!(spec.route_servers.len(), 1, "{text}");
    assert!(spec.peers.iter().all(|peer| peer.mode == Mode::Observe));
    assert!(
        spec.interfaces
            .iter()
            .all(|it| it.unknown_peer == Mode::Observe)
    );
    for line in [
        "# Left out: 10.0.0.2, AS64500: our own AS: iBGP.",
        "# Left out: 198.51.100.77, AS64503: on no subnet of a device here: multihop or down.",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn two_peers_or_a_route_server_on_a_link_make_it_a_lan() {
    let link = |neighbours| Found {
        devices: vec![device("eth1", None, &["192.0.2.1/29"])],
        routers: vec![Router {
            kind: "bird",
            socket: "/run/bird/bird.ctl".into(),
            neighbours,
        }],
        exchange: Exchange {
            route_servers: vec![Asn::new(64511)],
            ..Exchange::default()
        },
    };
    let one = neighbour("192.0.2.2", 64502, "one");
    let two = neighbour("192.0.2.3", 64503, "two");
    let server = neighbour("192.0.2.4", 64511, "server");
    for (neighbours, kind) in [
        (vec![one.clone()], InterfaceKind::Port),
        (vec![one, two], InterfaceKind::Lan),
        (vec![server], InterfaceKind::Lan),
    ] {
        let (config, text) = parsed(&link(neighbours));
        assert_eq!(config.spec.interfaces[0].kind, kind, "{text}");
    }
}

#[test]
fn nothing_at_all_is_still_a_configuration_that_says_what_to_change() {
    let (config, text) = parsed(&Found::default());
    assert_eq!(config.spec.interfaces.len(), 1);
    assert!(text.matches("CHANGE").count() >= 4, "{text}");
    let only_a_device = Found {
        devices: vec![device("eth7", None, &["192.0.2.1/24"])],
        ..Found::default()
    };
    let (config, _) = parsed(&only_a_device);
    assert_eq!(config.spec.interfaces[0].name, "eth7");
}

#[test]
fn the_command_writes_a_new_file_and_never_replaces_one() {
    let scratch = Scratch::new("init");
    let file = scratch.0.join("new.toml");
    let init = || {
        let mut init = Command::new(env!("CARGO_BIN_EXE_bcp38"));
        init.args(["init", "--output"]).arg(&file).output().unwrap()
    };
    let first = init();
    assert!(first.status.success(), "{first:?}");
    assert!(first.stdout.is_empty());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(Config::parse(&text, "new.toml").is_ok(), "{text}");
    let second = init();
    assert_eq!(second.status.code(), Some(1));
    let why = String::from_utf8(second.stderr).unwrap();
    assert!(
        why.contains("name another file, or remove this one"),
        "{why}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn files_that_are_no_answers_are_named() {
    let scratch = Scratch::new("init-files");
    let nonsense = scratch.file("nonsense.json", b"{\"data\": 7}");
    for option in ["--ixf", "--peeringdb"] {
        let mut init = Command::new(env!("CARGO_BIN_EXE_bcp38"));
        let output = init.args(["init", option]).arg(&nonsense).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{option}");
        let why = String::from_utf8(output.stderr).unwrap();
        assert!(why.contains("nonsense.json: "), "{option}: {why}");
    }
}

#[test]
fn a_path_is_written_whole_however_long_and_odd_it_is() {
    let mut found = everything();
    let socket = format!("/run/{}/\"b\\ird\".ctl", "deep/".repeat(40));
    found.routers[0].socket = socket.clone().into();
    let export = format!("/var/lib/{}members.json", "far/".repeat(40));
    found.exchange.export = Some(export.clone().into());
    let (config, text) = parsed(&found);
    let named = config.feeds.iter().any(
        |feed| matches!(feed, Feed::Frr { socket: read, .. } if read.to_str() == Some(&socket)),
    );
    assert!(named, "{text}");
    let exports: Vec<_> = config.exports.values().collect();
    assert_eq!(exports, [std::path::Path::new(&export)]);
}
