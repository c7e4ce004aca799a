//! What polling feeds ask for and find beside the common scenario: routers without import tables, chosen sessions,
//! a peer that restarts gracefully, and one that no BIRD could be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use filter_core::Family;
use filter_feeds::bird::{Bird, BirdConfig};
use filter_feeds::frr::{Frr, FrrConfig};
use filter_feeds::poll::{AdjRibs, PollConfig, SessionSpec, Sessions};
use filter_lifecycle::route::{AdjRib, Community, DownCause};
use tests::lab::{Advertised, ExaBgp, FrrOptions, Package, Peering, require};

use super::poll::{Watched, poll, truth};

/// Without copies of what peers advertise, that table is left out; what BIRD keeps as filtered stands in for it.
#[test]
fn without_import_tables() {
    if !require("feeds_poll::without_import_tables", &[Package::Bird]) {
        return;
    }
    let lab = Peering::new();
    let router = lab.bird();
    router.reconfigure(|conf| conf.replace("import table on; export table on;", ""));
    let feed = Bird::feed(BirdConfig {
        socket: router.socket(),
        poll: poll(),
    });
    let mut watched = Watched::start(&lab.router, feed);
    watched.until_truth("accepted and filtered together", &truth(&lab, AdjRibs::ALL));
    drop(watched);

    router.reconfigure(|conf| {
        conf.replace(
            "import table on; export table on; import keep filtered on;",
            "",
        )
    });
    let feed = Bird::feed(BirdConfig {
        socket: router.socket(),
        poll: poll(),
    });
    let mut watched = Watched::start(&lab.router, feed);
    let ribs = AdjRibs {
        in_pre_policy: false,
        ..AdjRibs::ALL
    };
    watched.until_truth("what is left", &truth(&lab, ribs));
    assert!(
        watched
            .ribs
            .keys()
            .all(|(_, rib, _)| *rib != AdjRib::InPrePolicy)
    );
}

/// Only what was asked for is read; a session the router does not have is down.
#[test]
fn chosen_sessions() {
    if !require(
        "feeds_poll::chosen_sessions",
        &[Package::Frr, Package::Bird],
    ) {
        return;
    }
    let lab = Peering::new();
    let router = lab.frr(&FrrOptions::default());
    let out = AdjRibs {
        in_pre_policy: false,
        in_post_policy: false,
        out_post_policy: true,
    };
    let unknown: IpAddr = "192.0.2.99".parse().unwrap();
    let wanted = [lab.p2.address(Family::Ipv4), unknown];
    let specs = wanted.map(|address| SessionSpec { address, ribs: out });
    let poll = PollConfig {
        sessions: Sessions::Only(specs.to_vec()),
        ..poll()
    };
    let mut watched = Watched::start(
        &lab.router,
        Frr::feed(FrrConfig {
            socket: router.socket(),
            poll,
        }),
    );
    let key = (wanted[0], AdjRib::OutPostPolicy, Family::Ipv4);
    let expected = Advertised::of(&Advertised::TO_P2, Family::Ipv4);
    watched.until_truth("P2's table", &BTreeMap::from([(key, expected)]));
    assert_eq!(watched.ribs.keys().collect::<Vec<_>>(), [&key]);
    assert_eq!(
        watched.sessions.keys().collect::<Vec<_>>(),
        wanted.iter().collect::<Vec<_>>()
    );
    assert_eq!(watched.sessions[&unknown], Some(DownCause::Deconfigured));
}

/// A peer that crashes and restarts gracefully is down meanwhile, and not by a NOTIFICATION.
#[test]
fn graceful_restart() {
    if !require(
        "feeds_poll::graceful_restart",
        &[Package::Frr, Package::Bird],
    ) {
        return;
    }
    let mut lab = Peering::with(|peer| peer.restart_time = Some(60));
    let router = lab.frr(&FrrOptions::default());
    let feed = Frr::feed(FrrConfig {
        socket: router.socket(),
        poll: poll(),
    });
    let mut watched = Watched::start(&lab.router, feed);
    watched.until_truth("the cold start", &truth(&lab, AdjRibs::ALL));
    watched.emptied.clear();
    lab.p2.kill();
    let v4 = lab.p2.address(Family::Ipv4);
    watched.until_down(v4);
    assert_eq!(watched.sessions[&v4], Some(DownCause::Lost));
    assert_eq!(watched.emptied, []);
    watched.ribs.clear();
    lab.p2.restart();
    watched.until_truth("the peer to be back", &truth(&lab, AdjRibs::ALL));
}

/// A third peer, ExaBGP: an AS with communities, seen by BIRD's feed with them.
#[test]
fn exabgp_as_a_peer() {
    if !require(
        "feeds_poll::exabgp_as_a_peer",
        &[Package::Bird, Package::ExaBgp],
    ) {
        return;
    }
    let lab = Peering::new();
    let router = lab.bird();
    router.reconfigure(|conf| {
        format!("{conf}\nprotocol bgp p3_4 from peer4 {{ neighbor 192.0.2.13 as 64513; ipv4 {{ export none; }}; }}\n")
    });
    let member = lab.member("p3", 13);
    let _speaker = ExaBgp::start(
        &member,
        "neighbor 192.0.2.1 { router-id 192.0.2.13; local-address 192.0.2.13; local-as 64513; peer-as 64500;
           family { ipv4 unicast; }
           static { route 198.51.102.0/24 next-hop 192.0.2.13 community [ 64500:1 0:64501 ] large-community [ 64500:2:3 ]; } }",
    );
    let feed = Bird::feed(BirdConfig {
        socket: router.socket(),
        poll: poll(),
    });
    let mut watched = Watched::start(&lab.router, feed);
    let session: IpAddr = "192.0.2.13".parse().unwrap();
    let announced = BTreeSet::from(["198.51.102.0/24".parse().unwrap()]);
    let truth = BTreeMap::from([((session, AdjRib::InPrePolicy, Family::Ipv4), announced)]);
    watched.until_truth("ExaBGP's route", &truth);
    let received = &watched.routes[&(session, AdjRib::InPrePolicy, Family::Ipv4)];
    let communities = [
        Community::Standard(64500, 1),
        Community::Standard(0, 64501),
        Community::Large(64500, 2, 3),
    ];
    let mut found = received[0].communities.as_deref().unwrap().to_vec();
    found.sort_unstable();
    assert_eq!(found, [communities[1], communities[0], communities[2]]);
    assert_eq!(received[0].next_hop, Some(session));
}
