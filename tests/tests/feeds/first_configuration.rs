//! `bcp38 init` beside live daemons: what it writes passes `check-config`, names both peers with their addresses, and polls
//! the daemon it found.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::path::{Path, PathBuf};

use filter_core::{Asn, Mode};
use filter_daemon::config::Config;
use filter_daemon::init::{self, Found, Sockets, devices};
use filter_lifecycle::spec::InterfaceKind;
use tests::lab::{FrrOptions, Package, Peering, require};

/// What `bcp38 init` prints in R's namespace.
fn written(lab: &Peering, sockets: &Sockets) -> String {
    let devices = lab.router.run(|| devices::all().unwrap());
    let mut warnings = Vec::new();
    let routers = init::routers(sockets, &mut warnings).unwrap();
    assert_eq!(warnings, [""; 0]);
    init::text(&Found {
        devices,
        routers,
        ..Found::default()
    })
}

fn assert_right(text: &str, kind: &str, socket: &Path) {
    let (config, warnings) = match Config::parse(text, "bcp38.toml") {
        Ok(parsed) => parsed,
        Err(error) => panic!("{error}\n{text}"),
    };
    let spec = &config.spec;
    assert_eq!(spec.router.asn, Asn::new(64500));
    assert_eq!(spec.interfaces.len(), 1, "{text}");
    assert_eq!(spec.interfaces[0].name, "eth0");
    assert_eq!(spec.interfaces[0].kind, InterfaceKind::Lan);
    let lan: Vec<String> = spec.interfaces[0]
        .lan
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(lan, ["192.0.2.0/24", "2001:db8:ff::/64"]);
    let peers: Vec<(u32, usize)> = spec
        .peers
        .iter()
        .map(|peer| (peer.asn.get(), peer.attachments[0].addresses.len()))
        .collect();
    assert_eq!(peers, [(64501, 2), (4_200_000_002, 2)], "{text}");
    assert!(spec.peers.iter().all(|peer| peer.mode == Mode::Observe));
    assert_eq!(config.feeds.len(), 1);
    assert_eq!(config.feeds[0].kind(), kind);
    assert!(
        text.contains(&format!("socket = \"{}\"", socket.display())),
        "{text}"
    );
    let odd: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert!(
        odd.iter()
            .any(|warning| warning.contains("`prefixes`: none")),
        "{odd:?}"
    );
}

#[test]
fn a_first_configuration_from_frr() {
    if !require(
        "a_first_configuration_from_frr",
        &[Package::Frr, Package::Bird],
    ) {
        return;
    }
    let lab = Peering::new();
    let router = lab.frr(&FrrOptions::default());
    let socket = router.socket();
    let sockets = Sockets {
        frr: Some(socket.clone()),
        bird: Some(PathBuf::from("/nowhere/bird.ctl")),
    };
    let refused = init::routers(&sockets, &mut Vec::new())
        .unwrap_err()
        .to_string();
    assert!(
        refused.starts_with("cannot reach /nowhere/bird.ctl: "),
        "{refused}"
    );
    // No BIRD of this machine may answer: its usual place is not the lab's.
    let routers = init::routers(
        &Sockets {
            bird: None,
            ..sockets.clone()
        },
        &mut Vec::new(),
    );
    let of_the_lab = routers
        .unwrap()
        .into_iter()
        .filter(|router| router.socket == socket);
    let found = Found {
        devices: lab.router.run(|| devices::all().unwrap()),
        routers: of_the_lab.collect(),
        ..Found::default()
    };
    assert_right(&init::text(&found), "frr", &socket);
}

#[test]
fn a_first_configuration_from_bird() {
    if !require("a_first_configuration_from_bird", &[Package::Bird]) {
        return;
    }
    let lab = Peering::new();
    let router = lab.bird();
    let socket = router.socket();
    let text = written(
        &lab,
        &Sockets {
            frr: None,
            bird: Some(socket.clone()),
        },
    );
    assert_right(&text, "bird", &socket);
}
