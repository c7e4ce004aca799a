//! Shadow sessions from live routers: BIRD and FRR of each release, and ExaBGP. After each step the reported tables
//! equal the lab's ground truth.
#![expect(clippy::unwrap_used, reason = "a panic in a test is its report")]

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use filter_core::{Asn, Family};
use filter_feeds::shadow::{ShadowFeed, ShadowSession};
use filter_lifecycle::route::{AdjRib, RouteEvent, Session};
use tests::captures::Folded;
use tests::lab::{
    Accepted, Advertised, ExaBgp, FrrOptions, Namespace, Package, Peer, Peering, Release,
    require_from, wait_for,
};

use super::live::{Truth, WITHIN, Watched, session};

/// What makes R keep what peers advertise as they do.
const KEPT: [&str; 2] = ["import table on;", "import keep filtered on;"];

/// A shadow of one session at 127.0.`net`.`host`, from 127.0.3.`host`.
fn loopback(net: u8, host: u8, mirrors: Session, rib: AdjRib) -> ShadowSession {
    let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, net, host)), 1790);
    let remote = IpAddr::V4(Ipv4Addr::new(127, 0, 3, host));
    ShadowSession {
        rib,
        ..ShadowSession::new(listen, remote, Asn::new(64999), mirrors)
    }
}

fn shadows_in(namespace: &Namespace, shadows: Vec<ShadowSession>) -> ShadowFeed {
    namespace.run(|| ShadowFeed::new(shadows)).unwrap()
}

/// BIRD's side: one protocol per shadow, with the peer's export filter, or with what came from the peer.
fn bird_shadows(release: Release, conf: &str) -> String {
    let mut conf = match release {
        Release::Debian13Bird3 => KEPT
            .iter()
            .fold(conf.to_owned(), |conf, line| conf.replace(line, "")),
        _ => conf.to_owned(),
    };
    conf.push_str(
        "template bgp shadow { multihop; connect delay time 1; connect retry time 1; error wait time 1,1; }\n",
    );
    for (net, host, channel) in [
        (
            1,
            11,
            "ipv4 { import none; export filter exp_p1_4; next hop self; }",
        ),
        (
            1,
            12,
            "ipv4 { import none; export filter exp_p2_4; next hop self; }",
        ),
        (
            1,
            13,
            "ipv6 { import none; export filter exp_p1_6; next hop address 2001:db8:ff::1; }",
        ),
        (
            1,
            14,
            "ipv6 { import none; export filter exp_p2_6; next hop address 2001:db8:ff::1; }",
        ),
        (
            2,
            21,
            "ipv4 { import none; add paths tx; export where proto = \"p1_4\"; }",
        ),
        (
            2,
            22,
            "ipv4 { import none; add paths tx; export where proto = \"p2_4\"; }",
        ),
        (
            2,
            23,
            "ipv6 { import none; add paths tx; export where proto = \"p1_6\"; next hop address 2001:db8:ff::1; }",
        ),
        (
            2,
            24,
            "ipv6 { import none; add paths tx; export where proto = \"p2_6\"; next hop address 2001:db8:ff::1; }",
        ),
    ] {
        conf.push_str(&format!(
            "protocol bgp sh_{host} from shadow {{ local 127.0.3.{host} as 64500; \
             neighbor 127.0.{net}.{host} port 1790 as 64999; {channel}; }}\n"
        ));
    }
    conf
}

/// What R advertises to each peer and what it accepted from it, over BIRD's eight shadows.
fn bird_truth(lab: &Peering) -> Truth {
    let mut truth = Truth::new();
    for (peer, sent) in [
        (&lab.p1, &Advertised::TO_P1[..]),
        (&lab.p2, &Advertised::TO_P2[..]),
    ] {
        for family in Family::ALL {
            let session = session(peer, family);
            truth.insert(
                (session, AdjRib::OutPostPolicy, family),
                Advertised::of(sent, family),
            );
            let accepted = Accepted::of(&peer.announced(family));
            truth.insert((session, AdjRib::InPostPolicy, family), accepted);
        }
    }
    truth
}

fn bird(test: &str, release: Release) {
    if !require_from(test, release, &[Package::Bird], &[Package::Bird]) {
        return;
    }
    let mut lab = Peering::of(release);
    let [p1_4, p1_6] = Family::ALL.map(|family| session(&lab.p1, family));
    let [p2_4, p2_6] = Family::ALL.map(|family| session(&lab.p2, family));
    let feed = shadows_in(
        &lab.router,
        vec![
            loopback(1, 11, p1_4, AdjRib::OutPostPolicy),
            loopback(1, 12, p2_4, AdjRib::OutPostPolicy),
            loopback(1, 13, p1_6, AdjRib::OutPostPolicy),
            loopback(1, 14, p2_6, AdjRib::OutPostPolicy),
            loopback(2, 21, p1_4, AdjRib::InPostPolicy),
            loopback(2, 22, p2_4, AdjRib::InPostPolicy),
            loopback(2, 23, p1_6, AdjRib::InPostPolicy),
            loopback(2, 24, p2_6, AdjRib::InPostPolicy),
        ],
    );
    let refresher = feed.refresher();
    let mut watched = Watched::start(feed);
    let mut bird = lab.bird_with(|conf| bird_shadows(release, conf));
    watched.until_truth("cold start", &bird_truth(&lab));
    assert_eq!(watched.folded.events[0], RouteEvent::FeedUp);

    lab.p1.withdraw("203.0.113.0/24");
    lab.p1.announce("198.51.100.128/25");
    watched.until_truth("a withdraw and an announcement", &bird_truth(&lab));

    // The same again, between marks: nothing changes, nothing is lost.
    let snapshots = |folded: &Folded| {
        let all = folded.events.iter();
        all.filter(|event| matches!(event, RouteEvent::Snapshot { .. }))
            .count()
    };
    let before = snapshots(&watched.folded);
    refresher.refresh();
    watched.until("eight more snapshots", |folded| {
        match snapshots(folded) - before {
            8.. => Ok(()),
            more => Err(format!("{more}")),
        }
    });
    watched.until_truth("a route refresh", &bird_truth(&lab));

    // The peer's export policy is the shadow's.
    let narrow = "if proto = \"own4\" && net = 100.64.0.0/24 then";
    bird.reconfigure(|conf| {
        bird_shadows(release, &conf.replace(narrow, "if proto = \"own4\" then"))
    });
    let mut truth = bird_truth(&lab);
    let wider = Advertised::of(&Advertised::TO_P1, Family::Ipv4);
    truth.insert((p2_4, AdjRib::OutPostPolicy, Family::Ipv4), wider);
    watched.until_truth("an edited export policy", &truth);

    bird.daemon().kill();
    watched.until_feed_down();
    watched.until_truth("nothing: a lost feed takes no routes", &truth);
}

#[test]
fn bird_2_0_tells_both_directions() {
    bird("bird_2_0_tells_both_directions", Release::System);
}

#[test]
fn bird_2_17_tells_both_directions() {
    bird("bird_2_17_tells_both_directions", Release::Debian13);
}

#[test]
fn bird_3_tells_both_directions() {
    bird("bird_3_tells_both_directions", Release::Debian13Bird3);
}

/// The reason for [`KEPT`]: with ADD-PATH, BIRD 3 exports what it rejected as well, as soon as it keeps that. Then
/// the table is what the peer advertises, not what R accepted.
#[test]
fn bird_3_that_keeps_routes_tells_rejected_ones() {
    let release = Release::Debian13Bird3;
    let test = "bird_3_that_keeps_routes_tells_rejected_ones";
    if !require_from(test, release, &[Package::Bird], &[Package::Bird]) {
        return;
    }
    let lab = Peering::of(release);
    let p1 = session(&lab.p1, Family::Ipv4);
    let shadow = loopback(2, 21, p1, AdjRib::InPostPolicy);
    let bird = lab.bird_with(|conf| bird_shadows(Release::Debian13, conf));
    // What BIRD has when the shadow connects is sent with the rejected routes; what comes later is sent without them.
    wait_for("P1's routes in BIRD", WITHIN, || {
        let routes = bird.birdc(&["show", "route"]);
        routes.contains("203.0.113.0/24").then_some(())
    });
    let mut watched = Watched::start(shadows_in(&lab.router, vec![shadow]));
    let announced = lab.p1.announced(Family::Ipv4);
    assert_ne!(announced, Accepted::of(&announced));
    let truth = Truth::from([((p1, AdjRib::InPostPolicy, Family::Ipv4), announced)]);
    watched.until_truth("what P1 advertises", &truth);
}

/// FRR's side of two shadows, one of them with a password.
fn frr_shadows() -> FrrOptions {
    let mut options = FrrOptions {
        global: "route-map DENY deny 10\n".into(),
        ..FrrOptions::default()
    };
    for (number, map) in [(1, "OUT-P1"), (2, "OUT-P2")] {
        options.router.push_str(&format!(
            " neighbor 10.255.1.{number} remote-as 64999\n \
             neighbor 10.255.1.{number} update-source 10.255.3.{number}\n \
             neighbor 10.255.1.{number} port 1790\n \
             neighbor 10.255.1.{number} ebgp-multihop 2\n \
             neighbor 10.255.1.{number} disable-connected-check\n \
             neighbor 10.255.1.{number} timers connect 1\n"
        ));
        let family = format!(
            "  neighbor 10.255.1.{number} activate\n  \
             neighbor 10.255.1.{number} route-map DENY in\n  \
             neighbor 10.255.1.{number} route-map {map} out\n"
        );
        options.ipv4.push_str(&family);
        options.ipv6.push_str(&family);
    }
    options
        .router
        .push_str(" neighbor 10.255.1.1 password secret\n");
    options
}

fn frr(test: &str, release: Release) {
    if !require_from(test, release, &[Package::Frr], &[Package::Bird]) {
        return;
    }
    let lab = Peering::of(release);
    for address in [
        "10.255.1.1/32",
        "10.255.1.2/32",
        "10.255.3.1/32",
        "10.255.3.2/32",
        "fd00:10:255:3::1/128",
    ] {
        lab.router.ip(&["addr", "add", address, "dev", "lo"]);
    }
    let shadow = |number: u8, mirrors, password: Option<&str>| ShadowSession {
        password: password.and_then(|text| filter_feeds::shadow::Password::new(text.as_bytes())),
        ..ShadowSession::new(
            SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 255, 1, number)), 1790),
            IpAddr::V4(Ipv4Addr::new(10, 255, 3, number)),
            Asn::new(64999),
            mirrors,
        )
    };
    let [p1, p2] = [&lab.p1, &lab.p2].map(|peer| session(peer, Family::Ipv4));
    let feed = shadows_in(
        &lab.router,
        vec![shadow(1, p1, Some("secret")), shadow(2, p2, None)],
    );
    let mut watched = Watched::start(feed);
    let mut frr = lab.frr(&frr_shadows());
    let truth = |to_p2: &[&str]| {
        let mut truth = Truth::new();
        for family in Family::ALL {
            truth.insert(
                (p1, AdjRib::OutPostPolicy, family),
                Advertised::of(&Advertised::TO_P1, family),
            );
            truth.insert(
                (p2, AdjRib::OutPostPolicy, family),
                Advertised::of(to_p2, family),
            );
        }
        truth
    };
    watched.until_truth("cold start", &truth(&Advertised::TO_P2));

    frr.configure(&["ip prefix-list OWN-P2 seq 10 permit 100.64.1.0/24"]);
    let wider = [&Advertised::TO_P2[..], &["100.64.1.0/24"]].concat();
    watched.until_truth("an edited export policy", &truth(&wider));

    frr.bgpd().kill();
    watched.until_feed_down();
}

#[test]
fn frr_8_tells_what_it_advertises() {
    frr("frr_8_tells_what_it_advertises", Release::System);
}

#[test]
fn frr_10_tells_what_it_advertises() {
    frr("frr_10_tells_what_it_advertises", Release::Debian13);
}

/// ExaBGP as R: it has no policy, so whatever drives it advertises the same to a peer and that peer's shadow. Here that is
/// a file of commands.
#[test]
fn exabgp_tells_what_it_advertises() {
    let test = "exabgp_tells_what_it_advertises";
    let packages = [Package::ExaBgp, Package::Bird];
    if !require_from(test, Release::System, &packages, &[]) {
        return;
    }
    let lab = Peering::new();
    let [p1, p2] = [&lab.p1, &lab.p2].map(|peer| session(peer, Family::Ipv4));
    let feed = shadows_in(
        &lab.router,
        vec![
            loopback(1, 11, p1, AdjRib::OutPostPolicy),
            loopback(1, 12, p2, AdjRib::OutPostPolicy),
        ],
    );
    let mut watched = Watched::start(feed);
    let commands = tests::lab::Directory::new("commands");
    let path = commands.write("commands", "");
    let mut conf = format!(
        "process driver {{ run /usr/bin/tail -n +1 -f {}; encoder text; }}\n",
        path.display()
    );
    for (peer, shadow, sent) in [
        (&lab.p1, 11, &Advertised::TO_P1[..]),
        (&lab.p2, 12, &Advertised::TO_P2[..]),
    ] {
        let asn = peer.config().asn;
        let routes: String = Advertised::of(sent, Family::Ipv4)
            .iter()
            .map(|prefix| format!("route {prefix} next-hop self; "))
            .collect();
        let v4 = peer.address(Family::Ipv4);
        for session in [
            format!("neighbor {v4} {{ local-address 192.0.2.1; peer-as {asn};"),
            format!(
                "neighbor 127.0.1.{shadow} {{ local-address 127.0.3.{shadow}; peer-as 64999; connect 1790;"
            ),
        ] {
            conf.push_str(&format!(
                "{session} router-id 192.0.2.1; local-as 64500; family {{ ipv4 unicast; }} \
                 api {{ processes [ driver ]; }} static {{ {routes} }} }}\n"
            ));
        }
    }
    let mut exabgp = ExaBgp::start(&lab.router, &conf);
    let truth = |to_p1: &[&str]| {
        Truth::from([
            (
                (p1, AdjRib::OutPostPolicy, Family::Ipv4),
                Advertised::of(to_p1, Family::Ipv4),
            ),
            (
                (p2, AdjRib::OutPostPolicy, Family::Ipv4),
                Advertised::of(&Advertised::TO_P2, Family::Ipv4),
            ),
        ])
    };
    watched.until_truth("cold start", &truth(&Advertised::TO_P1));

    let say = |command: &str| {
        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
        writeln!(file, "neighbor 192.0.2.11, neighbor 127.0.1.11 {command}").unwrap();
    };
    say("announce route 100.64.2.0/24 next-hop self");
    let more = [&Advertised::TO_P1[..], &["100.64.2.0/24"]].concat();
    watched.until_truth("an announcement", &truth(&more));
    until_heard(&lab.p1, "100.64.2.0/24", true);

    say("withdraw route 100.64.2.0/24 next-hop self");
    watched.until_truth("a withdrawal", &truth(&Advertised::TO_P1));
    until_heard(&lab.p1, "100.64.2.0/24", false);

    exabgp.daemon().kill();
    watched.until_feed_down();
}

/// Waits until the peer itself has heard the route, or no longer.
fn until_heard(peer: &Peer, prefix: &str, wanted: bool) {
    wait_for("the peer to hear the same", WITHIN, || {
        let heard = peer
            .birdc(&["show", "route", "protocol", "r4"])
            .contains(prefix);
        (heard == wanted).then_some(())
    });
}
